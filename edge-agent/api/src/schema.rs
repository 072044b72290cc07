//! The envelope of every answer: its schema name beside its fields.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A body with a schema name.
pub trait Named {
    /// `steelyard.<name>/<version>`.
    const SCHEMA: &'static str;
}

/// A body as it travels: `{"schema": "…", …fields}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<T> {
    /// Schema name and version.
    pub schema: Cow<'static, str>,
    /// The fields.
    #[serde(flatten)]
    pub body: T,
}

impl<T: Named> Answer<T> {
    /// Puts the body into its envelope.
    pub fn new(body: T) -> Self {
        Self { schema: Cow::Borrowed(T::SCHEMA), body }
    }
}

impl<T: Named + DeserializeOwned> Answer<T> {
    /// Reads an answer and insists on its schema.
    pub fn parse(text: &str) -> Result<Self, String> {
        let answer: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if answer.schema != T::SCHEMA {
            return Err(format!("expected schema {}, found {}", T::SCHEMA, answer.schema));
        }
        Ok(answer)
    }
}

/// Gives bodies their schema names.
macro_rules! named {
    ($($body:ty = $name:literal;)*) => {
        $(impl $crate::Named for $body {
            const SCHEMA: &'static str = concat!("steelyard.", $name, "/1");
        })*
    };
}
pub(crate) use named;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable word such as `unknown-sku`, for programs.
    pub code: String,
    /// One sentence for a reader: what was expected, what was found.
    pub message: String,
    /// The field at fault, such as `lines[2].unit_price_minor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

named! { ErrorBody = "error"; }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_carries_its_schema_beside_its_fields() {
        let body = ErrorBody { code: "busy".into(), message: "try again".into(), field: None };
        let text = serde_json::to_string(&Answer::new(body.clone())).unwrap();
        assert_eq!(text, r#"{"schema":"steelyard.error/1","code":"busy","message":"try again"}"#);
        assert_eq!(Answer::<ErrorBody>::parse(&text).unwrap().body, body);
    }

    #[test]
    fn another_schema_is_refused_with_both_names() {
        let error = Answer::<ErrorBody>::parse(r#"{"schema":"steelyard.error/2","code":"a","message":"b"}"#);
        assert_eq!(error.unwrap_err(), "expected schema steelyard.error/1, found steelyard.error/2");
    }
}
