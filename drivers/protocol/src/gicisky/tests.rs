//! Published vectors and properties of adverts, chunks, images and uploads.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<alloc::string::String>(), 16).unwrap())
        .collect()
}

fn model(id: u16) -> Model {
    Model::find(id).unwrap()
}

/// devices.md 3.2: `[type_lo][battery ×0.1 V][fw u16][type_hi]`, model = type & 0x3FFF.
#[test]
fn an_advert_names_model_and_battery() {
    let advert = Advert::parse(&[0x0B, 29, 0x01, 0x02, 0x41]).unwrap();
    assert_eq!((advert.model_id(), advert.battery_mv, advert.firmware), (0x010B, 2_900, 0x0102));
    assert_eq!(advert.model().map(|model| (model.width, model.height)), Some((250, 122)));
    assert_eq!(advert.encode(), [0x0B, 29, 0x01, 0x02, 0x41]);
    assert!(Advert::parse(&[1, 2, 3, 4]).is_err());
    assert_eq!(Model::find(0x0B).map(|model| (model.width, model.height)), Some((212, 104)));
    assert_eq!(Model::find(0x3FFF), None);
}

/// devices.md 3.2: 64×FF, 64×00 and one black pixel line, in both directions.
#[test]
fn published_chunks_compress_and_expand() {
    let mut line = [0xFF_u8; 64];
    line[20] = 0xF7;
    let rows: [(&[u8], &str); 3] = [
        (&[0xFF; 64], "75 12 40 10000080 FFFFFFFF 000038 FFFFFFFF"),
        (&[0x00; 64], "75 12 40 10000080 00000000 000038 00000000"),
        (&line, "75 17 40 D0000080 FFFFFFFF 0E00 F7 0E00 000017 FFFFFFFF"),
    ];
    for (content, text) in rows {
        assert_eq!(compress_chunk(content).unwrap(), hex(text), "{text}");
        assert_eq!(decompress_chunk(&hex(text)), Ok((content.to_vec(), hex(text).len())), "{text}");
    }
}

/// devices.md 3.2, 32×FF + 32×00: the body as printed there has one zero byte more than its own control word
/// (0x80000110: four literals, a reference, three literals, a reference, the tail) has items. The chunk without that
/// byte is what the algorithm gives and what expands; the printed one is refused.
#[test]
fn the_published_half_and_half_body_has_a_byte_too_many() {
    let content = [[0xFF_u8; 32], [0x00; 32]].concat();
    let ours = hex("75 18 40 10010080 FFFFFFFF 00001C 000000 000019 00000000");
    assert_eq!(compress_chunk(&content).unwrap(), ours);
    assert_eq!(decompress_chunk(&ours), Ok((content, ours.len())));
    let printed = hex("75 19 40 10010080 FFFFFFFF 00001C 00000000 000019 00000000");
    assert!(decompress_chunk(&printed).is_err());
}

/// devices.md 3.2: the captured first packet of a 400×300 image begins with 0x3A98 = 15 000, the length of one plane.
#[test]
fn a_stream_begins_like_the_vendor_capture() {
    let mut planes = Planes::blank(model(0x4B)).unwrap();
    for y in 0..300 {
        for x in 0..400 {
            planes.set(x, y, Ink::Black);
        }
    }
    let stream = planes.encode(Encoding::Chunks(StreamHeader::Plane));
    let mut transfer = Transfer::new(stream, Start::Compression2).unwrap();
    transfer.begin();
    transfer.handle_notify(&[0x01, 0xF4, 0x00]).unwrap();
    transfer.handle_notify(&[0x02, 0x00]).unwrap();
    let Some(Step::WriteBlock(first)) = transfer.handle_notify(&[5, 0, 0, 0, 0, 0]).unwrap() else {
        panic!("a block")
    };
    assert_eq!(first[..16], hex("00000000 983A0000 7512401000008000"));
}

