//! The host's upload against the tag.

use drv_protocol::gicisky::{
    COMPANY, Encoding, Ink, Profile, Start, Step, StreamHeader, Transfer, TransferError,
};

use super::*;

/// An image of its own for every text: a column per bit.
fn label(price: &str) -> Planes {
    let mut planes = Planes::blank(Model::find(0x0B).unwrap()).unwrap();
    let bits = price.bytes().flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
    for (x, _) in (0..).zip(bits).filter(|(_, set)| *set) {
        (0..104).for_each(|y| planes.set(x, y, Ink::Black));
    }
    planes
}

fn tag() -> TagSim {
    TagSim::new(Model::find(0x0B).unwrap(), 2_900, 3)
}

/// Runs an upload to its end, its failure, a disconnect (`None`) or silence (`None`).
fn upload(tag: &mut TagSim, planes: &Planes, encoding: Encoding) -> Option<Result<(), TransferError>> {
    let mut transfer = Transfer::new(planes.encode(encoding), Start::Plain).unwrap();
    tag.connected();
    let mut step = transfer.begin();
    loop {
        let actions = match &step {
            Step::WriteCommand(bytes) => tag.command(bytes, 5),
            Step::WriteBlock(bytes) => tag.block(bytes, 5),
            Step::Done => return Some(Ok(())),
        };
        let [TagAction::Notify(bytes)] = &actions[..] else { return None };
        match transfer.handle_notify(bytes) {
            Ok(Some(next)) => step = next,
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        }
    }
}

#[test]
fn every_encoding_ends_as_the_image_shown() {
    assert_eq!(COMPANY, 0x5053);
    for encoding in
        [Encoding::Raw, Encoding::Lines(StreamHeader::Total), Encoding::Chunks(StreamHeader::Plane)]
    {
        let mut tag = tag();
        assert_eq!(tag.shown(), None);
        let planes = label("2.49");
        assert_eq!(upload(&mut tag, &planes, encoding), Some(Ok(())));
        assert_eq!((tag.shown(), tag.completed()), (Some(planes.hash()), 1));
        assert_eq!(tag.image(), Some(&planes));
        assert_eq!(tag.history(), [planes.hash()]);
    }
}

#[test]
fn repeated_requests_are_served_and_change_nothing() {
    let mut tag = tag();
    tag.set_faults(TagFaults { repeat_permille: 300, ..TagFaults::default() });
    let planes = label("1.99");
    assert_eq!(upload(&mut tag, &planes, Encoding::Raw), Some(Ok(())));
    assert!(tag.repeats() > 0);
    assert_eq!(tag.shown(), Some(planes.hash()));
}

#[test]
fn a_dropped_or_refused_upload_leaves_the_old_image() {
    let mut tag = tag();
    let (old, new) = (label("1.99"), label("2.99"));
    assert_eq!(upload(&mut tag, &old, Encoding::Raw), Some(Ok(())));
    tag.set_faults(TagFaults { disconnect_after: Some(4), ..TagFaults::default() });
    assert_eq!(upload(&mut tag, &new, Encoding::Raw), None);
    assert_eq!(tag.shown(), Some(old.hash()));
    tag.set_faults(TagFaults { refuse_size: Some(9), ..TagFaults::default() });
    let refused = upload(&mut tag, &new, Encoding::Raw);
    assert!(matches!(refused, Some(Err(TransferError::Refused { status: 9, .. }))));
    tag.set_faults(TagFaults { mute: true, ..TagFaults::default() });
    assert_eq!(upload(&mut tag, &new, Encoding::Raw), None);
    tag.set_faults(TagFaults::default());
    assert_eq!(upload(&mut tag, &new, Encoding::Raw), Some(Ok(())));
    assert_eq!((tag.shown(), tag.completed(), tag.connections()), (Some(new.hash()), 2, 5));
}

#[test]
fn an_image_for_another_panel_is_rejected() {
    let mut tag = tag();
    let other = Planes::blank(Model::find(0x33).unwrap()).unwrap();
    let outcome = upload(&mut tag, &other, Encoding::Raw);
    assert!(matches!(outcome, Some(Err(TransferError::Refused { status: 2, .. }))));
    assert_eq!((tag.rejected(), tag.shown()), (1, None));
}

#[test]
fn no_bytes_panic() {
    let mut tag = tag();
    tag.set_faults(TagFaults { garbage_permille: 200, ..TagFaults::default() });
    let mut rng = Rng::new(5);
    for now in 0..20_000 {
        let mut piece: Vec<u8> = (0..rng.below(12)).map(|_| rng.byte()).collect();
        if let Some(first) = piece.first_mut() {
            *first &= 0x07;
        }
        tag.command(&piece, now);
        tag.block(&piece, now);
    }
}

#[test]
fn every_model_shows_what_its_profile_sends() {
    for model in drv_protocol::gicisky::MODELS {
        let Some(mut planes) = Planes::blank(model) else { continue };
        planes.set(3, 1, Ink::Black);
        planes.set(4, 1, Ink::Yellow);
        for raw_only in [false, true] {
            let advert = Advert {
                type_bits: model.id | if raw_only { 0x4000 } else { 0 },
                battery_mv: 3_000,
                firmware: 0x0101,
            };
            let profile = Profile::observed(&advert);
            let mut tag = TagSim::new(model, 3_000, 1).with_firmware(0x0101, raw_only, profile.inverted);
            assert_eq!(Advert::parse(&tag.advert()), Ok(advert));
            tag.connected();
            let mut transfer = profile.transfer(&planes).unwrap();
            let mut step = transfer.begin();
            while step != Step::Done {
                let actions = match &step {
                    Step::WriteCommand(bytes) => tag.command(bytes, 5),
                    Step::WriteBlock(bytes) => tag.block(bytes, 5),
                    Step::Done => break,
                };
                let [TagAction::Notify(bytes)] = &actions[..] else { panic!("{actions:?}") };
                step = transfer.handle_notify(bytes).unwrap().unwrap();
            }
            assert_eq!(tag.image(), Some(&planes), "{:#05x}", model.id);
        }
    }
}

#[test]
fn a_stalled_block_ends_the_upload_by_name() {
    let mut tag = tag();
    tag.set_faults(TagFaults { stall: 10, ..TagFaults::default() });
    let planes = label("1.99");
    assert_eq!(upload(&mut tag, &planes, Encoding::Raw), Some(Ok(())), "ten times is a bad link");
    tag.set_faults(TagFaults { stall: 1_000, ..TagFaults::default() });
    let stalled = upload(&mut tag, &planes, Encoding::Raw);
    assert!(matches!(stalled, Some(Err(TransferError::Repeats { index: 0, .. }))), "{stalled:?}");
}
