//! Targets of `drv-protocol`: what devices send.

use super::{choice, hex, pieces};
use drv_protocol::ds18b20::{self, Family};
use drv_protocol::gicisky::{
    Advert, CHUNK_BYTES, Encoding, MODELS, Model, Planes, STREAM_BYTES_MAX, Start, Step, StreamHeader,
    Transfer, compress_chunk, decompress_chunk,
};
use drv_protocol::modbus::{
    ModbusError, READ_BITS_MAX, READ_REGISTERS_MAX, Request, Response, Table, rtu, tcp,
};
use drv_protocol::profile::{Image, Profile};
use drv_protocol::toledo8217::{Command, Decoder, DecoderConfig};

pub(crate) const TOLEDO_WORDS: &[&[u8]] =
    &[b"\x02", b"\r", b"\x02?", b"\x02E\r", b"\x02F\r", b"01.250", b"N\r"];

/// The first byte: which command was sent last.
pub(crate) fn toledo8217(bytes: &[u8]) {
    let (command, bytes) = choice(bytes);
    let decoder = || {
        let mut decoder = Decoder::new(DecoderConfig::default());
        match command % 4 {
            0 => {}
            1 => decoder.expect(Command::StartConfidence),
            2 => decoder.expect(Command::EchoOn),
            _ => decoder.expect(Command::Weight),
        }
        decoder
    };
    let (mut whole, mut cut) = (decoder(), decoder());
    let replies = whole.feed(bytes);
    assert!(replies.len() <= bytes.len(), "a reply needs a byte");
    let in_pieces: Vec<_> = pieces(bytes).into_iter().flat_map(|piece| cut.feed(piece)).collect();
    assert_eq!(replies, in_pieces, "pieces change the replies");
    assert_eq!(whole.reset(), cut.reset(), "pieces change what is left");
}

/// devices.md 1.1: weight, net weight, the six status bits, echo, confidence.
pub(crate) fn toledo8217_seeds() -> Vec<Vec<u8>> {
    [
        "00 02 30 31 2E 32 35 30 0D",
        "00 02 30 31 2E 32 35 30 4E 0D",
        "00 02 3F 41 0D",
        "00 02 3F 60 0D",
        "01 02 3F 40 0D",
        "01 02 3F 0D",
        "01 02 0D",
        "02 02 45 0D 68 65 6C 6C 6F 02 46 0D",
    ]
    .map(hex)
    .into()
}

pub(crate) fn rtu_request(bytes: &[u8]) {
    rtu_request_frame(bytes);
    // With a right checksum mutation gets beyond it.
    let crc = rtu::crc16(bytes).to_le_bytes();
    rtu_request_frame(&[bytes, &crc].concat());
}

fn rtu_request_frame(frame: &[u8]) {
    match rtu::decode_request(frame) {
        Ok((unit, request)) => {
            assert!(frame.len() <= rtu::FRAME_BYTES_MAX);
            assert_eq!(rtu::request_len(frame), Some(frame.len()), "the length is told beforehand");
            let again =
                rtu::encode_request(unit, &request).unwrap_or_else(|error| panic!("written again: {error}"));
            assert_eq!(rtu::decode_request(&again), Ok((unit, request)));
        }
        Err(error) => {
            let refusal = rtu::refusal(frame, &error);
            assert!(refusal.is_none_or(|answer| answer.len() == 5), "a refusal has five bytes");
        }
    }
    std::hint::black_box(rtu::response_len(frame));
}

/// devices.md 2: published requests with their checksums.
pub(crate) fn rtu_request_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        "01 03 20 00 00 02 CF CB",
        "01 03 05 57 00 04 F5 15",
        "01 06 06 01 00 28 D8 9C",
        "01 06 28 B0 00 0D 40 48",
    ]
    .map(hex)
    .into();
    seeds.extend(requests().into_iter().filter_map(|request| rtu::encode_request(7, &request).ok()));
    let open: Vec<Vec<u8>> =
        seeds.iter().filter_map(|frame| frame.get(..frame.len() - 2)).map(<[u8]>::to_vec).collect();
    seeds.extend(open);
    seeds
}

