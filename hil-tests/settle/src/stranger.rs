//! A stranger on the broker: repeats what it overhears, says it in another store's name, cuts it short, claims a version of
//! the future, or talks nonsense of any size.
//!
//! It forges nothing that could be true: without certificates a broker that anybody may write to has no defense against a
//! well-formed lie, and with them the seal is the defense (the identity tests of sync-hq). MQTT 3.1.1 by hand, so that it
//! shares no code with what it speaks to.

use crate::fleet::STORES;
use hil_demo::random::Random;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Messages that are remembered.
const HEARD_MAX: usize = 64;
/// A message that no program of ours would send, and that the broker still passes on.
const OVERSIZE: usize = 300_000;

/// What was said, by kind.
pub(crate) type Said = BTreeMap<&'static str, u32>;

/// Speaks until told to stop; a lost connection is made anew.
pub(crate) async fn haunt(port: u16, mut random: Random, mut stop: watch::Receiver<bool>) -> Said {
    let mut said = Said::new();
    while !*stop.borrow() {
        tokio::select! {
            // An end of the connection is the broker's death: it comes back.
            _ = converse(port, &mut random, &mut said) => tokio::time::sleep(Duration::from_millis(100)).await,
            _ = stop.changed() => {}
        }
    }
    said
}

async fn converse(port: u16, random: &mut Random, said: &mut Said) -> std::io::Result<()> {
    let (mut from, mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?.into_split();
    let mut hello = vec![0, 4];
    hello.extend(b"MQTT\x04\x02\x00\x00");
    hello.extend(text("stranger"));
    to.write_all(&packet(0x10, &hello)).await?;
    let mut subscribe = vec![0, 1];
    subscribe.extend(text("sy1/#"));
    subscribe.push(0);
    to.write_all(&packet(0x82, &subscribe)).await?;
    let (ears, mut heard_now) = tokio::sync::mpsc::channel(16);
    let listening = async {
        loop {
            if let Some(message) = hear(&mut from).await? {
                // A full channel means that enough was heard.
                drop(ears.try_send(message));
            }
        }
    };
    let speaking = async {
        let mut heard: VecDeque<(String, Vec<u8>)> = VecDeque::new();
        loop {
            tokio::time::sleep(random.millis(20, 150)).await;
            while let Ok(message) = heard_now.try_recv() {
                if heard.len() >= HEARD_MAX {
                    heard.pop_front();
                }
                heard.push_back(message);
            }
            let known: Vec<_> = heard.iter().cloned().collect();
            let (kind, topic, payload) = remark(&known, random);
            let mut body = text(&topic);
            body.extend(payload);
            to.write_all(&packet(0x30, &body)).await?;
            *said.entry(kind).or_default() += 1;
        }
    };
    tokio::select! {
        ended = listening => ended,
        ended = speaking => ended,
    }
}

/// One thing to say.
fn remark(heard: &[(String, Vec<u8>)], random: &mut Random) -> (&'static str, String, Vec<u8>) {
    let store = *random.pick(&STORES);
    let leaf = *random.pick(&["u", "d", "a", "c"]);
    let own = format!("sy1/{:02}/{store}/{leaf}", store % 64);
    let bytes = |random: &mut Random, count: u64| {
        (0..count).map(|_| u8::try_from(random.between(0, 255)).unwrap_or_default()).collect::<Vec<u8>>()
    };
    if heard.is_empty() || random.chance(200) {
        let count = random.between(0, 400);
        return ("garbage", own, bytes(random, count));
    }
    let (topic, payload) = random.pick(heard).clone();
    match random.between(0, 9) {
        0..3 => ("replayed", topic, payload),
        3..6 => {
            let leaf = topic.rsplit('/').next().unwrap_or("u").to_owned();
            ("foreign", format!("sy1/{:02}/{store}/{leaf}", store % 64), payload)
        }
        6..8 => {
            let keep = random.between(0, u64::try_from(payload.len()).unwrap_or(1)).saturating_sub(1);
            ("truncated", topic, payload.into_iter().take(usize::try_from(keep).unwrap_or(0)).collect())
        }
        8 => {
            let mut later = payload;
            if let Some(version) = later.first_mut() {
                *version = 77;
            }
            ("future", topic, later)
        }
        _ => ("oversize", own, vec![2; OVERSIZE]),
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut out = u16::try_from(text.len()).unwrap_or_default().to_be_bytes().to_vec();
    out.extend(text.as_bytes());
    out
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left % 128).unwrap_or_default();
        left /= 128;
        out.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    out.extend(body);
    out
}

/// The next message that the broker passes on; `None` for its other packets.
async fn hear<R: AsyncReadExt + Unpin>(from: &mut R) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let kind = from.read_u8().await?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = from.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let Some((size, rest)) = body.split_first_chunk::<2>().filter(|_| kind >> 4 == 3) else {
        return Ok(None);
    };
    let size = usize::from(u16::from_be_bytes(*size));
    let Some((topic, payload)) = rest.split_at_checked(size) else { return Ok(None) };
    Ok(Some((String::from_utf8_lossy(topic).into_owned(), payload.to_vec())))
}
