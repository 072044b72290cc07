//! The host's upload against the tag.

use drv_protocol::MilliCelsius;
use drv_protocol::gicisky::{Encoding, Ink};
use drv_protocol::oepl::{Image, Step, Upload, UploadError};

use super::*;

fn planes(mark: u16) -> Planes {
    let mut planes = Planes::blank(Model::find(0x33).unwrap()).unwrap();
    planes.set(mark, 1, Ink::Black);
    planes.set(mark, 2, Ink::Red);
    planes
}

fn tag() -> OeplSim {
    let advert = Advert {
        hardware: 0x33,
        firmware: 1,
        capabilities: 0,
        battery_mv: 2_900,
        temperature: Some(MilliCelsius(4_000)),
        counter: 1,
    };
    OeplSim::new(Model::find(0x33).unwrap(), advert, 3)
}

/// Runs an upload to its end, its failure, a disconnect (`None`) or silence (`None`).
fn upload(tag: &mut OeplSim, planes: &Planes) -> Option<Result<(), UploadError>> {
    let version = u64::from_le_bytes(planes.hash());
    let image = Image { bytes: planes.encode(Encoding::Raw), coloured: planes.red().is_some(), version };
    let mut upload = Upload::new(image).unwrap();
    tag.connected(0);
    let mut step = upload.begin();
    loop {
        let Step::Write(bytes) = step else { return (step == Step::Done).then_some(Ok(())) };
        let actions = tag.write(CHARACTERISTIC, &bytes, 0).unwrap();
        let [TagAction::Notify(bytes)] = &actions[..] else { return None };
        step = match upload.handle_notify(bytes) {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
    }
}

#[test]
fn an_upload_becomes_the_image_shown() {
    let mut tag = tag();
    assert_eq!(upload(&mut tag, &planes(1)), Some(Ok(())));
    assert_eq!((tag.shown(), tag.completed()), (Some(planes(1).hash()), 1));
    assert_eq!(upload(&mut tag, &planes(1)), Some(Ok(())), "it has that image");
    assert_eq!(tag.completed(), 1);
    tag.set_faults(OeplFaults { refuse_permille: 200, ..OeplFaults::default() });
    assert_eq!(upload(&mut tag, &planes(2)), Some(Ok(())));
    assert_eq!(tag.image(), Some(&planes(2)));
}

#[test]
fn a_dropped_or_lying_tag_keeps_its_image() {
    let mut tag = tag();
    assert_eq!(upload(&mut tag, &planes(1)), Some(Ok(())));
    tag.set_faults(OeplFaults { disconnect_after: Some(5), ..OeplFaults::default() });
    assert_eq!(upload(&mut tag, &planes(2)), None);
    tag.set_faults(OeplFaults { mute: true, ..OeplFaults::default() });
    assert_eq!(upload(&mut tag, &planes(2)), None);
    tag.set_faults(OeplFaults { wrong_block: true, ..OeplFaults::default() });
    assert!(matches!(upload(&mut tag, &planes(2)), Some(Err(UploadError::Block { block: 0xFE, .. }))));
    assert_eq!(tag.shown(), Some(planes(1).hash()));
    tag.set_faults(OeplFaults::default());
    let other = Planes::blank(Model::find(0x4B).unwrap()).unwrap();
    assert!(matches!(upload(&mut tag, &other), Some(Err(UploadError::Refused { code: 0xFFFF, .. }))));
    assert_eq!((tag.rejected(), tag.connections()), (1, 5));
}

#[test]
fn no_bytes_panic() {
    let mut tag = tag();
    tag.set_faults(OeplFaults { garbage_permille: 100, ..OeplFaults::default() });
    let mut rng = Rng::new(5);
    for now in 0..20_000 {
        let mut bytes: Vec<u8> = (0..rng.below(300)).map(|_| rng.byte()).collect();
        if let [first, second, third, rest @ ..] = bytes.as_mut_slice() {
            (*first, *second) = (0, 0x64 + u8::try_from(rng.below(2)).unwrap());
            *third = checksum(rest);
        }
        drop(tag.write(CHARACTERISTIC, &bytes, now));
    }
}
