//! The guarded resource, and the program that works on it while `leadership run` leads.
//!
//! The program writes all the time, each write with its token and the time of sending. The resource refuses every
//! write with a token less than the greatest that has come, as a database or a lock service would that is told
//! tokens; so what it refuses shows who worked beside a later leader.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::num::TryFromIntError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::history::{Work, Write};
use crate::worker::nanos;

const ADDRESS: &str = "LEADERSHIP_CHAOS_RESOURCE";
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(5);

/// Is the program that works, if this process was started as one: the first thing that `main` does. It goes on
/// until it is killed, or the resource is gone.
///
/// # Errors
/// What went wrong in it.
pub fn serve() -> Result<bool> {
    let Ok(address) = std::env::var(ADDRESS) else {
        return Ok(false);
    };
    let id = std::env::var("LEADERSHIP_ID").context("not started by `leadership run`: no LEADERSHIP_ID")?;
    let token =
        std::env::var("LEADERSHIP_TOKEN").context("not started by `leadership run`: no LEADERSHIP_TOKEN")?;
    let stream = TcpStream::connect(address.parse::<SocketAddr>()?)?;
    stream.set_nodelay(true)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    writeln!(stream, "{id} {token}")?;
    let mut reply = String::new();
    loop {
        writeln!(stream, "{}", nanos())?;
        reply.clear();
        if replies.read_line(&mut reply)? == 0 {
            return Ok(true);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The resource, on a port of 127.0.0.1. Dropping it closes everything.
#[derive(Debug)]
pub(super) struct Resource {
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Ledger {
    greatest: u64,
    works: Vec<Work>,
}

impl Resource {
    /// One that measures time since `start`, in nanoseconds of the machine's clock.
    pub(super) async fn start(start: u128) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(Mutex::default());
        let accepting = tokio::spawn(accept(listener, ledger.clone(), start));
        Ok(Self {
            address,
            ledger,
            accepting,
        })
    }

    /// What a process needs in its environment so that its command is the program.
    pub(super) fn environment(&self) -> (&'static str, String) {
        (ADDRESS, self.address.to_string())
    }

    /// Who wrote last, with which token and when.
    pub(super) fn latest(&self) -> Option<(String, u64, Duration)> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = ledger.works.iter().max_by_key(|work| work.last())?;
        Some((latest.candidate.clone(), latest.token, latest.last()))
    }

    /// All work, in the order of its beginning.
    pub(super) fn works(&self) -> Vec<Work> {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut works = ledger.works.clone();
        works.sort_by_key(Work::first);
        works
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, ledger: Arc<Mutex<Ledger>>, start: u128) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                // A writer that dies ends its connection with an error, which is nothing to report.
                Ok((stream, _)) => drop(connections.spawn(take(stream, ledger.clone(), start))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn take(stream: tokio::net::TcpStream, ledger: Arc<Mutex<Ledger>>, start: u128) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(reader).lines();
    let header = lines.next_line().await?.context("no header")?;
    let (candidate, token) = header.rsplit_once(' ').context("no token")?;
    let (candidate, token) = (candidate.to_owned(), token.parse::<u64>()?);
    let mut index = None;
    while let Some(line) = lines.next_line().await? {
        let since = |nanos: u128| {
            Ok::<_, TryFromIntError>(Duration::from_nanos(nanos.saturating_sub(start).try_into()?))
        };
        let sent = since(line.parse()?)?;
        let accepted = {
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let accepted = token >= ledger.greatest;
            ledger.greatest = ledger.greatest.max(token);
            let index = *index.get_or_insert_with(|| {
                ledger.works.push(Work {
                    candidate: candidate.clone(),
                    token,
                    writes: Vec::new(),
                });
                ledger.works.len() - 1
            });
            let arrived = since(nanos())?;
            ledger.works[index].writes.push(Write {
                sent,
                arrived,
                accepted,
            });
            accepted
        };
        writer
            .write_all(if accepted { b"taken\n" } else { b"refused\n" })
            .await?;
    }
    Ok(())
}
