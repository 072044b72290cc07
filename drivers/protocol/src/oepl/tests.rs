//! The structures of the reference, an upload in full, and tags that lie.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::MilliCelsius;

/// OpenEPaperLink `ble_filter.cpp`: `BleAdvDataStructV1` and `V2` behind the manufacturer number, packed little-endian.
#[test]
fn adverts_of_both_versions() {
    let v2 = [2, 0x0B, 0x01, 0x34, 0x12, 0x01, 0x00, 0xB8, 0x0B, 0xFB, 0x07];
    let advert = Advert::parse(&v2).unwrap();
    let expected = Advert {
        hardware: 0x010B,
        firmware: 0x1234,
        capabilities: 1,
        battery_mv: 3_000,
        temperature: Some(MilliCelsius(-5_000)),
        counter: 7,
    };
    assert_eq!((advert, advert.encode()), (expected, v2.to_vec()));
    let v1 = [1, 0x0B, 0x01, 0x34, 0x12, 0x01, 0x00, 0xB8, 0x0B, 0x07];
    let old = Advert::parse(&v1).unwrap();
    assert_eq!((old, old.encode()), (Advert { temperature: None, ..expected }, v1.to_vec()));
    for bad in [&v1[..9], &v2[..10], &[3; 11], &[]] {
        assert!(Advert::parse(bad).is_err(), "{bad:?}");
    }
}

fn request(version: u64, block: u8, parts: [u8; 6]) -> Vec<u8> {
    [&[0x00, 0xC6, 0x00][..], &version.to_le_bytes(), &[block, 0x20], &parts].concat()
}

fn image(size: u16) -> Image {
    let bytes = (0..size).map(|n| n.to_le_bytes()[0]).collect();
    Image { bytes, coloured: false, version: 0x0807_0605_0403_0201 }
}

/// OpenEPaperLink `ble_writer.cpp`: announcement, block of size and sum, parts of 230 bytes guarded by a sum.
#[test]
fn an_upload_follows_the_reference() {
    let mut upload = Upload::new(image(4_200)).unwrap();
    let body = [1, 2, 3, 4, 5, 6, 7, 8, 0x68, 0x10, 0, 0, 0x20, 0, 0, 0];
    let announced = [&[0x00, 0x64, checksum(&body)][..], &body].concat();
    assert_eq!(upload.begin(), Step::Write(announced));
    let mut got: Vec<u8> = Vec::new();
    let mut step = upload.handle_notify(&request(0x0807_0605_0403_0201, 0, [0xFF; 6])).unwrap();
    for part in 0..18_u8 {
        let Step::Write(bytes) = step else { panic!("part {part}: {step:?}") };
        assert_eq!((bytes.len(), &bytes[..2], &bytes[3..5]), (235, &[0x00, 0x65][..], &[0, part][..]));
        assert_eq!(bytes[2], checksum(&bytes[3..]));
        if part == 3 {
            // A refused part is sent again.
            assert_eq!(upload.handle_notify(&[0x00, 0xC4]), Ok(Step::Write(bytes.clone())));
        }
        got.extend(&bytes[5..]);
        step = upload.handle_notify(&[0x00, 0xC5]).unwrap();
    }
    assert_eq!(step, Step::Listen, "the tag has the word after the last part");
    let sum = image(4_200).bytes[..4_096].iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
    assert_eq!(got[..4], [&4_096_u16.to_le_bytes()[..], &sum.to_le_bytes()].concat());
    assert_eq!(got[4..4_100], image(4_200).bytes[..4_096]);
    assert_eq!(upload.handle_notify(&[0x00, 0xC7]), Err(UploadError::Early { sent: 1, count: 2 }));
    // The second block: only the part that the tag lacks.
    let step = upload.handle_notify(&request(0x0807_0605_0403_0201, 1, [1, 0, 0, 0, 0, 0])).unwrap();
    assert!(matches!(step, Step::Write(bytes) if bytes[3..7] == [1, 0, 104, 0]));
    assert_eq!(upload.handle_notify(&[0x00, 0xC7]), Ok(Step::Done));
    assert!(upload.is_done() && upload.progress() == (2, 2));
    assert_eq!(upload.handle_notify(&[0x00, 0xC7]), Ok(Step::Listen));
}

#[test]
fn a_tag_that_has_the_image_says_so() {
    let mut upload = Upload::new(image(10)).unwrap();
    upload.begin();
    assert_eq!(upload.handle_notify(&[0x00, 0x63]), Ok(Step::Listen));
    assert_eq!(upload.handle_notify(&[0x00, 0xC8]), Ok(Step::Done));
}

#[test]
fn a_lying_tag_fails_the_upload_by_name() {
    let version = 0x0807_0605_0403_0201;
    let ready = || {
        let mut upload = Upload::new(image(5_000)).unwrap();
        upload.begin();
        upload
    };
    assert!(matches!(ready().handle_notify(&request(version, 1, [0xFF; 6])), Err(UploadError::Block { .. })));
    assert!(matches!(
        ready().handle_notify(&request(7, 0, [0xFF; 6])),
        Err(UploadError::Block { version: 7, .. })
    ));
    assert!(matches!(ready().handle_notify(&[0x00, 0xC5]), Err(UploadError::Unexpected(_))));
    assert!(matches!(ready().handle_notify(&[0x00]), Err(UploadError::Unexpected(_))));
    assert!(matches!(ready().handle_notify(&[0xFF, 0xFF]), Err(UploadError::Refused { code: 0xFFFF, .. })));
    assert!(matches!(ready().handle_notify(&[0x00, 0xD0]), Err(UploadError::Refused { code: 0xD0, .. })));
    let mut deaf = ready();
    deaf.handle_notify(&request(version, 0, [0xFF; 6])).unwrap();
    let gave_up = (0..20).map(|_| deaf.handle_notify(&[0x00, 0xC4])).find(Result::is_err);
    assert!(matches!(gave_up, Some(Err(UploadError::Repeats { block: 0, part: 0, .. }))));
    let mut again = ready();
    let gave_up = (0..500).map(|_| again.handle_notify(&request(version, 0, [0xFF; 6]))).find(Result::is_err);
    assert!(matches!(gave_up, Some(Err(UploadError::Repeats { .. }))));
    assert!(Upload::new(Image { bytes: vec![], ..image(1) }).is_err());
    assert!(Upload::new(Image { bytes: vec![0; 256 * BLOCK_BYTES + 1], ..image(1) }).is_err());
}

proptest! {
    #[test]
    fn no_advert_and_no_notifications_panic(
        notes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..24), 0..20),
        codes in proptest::collection::vec(prop_oneof![Just(0xC4_u8), Just(0xC5), Just(0xC6), Just(0xC7)], 20),
    ) {
        let mut upload = Upload::new(image(5_000)).unwrap();
        upload.begin();
        for (mut note, code) in notes.into_iter().zip(codes) {
            drop(Advert::parse(&note).map(|advert| advert.encode()));
            if note.len() > 1 {
                note[0] = 0;
                note[1] = code;
            }
            drop(upload.handle_notify(&note));
        }
        prop_assert!(!upload.is_done() || upload.progress().0 == upload.progress().1);
    }
}
