//! Bluetooth SIG labels in connected mode: configured on every connection, then LED, sensor, state or a stored image.

use drv_protocol::esl::{
    ABSOLUTE_TIME, ADDRESS, AP_SYNC_KEY, AbsoluteTime, Address, CONTROL_POINT, Command, Configuration,
    DISPLAYS, IMAGES, KeyMaterial, LEDS, Led, LedControl, Pattern, RESPONSE_KEY, Repeat, Request, Response,
    SENSORS, SERVICE, Session, Step,
};

use super::{Writer, refused};
use crate::ble::fault::TagFault;
use crate::ble::link::Link;
use crate::clock::mono_ms;
use crate::config::TagFamily;
use crate::event::{LedOrder, TagAnswer, TagWork};

/// One label.
#[derive(Debug, Clone)]
pub(in crate::ble) struct EslWriter {
    pub(super) address: Option<Address>,
    pub(super) sync_key: Option<KeyMaterial>,
    pub(super) response_key: Option<KeyMaterial>,
}

/// What a label's service may have.
const CHARACTERISTICS: [u16; 9] =
    [ADDRESS, AP_SYNC_KEY, RESPONSE_KEY, ABSOLUTE_TIME, DISPLAYS, IMAGES, SENSORS, LEDS, CONTROL_POINT];

impl Writer for EslWriter {
    fn service(&self) -> u16 {
        SERVICE
    }

    async fn run(&self, link: &mut Link<'_>, work: &TagWork) -> Result<TagAnswer, TagFault> {
        let request = match work {
            TagWork::Led(order) => Command::Led(led(order)).into(),
            TagWork::ReadTemperature => Request::Temperature,
            TagWork::ShowImage { display, image } => {
                Command::DisplayImage { display: *display, image: *image }.into()
            }
            TagWork::Ping => Command::Ping.into(),
            TagWork::Image(_) => return Err(refused(TagFamily::Esl, work)),
        };
        let (Some(address), Some(sync_key), Some(response_key)) =
            (self.address, self.sync_key, self.response_key)
        else {
            return Err(TagFault::Call("label without address or keys in the configuration".to_owned()));
        };
        link.subscribe(CONTROL_POINT).await?;
        let configuration =
            Configuration { address, sync_key, response_key, now: AbsoluteTime::of_ms(mono_ms()) };
        let session = Session::new(&configuration, vec![request], &link.present(&CHARACTERISTICS))?;
        answer(work, &talk(link, session).await?)
    }
}

/// Carries a session through.
async fn talk(link: &mut Link<'_>, mut session: Session) -> Result<Session, TagFault> {
    let mut step = session.begin()?;
    loop {
        step = match step {
            Step::Read(uuid) => {
                let value = link.read(uuid).await?;
                session.read(&value)?
            }
            Step::Write(uuid, bytes) => {
                link.write(uuid, &bytes).await?;
                session.written()?
            }
            Step::Listen => {
                let count = session.outcome().answers.len();
                let value = link.answer(|| format!("{count} answers")).await?;
                session.notified(&value)?
            }
            Step::Wait(ms) => {
                tokio::time::sleep(std::time::Duration::from_millis(ms.into())).await;
                session.waited()?
            }
            Step::Done => return Ok(session),
        };
    }
}

fn led(order: &LedOrder) -> LedControl {
    let repeat = match order.seconds {
        0 => Repeat::Off,
        // The field has fifteen bits: nine hours.
        seconds => Repeat::Seconds(seconds.min(0x7FFF)),
    };
    let led = Led { colour: order.colour.levels(), brightness: 3, pattern: Pattern::BLINK, repeat };
    LedControl { index: order.led, led }
}

fn answer(work: &TagWork, session: &Session) -> Result<TagAnswer, TagFault> {
    let outcome = session.outcome();
    let found = match (work, outcome.answers.last()) {
        (TagWork::ReadTemperature, _) => outcome.temperature.map(TagAnswer::Temperature),
        (_, Some(Response::LedState(_))) => Some(TagAnswer::Led),
        (_, Some(Response::DisplayState { display, image })) => {
            Some(TagAnswer::Shown { display: *display, image: *image })
        }
        (_, Some(Response::BasicState(state))) => Some(TagAnswer::State(*state)),
        _ => None,
    };
    found.ok_or_else(|| TagFault::Call("session without an answer".to_owned()))
}
