//! Gicisky / PICKSMART: images over two characteristics.

use std::collections::HashMap;

use drv_protocol::gicisky::{
    Advert, COMMAND_CHARACTERISTIC, COMPANY, IMAGE_CHARACTERISTIC, Planes, Profile, SERVICE, Step,
};

use super::{Seen, Writer, refused};
use crate::ble::fault::TagFault;
use crate::ble::link::Link;
use crate::config::TagFamily;
use crate::event::{TagAnswer, TagWork};

/// One tag.
#[derive(Debug, Clone)]
pub(in crate::ble) struct GiciskyWriter {
    /// As configured; `None` for as observed.
    pub(super) profile: Option<Profile>,
    /// What the last advertisement tells of the firmware.
    pub(super) observed: Option<Profile>,
}

impl Writer for GiciskyWriter {
    fn service(&self) -> u16 {
        SERVICE
    }

    async fn run(&self, link: &mut Link<'_>, work: &TagWork) -> Result<TagAnswer, TagFault> {
        match work {
            TagWork::Image(planes) => self.image(link, planes).await,
            _ => Err(refused(TagFamily::Gicisky, work)),
        }
    }
}

impl GiciskyWriter {
    async fn image(&self, link: &mut Link<'_>, planes: &Planes) -> Result<TagAnswer, TagFault> {
        link.subscribe(COMMAND_CHARACTERISTIC).await?;
        let profile = self.profile.or(self.observed).unwrap_or(Profile::LINES);
        let mut transfer = profile.transfer(planes)?;
        let mut step = Some(transfer.begin());
        loop {
            match step {
                Some(Step::WriteCommand(bytes)) => link.write(COMMAND_CHARACTERISTIC, &bytes).await?,
                Some(Step::WriteBlock(bytes)) => link.write(IMAGE_CHARACTERISTIC, &bytes).await?,
                Some(Step::Done) => return Ok(TagAnswer::Image(planes.hash())),
                None => {}
            }
            let (done, all) = transfer.progress();
            let answer = link.answer(|| format!("{done} of {all} blocks")).await?;
            step = match transfer.handle_notify(&answer) {
                Ok(step) => step,
                Err(error) => {
                    // The tag may be gone; the transfer's own error is the one to tell.
                    if let Step::WriteCommand(bytes) = transfer.cancel()
                        && let Err(reason) = link.write(COMMAND_CHARACTERISTIC, &bytes).await
                    {
                        tracing::debug!("{reason}");
                    }
                    return Err(error.into());
                }
            };
        }
    }
}

/// What the advertisement says.
pub(super) fn seen(data: &HashMap<u16, Vec<u8>>) -> Option<Result<Seen, (Vec<u8>, String)>> {
    let bytes = data.get(&COMPANY)?;
    let advert = Advert::parse(bytes).map_err(|error| (bytes.clone(), error.to_string()));
    Some(advert.map(|advert| Seen {
        model: Some(advert.model_id()),
        battery_mv: advert.battery_mv,
        temperature: None,
        profile: Some(Profile::observed(&advert)),
    }))
}
