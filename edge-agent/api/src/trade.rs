//! What tills and back-office programs post: tickets, returns, stock movements, reservations, batches; prices and offers.
//!
//! Every posting answers with [`Accepted`] after its fact is durable; the same idempotency key answers the same id.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    Accepted = "accepted";
    Price = "price";
    Offer = "offer";
    Scale = "scale";
}

/// `201` (booked now) or `200` (was booked before under the same key).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The fact, `epoch.seq`.
    pub id: String,
    /// Whether this is the answer to an earlier request with the same key.
    pub replayed: bool,
}

/// `POST /v1/tickets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketRequest {
    /// Till number.
    pub till: u16,
    /// The till's own ticket number, from 1.
    pub number: u64,
    /// Trading day, `YYYY-MM-DD`; absent: the store's today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// 1 to 200 lines.
    pub lines: Vec<TicketLine>,
    /// 1 to 8 means of payment.
    pub tenders: Vec<TicketTender>,
    /// Sum of the lines and of the tenders.
    pub total_minor: i64,
}

/// One line of a ticket or return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketLine {
    /// Article.
    pub sku: u64,
    /// Lot, if kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<String>,
    /// Thousandths of the stock unit.
    pub quantity_milli: i64,
    /// Price per stock unit that is charged.
    pub unit_price_minor: i64,
    /// Reduction of this line.
    #[serde(default)]
    pub discount_minor: i64,
    /// Price times quantity, rounded half away from zero, less the discount.
    pub amount_minor: i64,
    /// The weighing that the quantity came from, `epoch.seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighing: Option<String>,
    /// The steam batch that the goods came from, `epoch.seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

/// One means of payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketTender {
    /// `cash`, `card`, `wallet` or `voucher`.
    pub kind: String,
    /// Amount, change taken off.
    pub amount_minor: i64,
}

/// `POST /v1/returns`: amounts are positive and paid to the customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnRequest {
    /// Till number.
    pub till: u16,
    /// The till's own number for the return, from 1.
    pub number: u64,
    /// Trading day, `YYYY-MM-DD`; absent: the store's today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The sale, `epoch.seq`, when the receipt was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// 1 to 200 lines.
    pub lines: Vec<TicketLine>,
    /// How it was paid out.
    pub tenders: Vec<TicketTender>,
    /// Sum of the lines and of the tenders.
    pub total_minor: i64,
}

/// `POST /v1/receipts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptRequest {
    /// Supplier or delivery note.
    pub reference: String,
    /// 1 to 200 lines.
    pub lines: Vec<ReceiptRequestLine>,
}

/// One line of goods received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptRequestLine {
    /// Article.
    pub sku: u64,
    /// Lot, if kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<String>,
    /// Thousandths of the stock unit, above 0.
    pub quantity_milli: i64,
    /// Purchase cost per stock unit.
    pub unit_cost_minor: i64,
}

/// `POST /v1/waste`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WasteRequest {
    /// Article.
    pub sku: u64,
    /// Lot, if kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<String>,
    /// Thousandths of the stock unit, above 0.
    pub quantity_milli: i64,
    /// `expired`, `damaged`, `time-unknown` or `process`.
    pub reason: String,
    /// The steam batch, `epoch.seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
}

/// `POST /v1/counts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountRequest {
    /// Article.
    pub sku: u64,
    /// Lot, if kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<String>,
    /// Shelf or section counted.
    pub section: String,
    /// What was counted.
    pub counted_milli: i64,
    /// What the book said when the count began.
    pub book_milli: i64,
    /// Who counted.
    pub by: String,
}

/// `POST /v1/transfers/out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferOutRequest {
    /// The receiving store.
    pub to: u32,
    /// 1 to 200 lines.
    pub lines: Vec<TransferRequestLine>,
}