fn requests() -> Vec<Request> {
    let tables = [Table::Coil, Table::Discrete, Table::Holding, Table::Input];
    let mut requests: Vec<Request> =
        tables.into_iter().map(|table| Request::Read { table, address: 100, count: 9 }).collect();
    requests.push(Request::WriteCoil { address: 3, on: true });
    requests.push(Request::WriteRegister { address: 3, value: 0xFC18 });
    requests.push(Request::WriteCoils {
        address: 3,
        values: vec![true, false, true, true, false, true, false, true, true],
    });
    requests.push(Request::WriteRegisters { address: 0x2105, values: vec![1000, 0xFC18] });
    requests
}

/// The request that an answer belongs to, from the first four bytes; the rest is the answer.
fn asked(bytes: &[u8]) -> Option<(Request, &[u8])> {
    let ([kind, address, count, high], rest) = bytes.split_first_chunk::<4>()?;
    let address = u16::from(*address);
    let count = u16::from_be_bytes([*high % 8, *count]);
    let table = |table: Table| {
        let most = if table.is_bits() { READ_BITS_MAX } else { READ_REGISTERS_MAX };
        Request::Read { table, address, count: count.clamp(1, most) }
    };
    let request = match kind % 8 {
        0 => table(Table::Coil),
        1 => table(Table::Discrete),
        2 | 3 => table(Table::Holding),
        4 => table(Table::Input),
        5 => Request::WriteCoil { address, on: count & 1 == 1 },
        6 => Request::WriteRegister { address, value: count },
        _ => Request::WriteRegisters { address, values: vec![count; usize::from(count % 100) + 1] },
    };
    Some((request, rest))
}

fn fits(request: &Request, response: &Response) {
    match (request, response) {
        (Request::Read { table, count, .. }, Response::Bits(bits)) => {
            assert!(table.is_bits());
            assert_eq!(bits.len(), usize::from(*count));
        }
        (Request::Read { table, count, .. }, Response::Registers(words)) => {
            assert!(!table.is_bits());
            assert_eq!(words.len(), usize::from(*count));
        }
        (request, _) => assert!(request.is_write(), "{response:?} to {request:?}"),
    }
}

pub(crate) fn rtu_response(bytes: &[u8]) {
    let Some((request, frame)) = asked(bytes) else { return };
    let crc = rtu::crc16(frame).to_le_bytes();
    for frame in [frame.to_vec(), [frame, &crc].concat()] {
        match rtu::decode_response(7, &request, &frame) {
            Ok(response) => {
                fits(&request, &response);
                assert_eq!(rtu::response_len(&frame), Some(frame.len()), "the length is told beforehand");
                let again = rtu::encode_response(7, &request, &Ok(response.clone()));
                assert_eq!(rtu::decode_response(7, &request, &again), Ok(response));
            }
            Err(ModbusError::Exception(exception)) => {
                let again = rtu::encode_response(7, &request, &Err(exception));
                assert_eq!(rtu::decode_response(7, &request, &again), Err(ModbusError::Exception(exception)));
            }
            Err(_) => {}
        }
    }
}

pub(crate) fn rtu_response_seeds() -> Vec<Vec<u8>> {
    [
        "02 64 02 00 07 03 04 00 DC FF 48",
        "00 10 09 00 07 01 02 55 01",
        "04 00 01 00 07 84 02",
        "06 10 20 00 07 06 00 10 00 20",
        "05 10 01 00 07 05 00 10 FF 00",
        "07 10 00 00 07 10 00 10 00 01",
    ]
    .map(hex)
    .into()
}

