//! Targets of what comes through the air: advertisements, labels of the SIG service, OpenEPaperLink tags.

use super::{choice, hex};
use drv_protocol::advert::{Address as Sender, Format, Hearing, Part, Sensor, structures};
use drv_protocol::ccm::Key;
use drv_protocol::esl::{
    self, Command, Configuration, KeyMaterial, Request, Response, Session,
    ead::{self, IvOrder},
    sync,
};
use drv_protocol::oepl;

const SENDER: Sender = Sender([0x54, 0x48, 0xE6, 0x8F, 0x80, 0xA5]);
const KEY: [u8; 16] =
    [0x23, 0x1D, 0x39, 0xC1, 0xD7, 0xCC, 0x1A, 0xB1, 0xAE, 0xE2, 0x24, 0xCD, 0x09, 0x6D, 0xB9, 0x32];
const FORMATS: [Format; 7] = [
    Format::Ruuvi,
    Format::Bthome,
    Format::Pvvx,
    Format::Atc1441,
    Format::GoveeH5075,
    Format::EddystoneTlm,
    Format::Minew,
];

/// A whole payload, as every format of sensor hears it, twice.
pub(crate) fn advert(bytes: &[u8]) {
    let parts: Vec<Part<'_>> = structures(bytes).map_while(Result::ok).collect();
    assert!(parts.len() <= bytes.len(), "a structure needs a byte");
    for format in FORMATS {
        let mut sensor = Sensor::new(SENDER, format, format.can_seal().then(|| Key::new(KEY)), None);
        for now in [0, 1_000] {
            for part in &parts {
                let Ok(Hearing::New(advert)) = sensor.hear(*part, now) else { continue };
                let measurable = -200_000..=1_800_000;
                assert!(advert.temperature.is_none_or(|value| measurable.contains(&value.0)), "{advert:?}");
            }
        }
    }
}

/// devices.md 2.5.
pub(crate) fn advert_seeds() -> Vec<Vec<u8>> {
    [
        "1B FF 99 04 05 12 FC 53 94 C3 7C 00 04 FF FC 04 0C AC 36 42 00 CD CB B8 33 4C 88 4F",
        "0A 16 D2 FC 40 02 CA 09 03 BF 13",
        "12 16 D2 FC 41 A4 72 66 C9 5F 73 00 11 22 33 78 23 72 14",
        "02 01 06 03 03 E1 FF 13 16 E1 FF A1 08 64 00 13 02 E4 CD AB 50 4C 55 53 30 30 31",
        "09 FF 88 EC 00 03 51 9E 64 00",
        "11 16 AA FE 20 00 0B B8 15 80 00 00 00 10 00 00 01 00",
    ]
    .map(hex)
    .into()
}

/// Commands and responses of the control point, sync packets and sealed data.
pub(crate) fn esl_tlv(bytes: &[u8]) {
    if let Ok((id, command)) = Command::decode(bytes) {
        let again = command.encode(id).unwrap_or_else(|error| panic!("written again: {error}"));
        // An LED's period of zero is written as one, so it is the bytes that come again alike.
        let (id, command) = Command::decode(&again).unwrap_or_else(|error| panic!("read again: {error}"));
        assert_eq!(command.encode(id), Ok(again));
    }
    if let Ok(response) = Response::decode(bytes) {
        let again = response.encode().unwrap_or_else(|error| panic!("written again: {error}"));
        assert_eq!(Response::decode(&again), Ok(response));
    }
    if let Ok((group, commands)) = sync::parse(bytes) {
        let again = sync::build(group, &commands).unwrap_or_else(|error| panic!("built again: {error}"));
        let (group, commands) = sync::parse(&again).unwrap_or_else(|error| panic!("read again: {error}"));
        assert_eq!(sync::build(group, &commands), Ok(again));
    }
    std::hint::black_box(sync::parse_responses(bytes).is_ok());
    let material = KeyMaterial { key: KEY, iv: [7; 8] };
    for order in [IvOrder::AsWritten, IvOrder::Reversed] {
        assert!(
            ead::open(&material, order, bytes).is_err(),
            "nobody guesses a seal of four bytes this often"
        );
        if let Ok(sealed) = ead::seal(&material, order, [1, 2, 3, 4, 5], bytes) {
            assert_eq!(ead::open(&material, order, &sealed).as_deref(), Ok(bytes));
        }
    }
}

/// devices.md 3.1.
pub(crate) fn esl_tlv_seeds() -> Vec<Vec<u8>> {
    [
        "00 05",
        "20 05 00 01",
        "10 05 00",
        "B0 05 00 7F 76 EF 96 08 91 07 06 15 00",
        "10 03 00",
        "00 0A",
        "34 03 02 F1 03 F1 11 03 00",
    ]
    .map(hex)
    .into()
}

/// A whole connection: what the label lets read and notifies, a length byte before each.
pub(crate) fn esl_session(bytes: &[u8]) {
    let Ok(address) = esl::Address::new(5, 1) else { return };
    let material = KeyMaterial { key: KEY, iv: [7; 8] };
    let configuration = Configuration {
        address,
        sync_key: material,
        response_key: material,
        now: esl::AbsoluteTime::of_ms(1_000),
    };
    let present: Vec<u16> = (0x2BF6..=0x2BFE).collect();
    let requests = vec![Request::Command(Command::Ping), Request::Temperature, Request::Voltage];
    let Ok(mut session) = Session::new(&configuration, requests, &present) else { return };
    let mut step = session.begin();
    let mut rest = bytes;
    while let (Ok(next), Some((length, after))) = (&step, rest.split_first()) {
        let (value, after) = after.split_at(usize::from(*length % 24).min(after.len()));
        rest = after;
        step = match next {
            esl::Step::Read(_) => session.read(value),
            esl::Step::Write(..) if *length & 0x80 == 0 => session.written(),
            esl::Step::Write(..) => session.notified(value),
            esl::Step::Wait(_) => session.waited(),
            _ if *length & 0x80 == 0 => session.notified(value),
            _ => session.written(),
        };
    }
}

pub(crate) fn esl_session_seeds() -> Vec<Vec<u8>> {
    ["05 28 01 80 00 02 01 07 04 00 59 00 00 01 C0 00 00 00 00 00 83 10 01 00", "00 00 00 00"].map(hex).into()
}

/// An advertisement of a tag, and the answers to an upload: first byte the length of each.
pub(crate) fn oepl(bytes: &[u8]) {
    if let Ok(advert) = oepl::Advert::parse(bytes) {
        assert_eq!(oepl::Advert::parse(&advert.encode()), Ok(advert));
    }
    let (blocks, bytes) = choice(bytes);
    let image = oepl::Image { bytes: vec![0xA5; usize::from(blocks) * 40 + 1], coloured: false, version: 7 };
    let Ok(mut upload) = oepl::Upload::new(image) else { return };
    std::hint::black_box(upload.begin());
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (answer, after) = after.split_at(usize::from(*length % 24).min(after.len()));
        rest = after;
        if upload.handle_notify(answer).is_err() || upload.is_done() {
            return;
        }
        let (done, all) = upload.progress();
        assert!(done <= all, "{done} of {all}");
    }
}

pub(crate) fn oepl_seeds() -> Vec<Vec<u8>> {
    ["01 02 63 00 02 C4 00 02 C5 00 02 C7 00", "37 13 02 01 00 10 00 00 00 B8 0B 15 07"].map(hex).into()
}