/// devices.md 3.2: line mode `75 (n+7) n 00000000 data`.
#[test]
fn a_line_is_a_chunk_of_literals() {
    let planes = Planes::blank(model(0x0B)).unwrap();
    let stream = planes.encode(Encoding::Lines(StreamHeader::Total));
    assert_eq!(stream[..4], u32::try_from(stream.len()).unwrap().to_le_bytes());
    assert_eq!(stream[4..11], [0x75, 20, 13, 0, 0, 0, 0]);
    assert_eq!(stream[11..24], [0xFF; 13]);
    assert_eq!(stream.len(), 4 + 2 * 212 * 20);
}

#[test]
fn pixels_lie_where_the_scan_puts_them() {
    let mut planes = Planes::blank(model(0x0B)).unwrap();
    planes.set(1, 0, Ink::Black);
    planes.set(0, 9, Ink::Red);
    planes.set(212, 0, Ink::Black);
    // Column 1 begins at byte 13; the red pixel is white in the black plane.
    assert_eq!(planes.black()[13], 0x7F);
    assert_eq!(planes.black()[..13], [0xFF; 13]);
    assert_eq!(planes.red().unwrap()[1], 0x40);
    assert_eq!(
        (planes.ink(0, 9), planes.ink(1, 0), planes.ink(2, 2)),
        (Some(Ink::Red), Some(Ink::Black), Some(Ink::White))
    );
    assert_eq!(planes.ink(0, 104), None);
    let mut mono = Planes::blank(model(0x48)).unwrap();
    mono.set(7, 2, Ink::Red);
    assert_eq!((mono.black()[100], mono.red()), (0xFE, None));
    assert!(Planes::blank(model(0xA0)).is_none());
}

/// devices.md 3.2: BWRY 2 bpp, 00 K, 01 W, 10 Y, 11 R; most significant pixel first.
#[test]
fn four_colours_take_two_bits_per_pixel() {
    let mut planes = Planes::blank(model(0x4E)).unwrap();
    assert_eq!((planes.black().len(), planes.red()), (400 * 300 / 4, None));
    for (x, ink) in [Ink::Black, Ink::White, Ink::Yellow, Ink::Red].into_iter().enumerate() {
        planes.set(u16::try_from(x).unwrap(), 1, ink);
        assert_eq!(planes.ink(u16::try_from(x).unwrap(), 1), Some(ink));
    }
    assert_eq!(planes.black()[100], 0b00_01_10_11);
    assert_eq!(planes.black()[101], 0b01_01_01_01);
    let mut other = planes.clone();
    other.set(3, 1, Ink::Yellow);
    assert_ne!(other.hash(), planes.hash());
    for encoding in
        [Encoding::Raw, Encoding::Lines(StreamHeader::Total), Encoding::Chunks(StreamHeader::Plane)]
    {
        assert_eq!(Planes::decode(model(0x4E), &planes.encode(encoding)), Ok(planes.clone()));
    }
    // A panel without yellow shows red, one without red shows black.
    let mut red = Planes::blank(model(0x4B)).unwrap();
    red.set(0, 0, Ink::Yellow);
    assert_eq!(red.ink(0, 0), Some(Ink::Red));
    let mut mono = Planes::blank(model(0x48)).unwrap();
    mono.set(0, 0, Ink::Yellow);
    assert_eq!(mono.ink(0, 0), Some(Ink::Black));
}

/// eigger/hass-gicisky `devices.py` lists these adverts of real tags; which packing goes with which is as documented there.
#[test]
fn profiles_follow_what_public_writers_observed() {
    let rows: [(&str, u16, Encoding, bool); 6] = [
        ("0B 1D 8101 41", 0x10B, Encoding::Raw, false),
        ("33 1D 8101 40", 0x033, Encoding::Raw, false),
        ("2B 1E 8101 02", 0x22B, Encoding::Lines(StreamHeader::Total), false),
        ("4B 1E 8101 40", 0x04B, Encoding::Raw, false),
        ("2B 1E 0101 01", 0x12B, Encoding::Chunks(StreamHeader::Plane), true),
        ("8B 1F 0101 00", 0x08B, Encoding::Chunks(StreamHeader::Plane), false),
    ];
    for (bytes, id, encoding, inverted) in rows {
        let advert = Advert::parse(&hex(bytes)).unwrap();
        let profile = Profile::observed(&advert);
        assert_eq!(
            (advert.model_id(), profile.encoding, profile.inverted),
            (id, encoding, inverted),
            "{bytes}"
        );
        assert!(advert.model().and_then(Planes::blank).is_some(), "{bytes}");
    }
    let other = Advert::parse(&hex("2B 1E 8101 01")).unwrap();
    assert_eq!(Profile::observed(&other).encoding, Encoding::Lines(StreamHeader::Total));
    assert_eq!(Profile::observed(&Advert::parse(&hex("28 1E 8101 00")).unwrap()), Profile::LINES);
}

