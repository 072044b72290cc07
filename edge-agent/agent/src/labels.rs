//! What a shelf tag says and how it looks: an article's values, the configured templates, the pictures.
//!
//! Contract: a template is a checked one (the configuration refuses others). The same article, price and configuration give
//! the same picture; a change of templates is seen on a tag when its next price is written.

use crate::config::{Config, LabelsSection};
use drv_protocol::gicisky::{Model, Planes};
use drv_render::{Money, Renderer, Values};
use std::sync::Arc;
use sync_model::{Article, Currency, DeviceId, Minor, StockUnit};

/// Digits after the point of every currency that a store trades in, as `Minor` prints them.
const DECIMALS: u8 = 2;

/// An amount as labels show it.
pub(crate) fn money(amount: Minor) -> Money {
    Money { minor: amount.0, decimals: DECIMALS }
}

/// The values of an article's label at a price.
pub(crate) fn values(article: &Article, price: Minor, config: &Config) -> Values {
    let section = &config.labels;
    let sku = article.sku.to_string();
    Values {
        name: article.name.to_string(),
        code: code(&sku),
        sku,
        unit: unit(article.unit, section).into(),
        ..blank(price, config)
    }
}

/// The values of a label of no article.
pub(crate) fn blank(price: Minor, config: &Config) -> Values {
    let sign = config.labels.currency.clone();
    let currency = sign.unwrap_or_else(|| sign_of(config.store.currency));
    Values { currency, ..Values::of_price(money(price)) }
}

/// The article number as a barcode: a GTIN with its leading zeros, any other number as it is.
fn code(sku: &str) -> String {
    let gtin = format!("{sku:0>13}");
    // A short number with a fitting last digit is a house number by chance, not an EAN-13.
    let is_gtin = sku.len() >= 8 && gtin.len() == 13 && drv_protocol::gs1::check::is_checked(gtin.as_bytes());
    if is_gtin { gtin } else { sku.into() }
}

fn unit(unit: StockUnit, section: &LabelsSection) -> &str {
    match unit {
        StockUnit::Piece => &section.piece,
        StockUnit::Kilogram => &section.kilogram,
        StockUnit::Litre => &section.litre,
    }
}

/// The usual sign; the code where there is none that everybody knows.
fn sign_of(currency: Currency) -> String {
    match currency.as_str() {
        "CNY" | "JPY" => "¥".into(),
        "EUR" => "€".into(),
        "GBP" => "£".into(),
        "USD" | "CAD" | "AUD" | "SGD" | "HKD" => "$".into(),
        code => format!("{code} "),
    }
}

/// The template that the configuration names for these values.
pub(crate) fn template_name<'c>(values: &Values, config: &'c Config) -> &'c str {
    if values.old_price.is_some() { &config.labels.promotion } else { &config.labels.template }
}

/// Draws everyday labels; keeps glyphs between them.
pub(crate) struct Labels {
    renderer: Renderer,
    config: Arc<Config>,
}

impl Labels {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { renderer: Renderer::new(), config }
    }

    /// The picture of an article's label at a price. What is wrong with it is logged; without one the tag keeps what it shows.
    pub(crate) fn planes(
        &mut self,
        tag: &DeviceId,
        article: &Article,
        price: Minor,
        model: Model,
    ) -> Option<Planes> {
        let values = values(article, price, &self.config);
        let name = template_name(&values, &self.config);
        let Some(template) = self.config.templates.get(name) else {
            tracing::error!(%tag, name, "the template is not configured");
            return None;
        };
        let (planes, warnings) = match self.renderer.planes(template, &values, model) {
            Ok(drawn) => drawn,
            Err(error) => {
                tracing::error!(%tag, %error, "label cannot be drawn");
                return None;
            }
        };
        for warning in &warnings {
            tracing::warn!(%tag, sku = %article.sku, %warning, "label is not as it should be");
        }
        Some(planes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gtin_becomes_an_ean() {
        assert_eq!(code("6901234567892"), "6901234567892");
        assert_eq!(code("96385074"), "0000096385074");
        assert_eq!(code("6901234567893"), "6901234567893");
        assert_eq!(code("1001"), "1001");
        assert_eq!(code("96287654321010"), "96287654321010");
    }

    #[test]
    fn every_currency_has_a_sign() {
        let sign = |code| sign_of(Currency::new(code).unwrap());
        assert_eq!((sign("CNY"), sign("CHF")), ("¥".into(), "CHF ".into()));
    }
}