/// `POST /v1/transfers/in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferInRequest {
    /// The sending store.
    pub from: u32,
    /// Its transfer-out fact, `epoch.seq`.
    pub of: String,
    /// What arrived, 1 to 200 lines.
    pub lines: Vec<TransferRequestLine>,
}

/// One line of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferRequestLine {
    /// Article.
    pub sku: u64,
    /// Lot, if kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot: Option<String>,
    /// Thousandths of the stock unit, above 0.
    pub quantity_milli: i64,
}

/// `POST /v1/reservations`. It is ended by `POST /v1/reservations/{epoch.seq}/post` or `/void` without a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationRequest {
    /// Article.
    pub sku: u64,
    /// Thousandths of the stock unit, above 0.
    pub quantity_milli: i64,
    /// Channel name of the configuration.
    pub channel: String,
    /// The channel's own order reference.
    pub reference: String,
    /// How long it is held, in seconds.
    pub hold_s: u32,
}

/// `POST /v1/batches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// The steamer.
    pub device: String,
    /// What is cooked.
    pub sku: u64,
    /// How much.
    pub quantity_milli: i64,
    /// Programme number of the recipe.
    pub program: u16,
    /// Set-point of the chamber.
    pub set_point_mc: i32,
    /// Core temperature that must be reached.
    pub core_min_mc: i32,
    /// Steaming time.
    pub steam_s: u32,
    /// Longest hold, from readiness.
    pub hold_limit_s: u32,
}

/// `GET /v1/prices/{sku}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Article.
    pub sku: u64,
    /// Name on tag and receipt.
    pub name: String,
    /// `piece`, `kilogram` or `litre`.
    pub unit: String,
    /// What the tills charge per stock unit.
    pub price_minor: i64,
    /// Version of HQ's price that it follows.
    pub version: u64,
    /// Tax contained, in hundredths of a percent.
    pub tax_rate: u16,
    /// ISO 4217 code.
    pub currency: String,
    /// Whether the article may be sold.
    pub active: bool,
    /// A newer price that waits for its time or for tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_minor: Option<i64>,
}

/// `GET /v1/offers/{sku}?channel=`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Article.
    pub sku: u64,
    /// Channel.
    pub channel: String,
    /// What the channel may promise now.
    pub offer_milli: i64,
    /// On hand.
    pub on_hand_milli: i64,
    /// Promised to any channel.
    pub reserved_milli: i64,
    /// Kept back.
    pub safety_milli: i64,
    /// The channel's share in thousandths.
    pub share_permille: u16,
    /// Rights to shared stock that the store holds; absent when the article is not under shared rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rights_milli: Option<i64>,
}

/// `GET /v1/scales/{id}`: what the customer's or clerk's screen shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// The scale.
    pub device: String,
    /// `ready`, `measuring`, `accepted` or `fault`.
    pub state: String,
    /// Net weight: of the accepted weighing, or what is on the pan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net_g: Option<i64>,
    /// The accepted weighing, `epoch.seq`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// What to do or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_needs_no_optional_fields_and_takes_no_unknown_ones() {
        let text = r#"{"till":1,"number":7,"currency":"CNY","total_minor":125,
            "lines":[{"sku":1001,"quantity_milli":250,"unit_price_minor":500,"amount_minor":125}],
            "tenders":[{"kind":"cash","amount_minor":125}]}"#;
        let ticket: TicketRequest = serde_json::from_str(text).unwrap();
        assert_eq!(ticket.lines[0].discount_minor, 0);
        let misspelled = text.replace("\"amount_minor\":125}]", "\"amount_minor\":125,\"discont_minor\":1}]");
        assert!(
            serde_json::from_str::<TicketRequest>(&misspelled)
                .unwrap_err()
                .to_string()
                .contains("discont_minor")
        );
    }

    #[test]
    fn fractions_are_refused_where_integers_are_meant() {
        let text = r#"{"sku":1,"quantity_milli":1.5,"reason":"damaged"}"#;
        assert!(serde_json::from_str::<WasteRequest>(text).is_err());
    }
}