#[test]
fn an_inverted_profile_turns_the_black_plane_only() {
    let mut planes = Planes::blank(model(0x12B)).unwrap();
    planes.set(0, 0, Ink::Black);
    planes.set(1, 0, Ink::Red);
    let profile = Profile { inverted: true, ..Profile::RAW };
    let sent = Planes::decode(model(0x12B), &profile.stream(&planes)).unwrap();
    assert_eq!(sent.red(), planes.red());
    assert_eq!(sent.inverted(), planes);
    let four = Planes::blank(model(0x4E)).unwrap();
    assert_eq!(four.inverted(), four);
}

#[test]
fn every_model_is_listed_once_and_fits_an_upload() {
    for (place, model) in MODELS.iter().enumerate() {
        assert!(MODELS[..place].iter().all(|other| other.id != model.id), "{:#05x}", model.id);
        let Some(planes) = Planes::blank(*model) else {
            assert_eq!(model.colors, Colors::Lcd);
            continue;
        };
        for profile in [Profile::RAW, Profile::LINES, Profile::CHUNKS] {
            assert!(profile.transfer(&planes).is_ok(), "{:#05x} {profile:?}", model.id);
        }
    }
}

/// The hash is FNV-1a 64 as documented; the expected value was computed apart from this code.
#[test]
fn the_image_hash_is_stable() {
    let blank = Planes::blank(model(0x0B)).unwrap();
    let mut other = blank.clone();
    other.set(5, 5, Ink::Black);
    assert_ne!(blank.hash(), other.hash());
    other.set(5, 5, Ink::White);
    assert_eq!(blank.hash(), other.hash());
    assert_eq!(blank.hash(), HASH_BLANK_0B);
}

const HASH_BLANK_0B: [u8; 8] = [0x39, 0x13, 0x10, 0xF0, 0xD0, 0x1B, 0xF6, 0x45];

fn asked(index: u32) -> Vec<u8> {
    [&[0x05, 0x00][..], &index.to_le_bytes()].concat()
}

/// devices.md 3.2: the exchange of commands, with a block size of 0x00F4 = 4 + 240.
#[test]
fn an_upload_follows_the_published_exchange() {
    let stream: Vec<u8> = (0..500_u16).map(|n| n.to_le_bytes()[0]).collect();
    let mut transfer = Transfer::new(stream.clone(), Start::Plain).unwrap();
    assert_eq!(transfer.begin(), Step::WriteCommand(vec![0x01]));
    let size = transfer.handle_notify(&[0x01, 0xF4, 0x00]).unwrap();
    assert_eq!(size, Some(Step::WriteCommand(vec![0x02, 0xF4, 0x01, 0, 0, 0, 0, 0])));
    assert_eq!(transfer.handle_notify(&[0x02, 0x00]).unwrap(), Some(Step::WriteCommand(vec![0x03])));
    // The second request for block 0 is a retransmission.
    for index in [0_u32, 0, 1, 2] {
        let from = usize::try_from(index).unwrap() * 240;
        let expected = [&index.to_le_bytes()[..], &stream[from..(from + 240).min(500)]].concat();
        assert_eq!(transfer.handle_notify(&asked(index)).unwrap(), Some(Step::WriteBlock(expected)));
    }
    assert_eq!(transfer.progress(), (3, 3));
    assert_eq!(transfer.handle_notify(&[0x05, 0x08, 0, 0, 0, 0]).unwrap(), Some(Step::Done));
    assert!(transfer.is_done());
    assert_eq!(transfer.handle_notify(&[0x05, 0x08]).unwrap(), None);
    assert_eq!(transfer.cancel(), Step::WriteCommand(vec![0x04]));
}

