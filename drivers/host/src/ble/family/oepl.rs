//! `OpenEPaperLink` firmware: images in blocks over one characteristic, temperature in the adverts.

use std::collections::HashMap;

use drv_protocol::gicisky::{Encoding, Planes};
use drv_protocol::oepl::{Advert, CHARACTERISTIC, COMPANY, Image, SERVICE, Step, Upload};

use super::{Seen, Writer, refused};
use crate::ble::fault::TagFault;
use crate::ble::link::Link;
use crate::config::TagFamily;
use crate::event::{TagAnswer, TagWork};

/// One tag.
#[derive(Debug, Clone)]
pub(in crate::ble) struct OeplWriter {
    /// The firmware shows 1 as black.
    pub(super) inverted: bool,
}

impl Writer for OeplWriter {
    fn service(&self) -> u16 {
        SERVICE
    }

    async fn run(&self, link: &mut Link<'_>, work: &TagWork) -> Result<TagAnswer, TagFault> {
        match work {
            TagWork::Image(planes) => self.image(link, planes).await,
            _ => Err(refused(TagFamily::Oepl, work)),
        }
    }
}

impl OeplWriter {
    async fn image(&self, link: &mut Link<'_>, planes: &Planes) -> Result<TagAnswer, TagFault> {
        let sent = if self.inverted { planes.inverted() } else { planes.clone() };
        let bytes = sent.encode(Encoding::Raw);
        let version = u64::from_le_bytes(sent.hash());
        let mut upload = Upload::new(Image { bytes, coloured: sent.red().is_some(), version })?;
        link.subscribe(CHARACTERISTIC).await?;
        let mut step = upload.begin();
        loop {
            match step {
                Step::Write(bytes) => link.write(CHARACTERISTIC, &bytes).await?,
                Step::Listen => {}
                Step::Done => return Ok(TagAnswer::Image(planes.hash())),
            }
            let (done, all) = upload.progress();
            let answer = link.answer(|| format!("{done} of {all} blocks")).await?;
            step = upload.handle_notify(&answer)?;
        }
    }
}

/// What the advertisement says.
pub(super) fn seen(data: &HashMap<u16, Vec<u8>>) -> Option<Result<Seen, (Vec<u8>, String)>> {
    let bytes = data.get(&COMPANY)?;
    let advert = Advert::parse(bytes).map_err(|error| (bytes.clone(), error.to_string()));
    Some(advert.map(|advert| Seen {
        // The hardware number is another table than the models.
        model: None,
        battery_mv: advert.battery_mv,
        temperature: advert.temperature,
        profile: None,
    }))
}
