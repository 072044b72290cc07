//! Previews of labels: what is drawn for an article, what is refused, and that a wrong template says where it is wrong.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_agent::config::load;
use edge_api::{Pixel, Preview, PreviewRequest};
use stand::{Stand, article, refusal};

async fn draw(stand: &Stand, request: &PreviewRequest) -> Preview {
    stand.client.post("/v1/tags/preview", request, None).await.unwrap().parse().unwrap()
}

async fn refused(stand: &Stand, request: &PreviewRequest) -> (u16, String) {
    refusal(stand.client.post("/v1/tags/preview", request, None).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_article_and_what_is_given_instead() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let plain = PreviewRequest { sku: Some(1001), model: Some(0x4B), ..PreviewRequest::default() };
    let shown = draw(&stand, &plain).await;
    assert_eq!((shown.width, shown.height, shown.template.as_str()), (400, 300, "shelf"));
    assert_eq!(shown.warnings, [""; 0]);
    let pixels = shown.pixels().unwrap();
    assert!(pixels.iter().filter(|pixel| **pixel == Pixel::Black).count() > 2_000);
    assert!(!pixels.contains(&Pixel::Red));
    assert_eq!(draw(&stand, &plain).await, shown, "the same again is the same picture");

    let dearer = PreviewRequest { price_minor: Some(351), ..plain.clone() };
    assert_ne!(draw(&stand, &dearer).await.hash, shown.hash);
    let promotion = draw(&stand, &PreviewRequest { old_price_minor: Some(500), ..plain.clone() }).await;
    assert_eq!(promotion.template, "promotion");
    assert!(promotion.pixels().unwrap().contains(&Pixel::Red));
    let four =
        draw(&stand, &PreviewRequest { model: Some(0x4E), old_price_minor: Some(500), ..plain.clone() })
            .await;
    assert!(four.pixels().unwrap().contains(&Pixel::Yellow));
    let odd = PreviewRequest { name: Some("面\u{1F35C}".into()), ..plain.clone() };
    assert_eq!(draw(&stand, &odd).await.warnings, ["text[0]: no font has '🍜' (U+1F35C)"]);
    let free = PreviewRequest { price_minor: Some(100), model: Some(11), ..PreviewRequest::default() };
    assert_eq!(draw(&stand, &free).await.width, 212);
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_drawn_is_refused_by_name() {
    let stand = Stand::start().await;
    let request = PreviewRequest { model: Some(11), price_minor: Some(100), ..PreviewRequest::default() };
    let table = [
        (PreviewRequest { model: None, ..request.clone() }, (400, "bad-field")),
        (PreviewRequest { model: Some(9), ..request.clone() }, (400, "bad-field")),
        (PreviewRequest { price_minor: None, ..request.clone() }, (400, "bad-field")),
        (PreviewRequest { sku: Some(7), ..request.clone() }, (404, "not-found")),
        (PreviewRequest { tag: Some("tag-9".into()), ..request.clone() }, (404, "not-found")),
        (PreviewRequest { template: Some("x".into()), ..request.clone() }, (404, "not-found")),
        (
            PreviewRequest { price_minor: Some(i64::MAX), unit: Some("/".repeat(60)), ..request },
            (422, "label"),
        ),
    ];
    for (request, (status, code)) in table {
        assert_eq!(refused(&stand, &request).await, (status, code.into()), "{request:?}");
    }
    stand.running.stop().await;
}

#[test]
fn a_wrong_template_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = "[store]\nid = 1\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n[ledger]\ndir = \"ledger\"\n\
                 [api]\nsocket = \"edge.sock\"\nlisten = \"127.0.0.1:7070\"\n[labels]\ntemplates = \"looks\"\n";
    let file = dir.path().join("store.toml");
    std::fs::write(&file, store).unwrap();
    let complaint = |template: Option<&str>| {
        if let Some(text) = template {
            std::fs::create_dir_all(dir.path().join("looks")).unwrap();
            std::fs::write(dir.path().join("looks/shelf.toml"), text).unwrap();
        }
        load(&file).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(
        complaint(None),
        "DIR/store.toml:11:13: labels.templates: expected a folder of templates, found nothing at DIR/looks"
    );
    let head = "schema = 1\n[[layout]]\nmin = [200, 100]\n[[layout.price]]\nbox = [0, 0, 0, 0]\n";
    let table = [
        (
            "[[layout.fill]]\nbox = [9, 0, 3, 9]\n",
            "DIR/looks/shelf.toml:7:7: layout[0].fill[0].box: expected left < right and top < bottom within the layout's \
             smallest panel, found array of 4",
        ),
        (
            "[[layout.fill]]\nbox = [0, 0, 3, 9]\ncolor = \"green\"\n",
            "DIR/looks/shelf.toml:8:9: layout[0].fill[0].color: expected one of `white`, `black`, `red`, `yellow`, found \
             \"green\"",
        ),
        (
            "[[layout.fill]]\nbox = [0, 0, 3]\n",
            "DIR/looks/shelf.toml:7:7: layout[0].fill[0].box: expected an array of length 4, found 3",
        ),
        (
            "[[layout.text]]\nbox = [0, 0, 0, 9]\nsize = 9\ntext = \"{nam}\"\n",
            "DIR/looks/shelf.toml:9:8: layout[0].text[0].text: expected a field of the label (name, sku, price, old_price, \
             unit_price, unit, measure, currency, code, link, note, origin), found `nam`, found string \"{nam}\"",
        ),
        (
            "",
            "DIR/store.toml:10:1: labels.promotion: expected one of the templates: shelf, found \"promotion\"",
        ),
    ];
    for (more, expected) in table {
        assert_eq!(complaint(Some(&format!("{head}{more}"))), expected);
    }
}