#[test]
fn a_lying_tag_fails_the_upload_by_name() {
    let ready = || {
        let mut transfer = Transfer::new(vec![7; 1000], Start::Compression2).unwrap();
        transfer.begin();
        let size = transfer.handle_notify(&[0x01, 0xF4, 0x00]).unwrap();
        assert_eq!(size, Some(Step::WriteCommand(vec![0x02, 0xE8, 0x03, 0, 0, 1])));
        transfer.handle_notify(&[0x02, 0x00]).unwrap();
        transfer
    };
    assert!(matches!(ready().handle_notify(&asked(1)), Err(TransferError::Index { index: 1, count: 5 })));
    assert!(matches!(ready().handle_notify(&asked(u32::MAX)), Err(TransferError::Index { .. })));
    assert!(matches!(ready().handle_notify(&[5, 8]), Err(TransferError::Early { sent: 0, count: 5 })));
    assert!(matches!(ready().handle_notify(&[5, 7, 0]), Err(TransferError::Refused { status: 7, .. })));
    assert!(matches!(ready().handle_notify(&[5, 0, 1]), Err(TransferError::Unexpected { .. })));
    assert!(matches!(ready().handle_notify(&[]), Err(TransferError::Unexpected { .. })));
    let mut again = ready();
    let last = (0..100).map(|_| again.handle_notify(&asked(0))).find(Result::is_err);
    assert!(matches!(last, Some(Err(TransferError::Repeats { .. }))));
    assert!(again.handle_notify(&asked(0)).is_err());
    let mut small = Transfer::new(vec![1], Start::Plain).unwrap();
    small.begin();
    assert!(matches!(small.handle_notify(&[1, 4, 0]), Err(TransferError::BlockSize { found: 4 })));
    assert!(Transfer::new(vec![], Start::Plain).is_err());
}

proptest! {
    #[test]
    fn chunks_survive_the_round_trip(
        content in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xFF), Just(0xF0), any::<u8>()], 1..=64),
        run in 0_usize..64,
    ) {
        let mut content = content;
        // Runs and repetitions are where references are.
        let copy: Vec<u8> = content.iter().take(run).copied().collect();
        content.extend(copy);
        content.truncate(64);
        let chunk = compress_chunk(&content).unwrap();
        prop_assert!(chunk.len() <= content.len() + 3);
        prop_assert_eq!(decompress_chunk(&chunk), Ok((content, chunk.len())));
    }

    #[test]
    fn no_chunk_or_stream_panics_or_grows(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for mark in [0x74, 0x75] {
            let mut chunk = bytes.clone();
            if let Some(first) = chunk.first_mut() {
                *first = mark;
            }
            if let Ok((content, used)) = decompress_chunk(&chunk) {
                prop_assert!(content.len() <= 255 && used <= chunk.len());
            }
        }
        prop_assert!(Planes::decode(model(0x0B), &bytes).is_err());
    }

    #[test]
    fn images_survive_every_encoding(points in proptest::collection::vec((0_u16..296, 0_u16..128, 0_u8..4), 0..200)) {
        for id in [0x0B, 0x10B, 0x28, 0x33, 0x2E] {
            let mut planes = Planes::blank(model(id)).unwrap();
            for (x, y, ink) in &points {
                planes.set(*x, *y, [Ink::White, Ink::Black, Ink::Red, Ink::Yellow][usize::from(*ink)]);
            }
            for encoding in [
                Encoding::Raw,
                Encoding::Lines(StreamHeader::Following),
                Encoding::Chunks(StreamHeader::Plane),
            ] {
                let decoded = Planes::decode(model(id), &planes.encode(encoding)).unwrap();
                prop_assert_eq!(decoded.hash(), planes.hash());
                prop_assert_eq!(&decoded, &planes);
            }
        }
    }

    #[test]
    fn no_notifications_panic(notes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..20)) {
        let mut transfer = Transfer::new(vec![3; 700], Start::Plain).unwrap();
        transfer.begin();
        for note in notes {
            drop(transfer.handle_notify(&note));
        }
        prop_assert!(!transfer.is_done() || transfer.progress().0 == transfer.progress().1);
    }
}