pub(crate) fn tcp_request(bytes: &[u8]) {
    for frame in [bytes.to_vec(), framed(bytes)] {
        match tcp::decode_request(&frame) {
            Ok((transaction, unit, request)) => {
                assert_eq!(tcp::frame_len(&frame), Ok(Some(frame.len())));
                let again = tcp::encode_request(transaction, unit, &request)
                    .unwrap_or_else(|error| panic!("written again: {error}"));
                assert_eq!(tcp::decode_request(&again), Ok((transaction, unit, request)));
            }
            Err(error) => {
                let refusal = tcp::refusal(&frame, &error);
                assert!(refusal.is_none_or(|answer| answer.len() == 9), "a refusal has nine bytes");
            }
        }
        prefixes(&frame);
    }
}

/// A header that fits what follows.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0x12, 0x34, 0, 0][..], &length, bytes].concat()
}

/// The length of a frame is the same however much of it is there already.
fn prefixes(frame: &[u8]) {
    let mut told = None;
    for end in 0..frame.len().min(16) {
        if let Ok(Some(length)) = tcp::frame_len(frame.get(..end).unwrap_or_default()) {
            assert!((8..=tcp::FRAME_BYTES_MAX).contains(&length), "{length}");
            assert!(told.is_none_or(|told| told == length), "the length changes");
            told = Some(length);
        }
    }
}

pub(crate) fn tcp_request_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        requests().into_iter().filter_map(|request| tcp::encode_request(0x1234, 5, &request).ok()).collect();
    let bare: Vec<Vec<u8>> = seeds.iter().filter_map(|frame| frame.get(6..)).map(<[u8]>::to_vec).collect();
    seeds.extend(bare);
    seeds
}

pub(crate) fn tcp_response(bytes: &[u8]) {
    let Some((request, frame)) = asked(bytes) else { return };
    for frame in [frame.to_vec(), framed(frame)] {
        match tcp::decode_response(0x1234, 7, &request, &frame) {
            Ok(response) => {
                fits(&request, &response);
                let again = tcp::encode_response(0x1234, 7, &request, &Ok(response.clone()));
                assert_eq!(tcp::decode_response(0x1234, 7, &request, &again), Ok(response));
            }
            Err(ModbusError::Exception(exception)) => {
                let again = tcp::encode_response(0x1234, 7, &request, &Err(exception));
                assert_eq!(
                    tcp::decode_response(0x1234, 7, &request, &again),
                    Err(ModbusError::Exception(exception))
                );
            }
            Err(_) => {}
        }
        prefixes(&frame);
    }
}

pub(crate) fn tcp_response_seeds() -> Vec<Vec<u8>> {
    // The same answers: their framing is made by the target.
    rtu_response_seeds()
}

pub(crate) const PROFILE_WORDS: &[&[u8]] = &[
    b"[[registers]]\n",
    b"address = ",
    b"address_offset = -1\n",
    b"scale = ",
    b"kind = \"i16\"\n",
    b"kind = \"u32\"\n",
    b"0xFFFF",
    b"65535",
    b"-32768",
    b"99999999999",
    b"\"",
    b"[",
    b"]",
    b"min = ",
    b"max = ",
    b"optional = true\n",
    b"[[examples]]\n",
];

/// A profile file: refused by name, or so that everything derived from it is bounded.
pub(crate) fn profile(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(profile) = toml::from_str::<Profile>(text) else { return };
    if profile.check().is_err() {
        return;
    }
    let polls = profile.plan();
    let served = profile.registers.len() + profile.alarms.len();
    assert!(polls.len() <= served, "a read serves at least one register or alarm");
    for poll in &polls {
        assert!(
            rtu::encode_request(1, &poll.request()).is_ok(),
            "a read that the protocol cannot carry: {poll:?}"
        );
    }
    let mut image = Image::new();
    for poll in &polls {
        for offset in 0..poll.count {
            image.put(poll.unit_offset, poll.table, poll.address.wrapping_add(offset), 0x8000 ^ offset);
        }
    }
    for image in [&Image::new(), &image] {
        let values = profile.decode(image);
        assert_eq!(values.iter().count(), profile.registers.len());
        std::hint::black_box(profile.cabinet(&values));
    }
}

