//! `POST /v1/tags/preview`: the picture of a label, drawn as the price pump draws it and sent nowhere.

use super::answer::{Refused, ok, parse};
use super::{fields, post};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::labels;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use drv_protocol::gicisky::{self, Model, Planes};
use drv_render::{Canvas, Ink, Renderer, Values};
use edge_api::{Pixel, Preview, PreviewRequest};
use std::sync::Arc;
use sync_model::{Minor, Sku};

/// Draws it.
pub(crate) async fn preview(
    State(daemon): State<Arc<Daemon>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: PreviewRequest = parse(body)?;
    let config = daemon.config();
    let tag = match &request.tag {
        None => None,
        Some(id) => {
            let found = config.host.tag.iter().find(|tag| *tag.id == **id);
            Some(found.ok_or_else(|| Refused::not_found("tag", id))?)
        }
    };
    let number = request.model.or_else(|| tag.map(|tag| tag.model));
    let number = number.ok_or_else(|| Refused::bad("model", "a tag or a model number", "neither"))?;
    let model = Model::find(number)
        .ok_or_else(|| Refused::bad("model", "a model of the built-in table", format!("{number:#x}")))?;
    let sku = request.sku.or_else(|| tag.map(|tag| tag.sku)).map(Sku);
    let values = values(&daemon, &config, &request, sku).await?;
    let name = request.template.as_deref().unwrap_or_else(|| labels::template_name(&values, &config));
    let template = config.templates.get(name).ok_or_else(|| Refused::not_found("template", name))?;
    let picture = Renderer::new()
        .render(template, &values, model)
        .map_err(|error| fields::unprocessable("label", "price_minor", error.to_string()))?;
    let planes = picture.canvas.planes(model);
    Ok(ok(Preview {
        model: number,
        template: name.to_owned(),
        width: model.width,
        height: model.height,
        rows: rows(&picture.canvas, planes.as_ref()),
        hash: planes.map(|planes| planes.hash().iter().map(|byte| format!("{byte:02x}")).collect()),
        warnings: picture.warnings.iter().map(ToString::to_string).collect(),
    }))
}

/// The article's values, those of the request before them.
async fn values(
    daemon: &Arc<Daemon>,
    config: &Config,
    request: &PreviewRequest,
    sku: Option<Sku>,
) -> Result<Values, Refused> {
    let store = daemon.store;
    let price = request.price_minor.map(Minor);
    let article = match sku {
        None => None,
        Some(sku) => {
            let read = move |reader: &sync_store::Reader| {
                Ok((reader.article(store, sku)?, reader.price(store, sku)?))
            };
            let (article, row) = daemon.read(read).await.map_err(post::refused)?;
            let article = article.ok_or_else(|| Refused::not_found("article", sku))?;
            // An article without a till price yet is shown at the price that is to come.
            let current = row.map_or(article.price, |row| row.price);
            Some((article, current))
        }
    };
    let mut values = match (&article, price) {
        (Some((article, current)), price) => labels::values(article, price.unwrap_or(*current), config),
        (None, Some(price)) => labels::blank(price, config),
        (None, None) => return Err(Refused::bad("price_minor", "a tag, an article or a price", "neither")),
    };
    let money = |minor: Option<i64>| minor.map(|minor| labels::money(Minor(minor)));
    values.old_price = money(request.old_price_minor);
    values.unit_price = money(request.unit_price_minor);
    let texts = [
        (&mut values.name, &request.name),
        (&mut values.unit, &request.unit),
        (&mut values.measure, &request.measure),
        (&mut values.note, &request.note),
        (&mut values.link, &request.link),
        (&mut values.origin, &request.origin),
    ];
    for (field, given) in texts {
        if let Some(text) = given {
            text.clone_into(field);
        }
    }
    Ok(values)
}

/// The picture's rows; from the planes where the panel has planes, so that what people see is what a tag gets.
fn rows(canvas: &Canvas, planes: Option<&Planes>) -> Vec<String> {
    let pixel = |x: u16, y: u16| {
        let sent = planes.and_then(|planes| planes.ink(x, y));
        if sent == Some(gicisky::Ink::White) {
            return Pixel::White;
        }
        if sent == Some(gicisky::Ink::Black) {
            return Pixel::Black;
        }
        match canvas.ink(x.into(), y.into()) {
            Some(Ink::Black) => Pixel::Black,
            Some(Ink::Red) => Pixel::Red,
            Some(Ink::Yellow) => Pixel::Yellow,
            Some(Ink::White) | None => Pixel::White,
        }
    };
    let row = |y| (0..canvas.width()).map(|x| pixel(x, y)).collect::<Vec<_>>();
    (0..canvas.height()).map(|y| Preview::row(&row(y))).collect()
}
