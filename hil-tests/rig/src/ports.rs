//! TCP ports on loopback that stay ours while the program that listens is down.
//!
//! A port from the kernel's ephemeral range may be given to any outgoing connection while a killed program is being
//! restarted; so ports are taken from below that range.

use crate::RigError;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// First port tried. The ephemeral range of Linux starts at 32768.
const FIRST: u16 = 20_000;
/// Ports tried at most.
const SPAN: u16 = 12_000;

/// Ports given out by this process; another process of the rig starts elsewhere because of its process id.
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port on 127.0.0.1 that nobody listens on.
pub fn reserve() -> Result<u16, RigError> {
    let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(SPAN)).unwrap_or_default();
    let mut last = None;
    for _ in 0..SPAN {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(step) % SPAN;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(RigError::Io { what: format!("no free port in {FIRST}..{}", FIRST + SPAN), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_not_given_out() {
        let first = reserve().unwrap();
        let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        for _ in 0..50 {
            let port = reserve().unwrap();
            assert_ne!(port, first);
            assert!((FIRST..FIRST + SPAN).contains(&port));
        }
    }
}
