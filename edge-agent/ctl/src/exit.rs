//! Exit codes: stable, for scripts.

use edge_api::{ClientError, ErrorBody};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, everything well.
    Ok,
    /// Not done, or a check found something broken.
    Error,
    /// No answer in time.
    Timeout,
    /// A device did not do what it was told.
    Device,
    /// Answered, and the store works with a restriction.
    Degraded,
    /// The state of the thing does not allow it.
    Conflict,
    /// Not allowed.
    Permission,
    /// Nobody behind the socket.
    NotRunning,
    /// No such thing.
    NotFound,
}

impl Exit {
    /// The number. 2 (usage) is clap's.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Timeout => 3,
            Self::Device => 4,
            Self::Degraded => 5,
            Self::Conflict => 6,
            Self::Permission => 7,
            Self::NotRunning => 8,
            Self::NotFound => 10,
        }
    }

    /// What a missing answer means.
    pub(crate) fn of(error: &ClientError) -> Self {
        match error {
            ClientError::NotRunning { .. } => Self::NotRunning,
            ClientError::Permission { .. } => Self::Permission,
            ClientError::Timeout { .. } => Self::Timeout,
            ClientError::Refused { error, .. } if error.code.starts_with("device-") => Self::Device,
            ClientError::Refused { status, .. } => match status {
                401 | 403 => Self::Permission,
                404 => Self::NotFound,
                408 | 504 => Self::Timeout,
                409 => Self::Conflict,
                502 => Self::Device,
                _ => Self::Error,
            },
            ClientError::Answer(_) | ClientError::Broken(_) => Self::Error,
        }
    }
}

/// The same error as the object that `--json` prints.
pub(crate) fn as_body(error: &ClientError) -> ErrorBody {
    let code = match error {
        ClientError::Refused { error, .. } => return error.clone(),
        ClientError::NotRunning { .. } => "not-running",
        ClientError::Permission { .. } => "permission",
        ClientError::Timeout { .. } => "timeout",
        ClientError::Answer(_) => "bad-answer",
        ClientError::Broken(_) => "broken",
    };
    ErrorBody { code: code.to_owned(), message: error.to_string(), field: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_codes() {
        let refused = |status, code: &str| {
            let error = ErrorBody { code: code.into(), message: String::new(), field: None };
            Exit::of(&ClientError::Refused { status, error }).code()
        };
        let cases =
            [(404, 10), (409, 6), (403, 7), (401, 7), (504, 3), (502, 4), (400, 1), (503, 1), (507, 1)];
        for (status, code) in cases {
            assert_eq!(refused(status, "x"), code, "{status}");
        }
        assert_eq!(refused(500, "device-lost"), 4);
    }
}