pub(crate) fn profile_seeds() -> Vec<Vec<u8>> {
    [
        &include_bytes!("../../../../configs/devices/danfoss-ak-cc55.toml")[..],
        include_bytes!("../../../../configs/devices/penn-tc3223.toml"),
        include_bytes!("../../../../configs/devices/steamer-e5cc.toml"),
        include_bytes!("../../../../configs/devices/generic-probe.toml"),
    ]
    .map(<[u8]>::to_vec)
    .into()
}

pub(crate) const W1_WORDS: &[&[u8]] =
    &[b" : crc=", b" YES\n", b" NO\n", b" t=", b"t=85000", b"00 00 00 00 00 00 00 00 00", b"50 05"];

pub(crate) fn w1_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for family in Family::ALL {
        let Ok(reading) = ds18b20::parse(family, &text) else { continue };
        assert!((-55_000..=125_000).contains(&reading.0), "{reading}");
        // The remainder of a DS18S20 moves its readings off the power-on value.
        assert!(family == Family::Ds18s20 || reading.0 != 85_000, "the power-on value of {family:?}");
    }
}

/// devices.md 2.3: the kernel's two lines, a power-on reading, a dead sensor.
pub(crate) fn w1_text_seeds() -> Vec<Vec<u8>> {
    [
        "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n",
        "91 01 4b 46 7f ff 0c 10 25 : crc=25 YES\n91 01 4b 46 7f ff 0c 10 25 t=25062\n",
        "5e ff 4b 46 7f ff 02 10 d3 : crc=d3 YES\n5e ff 4b 46 7f ff 02 10 d3 t=-10125\n",
        "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n",
        "ff ff ff ff ff ff ff ff ff : crc=c9 NO\nff ff ff ff ff ff ff ff ff t=-62\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

pub(crate) fn scratchpad(bytes: &[u8]) {
    let Some((head, _)) = bytes.split_first_chunk::<8>() else { return };
    let mut scratchpad = [0; 9];
    scratchpad.iter_mut().zip(head).for_each(|(slot, byte)| *slot = *byte);
    let sealed = ds18b20::crc8(head);
    for crc in [sealed, sealed ^ 1] {
        scratchpad[8] = crc;
        for family in Family::ALL {
            let reading = ds18b20::convert(family, &scratchpad);
            assert!(crc == sealed || reading.is_err(), "a wrong checksum");
            let Ok(reading) = reading else { continue };
            assert!((-55_000..=125_000).contains(&reading.0), "{reading}");
            assert!(family == Family::Ds18s20 || reading.0 != 85_000, "the power-on value of {family:?}");
        }
    }
}

pub(crate) fn scratchpad_seeds() -> Vec<Vec<u8>> {
    [
        "50 05 4B 46 7F FF 0C 10",
        "91 01 4B 46 7F FF 0C 10",
        "5E FF 4B 46 7F FF 02 10",
        "D0 07 4B 46 7F FF 00 10",
    ]
    .map(hex)
    .into()
}

pub(crate) fn advert(bytes: &[u8]) {
    if let Ok(advert) = Advert::parse(bytes) {
        assert_eq!(advert.encode()[..], *bytes);
        assert!(advert.model().is_none_or(|model| model.id == advert.model_id()));
    }
}

/// devices.md 3.2.
pub(crate) fn advert_seeds() -> Vec<Vec<u8>> {
    ["0B 1D 01 02 41", "4B 1D 00 15 00"].map(hex).into()
}

pub(crate) fn chunk(bytes: &[u8]) {
    if let Ok((content, used)) = decompress_chunk(bytes) {
        assert!(used <= bytes.len() && used > 0, "{used} of {} bytes", bytes.len());
        assert!(content.len() <= usize::from(u8::MAX));
        again(&content);
    }
}

fn again(content: &[u8]) {
    if let Some(chunk) = compress_chunk(content) {
        let back = decompress_chunk(&chunk);
        assert_eq!(back, Ok((content.to_vec(), chunk.len())), "compressed and expanded");
    } else {
        assert!(
            content.is_empty() || content.len() > CHUNK_BYTES,
            "{} bytes are not compressed",
            content.len()
        );
    }
}

pub(crate) fn compress(bytes: &[u8]) {
    again(bytes);
}

/// devices.md 3.2: chunks of the vendor's application.
pub(crate) fn chunk_seeds() -> Vec<Vec<u8>> {
    [
        "75 12 40 10 00 00 80 FF FF FF FF 00 00 38 FF FF FF FF",
        "75 12 40 10 00 00 80 00 00 00 00 00 00 38 00 00 00 00",
        "74 07 04 01 02 03 04",
        "75 14 0D 00 00 00 00 FF FF FF FF FF FF FF FF FF FF FF FF FF",
    ]
    .map(hex)
    .into()
}

/// The first byte: which model.
pub(crate) fn image(bytes: &[u8]) {
    let (pick, stream) = choice(bytes);
    let Some(model) = model(pick) else { return };
    if let Ok(planes) = Planes::decode(model, stream) {
        for encoding in
            [Encoding::Raw, Encoding::Lines(StreamHeader::Total), Encoding::Chunks(StreamHeader::Plane)]
        {
            let again = Planes::decode(model, &planes.encode(encoding));
            assert_eq!(again.as_ref(), Ok(&planes), "{encoding:?}");
        }
    }
}

fn model(pick: u8) -> Option<Model> {
    MODELS.get(usize::from(pick) % MODELS.len()).copied()
}

pub(crate) fn image_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (pick, model) in (0_u8..).zip(MODELS) {
        let Some(planes) = Planes::blank(model) else { continue };
        for encoding in [Encoding::Chunks(StreamHeader::Total), Encoding::Lines(StreamHeader::Following)] {
            seeds.push([&[pick], &planes.encode(encoding)[..]].concat());
        }
    }
    seeds
}

/// A conversation: byte 0 the start, byte 1 the image's size, then notifications with a length byte before each.
pub(crate) fn transfer(bytes: &[u8]) {
    let (start, rest) = choice(bytes);
    let (size, mut rest) = choice(rest);
    let stream: Vec<u8> = (0..usize::from(size) * 16 + 1).map(|at| at.to_le_bytes()[0]).collect();
    assert!(stream.len() <= STREAM_BYTES_MAX);
    let start = if start & 1 == 0 { Start::Plain } else { Start::Compression2 };
    let Ok(mut transfer) = Transfer::new(stream.clone(), start) else { return };
    transfer.begin();
    while let Some((length, after)) = rest.split_first() {
        let (notification, after) = after.split_at(usize::from(*length % 8).min(after.len()));
        rest = after;
        match transfer.handle_notify(notification) {
            Ok(Some(Step::WriteBlock(block))) => {
                let (index, content) = block.split_first_chunk::<4>().expect("a block begins with its index");
                let index = u32::from_le_bytes(*index);
                assert!(
                    !content.is_empty() && content.len() <= 512,
                    "block {index} of {} bytes",
                    content.len()
                );
                assert!(stream.windows(content.len()).any(|part| part == content), "bytes of another image");
            }
            Ok(_) => {}
            Err(_) => assert!(!transfer.is_done()),
        }
        let (sent, count) = transfer.progress();
        assert!(count <= stream.len() && (sent <= count || count == 0), "{sent} of {count} blocks");
        assert!(!transfer.is_done() || sent == count, "done with {sent} of {count} blocks");
    }
}

/// devices.md 3.2: block size 244, size accepted, the blocks asked for, done.
pub(crate) fn transfer_seeds() -> Vec<Vec<u8>> {
    [
        "00 1E 03 01 F4 00 02 02 00 06 05 00 00 00 00 00 06 05 00 01 00 00 00 06 05 00 02 00 00 00 02 05 08",
        "01 01 03 01 10 00 02 02 00 06 05 00 00 00 00 00 06 05 00 01 00 00 00 06 05 00 01 00 00 00 02 05 08",
    ]
    .map(hex)
    .into()
}
