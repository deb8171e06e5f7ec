//! Ports of this host for the nodes of a cluster.
//!
//! They have to be known before a node starts, and stay the same when it is killed and started again; the
//! ones that Docker picks change then.

use anyhow::{Result, bail};
use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ports that kernels give to outgoing connections, one of which could take a port while its node
/// is down.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// How far the ranges of two processes are apart, so that they seldom try the same port at once.
const STRIDE: u32 = 97;

/// A port on which nobody listens now, different at each call.
pub(super) fn free() -> Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!(
        "all ports from {FIRST} to {} are taken on 127.0.0.1",
        FIRST + COUNT - 1
    )
}
