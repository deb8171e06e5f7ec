//! A server that listens where a store should, and answers nothing of sense.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How many bytes are sent on one connection at most.
pub const FLOOD: usize = 256 << 20;

/// What is answered to whatever is asked.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it is called when a case fails.
    pub name: &'static str,
    /// How it begins.
    pub bytes: Vec<u8>,
    /// How it goes on.
    pub then: Then,
}

impl Answer {
    /// An answer that begins so.
    pub fn new(name: &'static str, bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self {
            name,
            bytes: bytes.into(),
            then,
        }
    }

    /// What no store says.
    pub(super) fn of_nobody() -> Vec<Self> {
        // A xorshift generator: the same noise at each run.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(512)
        .flatten()
        .collect();
        vec![
            Self::new("silence", [], Then::Hang),
            Self::new("a closed door", [], Then::Close),
            Self::new("noise", noise.clone(), Then::Close),
            Self::new("noise, then silence", noise.clone(), Then::Hang),
            Self::new("noise without end", noise, Then::Flood),
            Self::new("zeros without end", [0; 64], Then::Flood),
        ]
    }
}

/// How an answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed.
    Close,
    /// Nothing comes any more.
    Hang,
    /// Its bytes come again and again, as fast as they are read.
    Flood,
}

/// The server. Dropping it closes everything.
pub(super) struct Liar {
    pub(super) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Liar {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let listening = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        counted.fetch_add(1, Ordering::Relaxed);
                        open.spawn(say(client, answer.clone()));
                    }
                    Some(_) = open.join_next() => {}
                }
            }
        });
        Self {
            addr,
            connections,
            listening,
        }
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Answers the first that is asked on a connection.
async fn say(mut client: TcpStream, answer: Answer) {
    let mut asked = vec![0; 16 * 1024];
    if answer.bytes.is_empty() && answer.then == Then::Close
        || !matches!(client.read(&mut asked).await, Ok(1..))
    {
        return;
    }
    if client.write_all(&answer.bytes).await.is_err() {
        return;
    }
    match answer.then {
        Then::Close => {}
        Then::Hang => while let Ok(1..) = client.read(&mut asked).await {},
        Then::Flood => {
            let flood = answer.bytes.repeat((1 << 16) / answer.bytes.len().max(1) + 1);
            let mut sent = 0;
            while sent < FLOOD && client.write_all(&flood).await.is_ok() {
                sent += flood.len();
            }
        }
    }
}
