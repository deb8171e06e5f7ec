//! A process of its own with one candidate, or with many, that the measuring process starts and asks by lines.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use leadership_core::{BootClock, Clock, Config, Elections};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::Connect;

const ORDER: &str = "LEADERSHIP_BENCH_WORKER";

/// What a worker is to do.
pub(super) struct Order {
    url: String,
    election: String,
    ttl: Duration,
    elections: usize,
}

impl Order {
    pub(super) fn from_environment() -> anyhow::Result<Option<Self>> {
        let Ok(order) = std::env::var(ORDER) else {
            return Ok(None);
        };
        let mut words = order.split_whitespace();
        let mut word = || {
            words
                .next()
                .map(str::to_owned)
                .context("a worker's order is too short")
        };
        Ok(Some(Self {
            url: word()?,
            election: word()?,
            ttl: Duration::from_millis(word()?.parse()?),
            elections: word()?.parse()?,
        }))
    }
}

/// Nanoseconds on the clock that all processes of a machine share.
pub(super) fn nanos() -> u128 {
    BootClock.now().since_start().as_nanos()
}

/// Stands, and says when it is elected and when it stops believing; resigns when it is told to by a line.
pub(super) async fn work(order: Order, connect: Connect) -> anyhow::Result<()> {
    let before = resident()?;
    let elections = Elections::new(connect(&order.url)?, Config::with_ttl(order.ttl))?;
    if order.elections > 1 {
        let mut candidates = Vec::new();
        for number in 0..order.elections {
            candidates.push(elections.stand(format!("{}-{number}", order.election), "worker")?);
        }
        for candidate in &candidates {
            candidate.elected().await?;
        }
        println!("all {} {}", resident()?, resident()? - before);
        tokio::io::stdin().read_line_end().await;
        elections.close().await;
        return Ok(());
    }
    let candidate = elections.stand(order.election, format!("worker {}", std::process::id()))?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            term = candidate.elected() => {
                let term = term?;
                println!("elected {}", nanos());
                tokio::select! {
                    _ = term.ended() => println!("ended {}", nanos()),
                    line = lines.next_line() => {
                        if line?.is_none() { break }
                        println!("resigning {}", nanos());
                        candidate.resign().await?;
                        println!("resigned {}", nanos());
                    }
                }
            }
            line = lines.next_line() => if line?.is_none() { break },
        }
    }
    elections.close().await;
    Ok(())
}

trait ReadLineEnd {
    async fn read_line_end(self);
}

impl ReadLineEnd for tokio::io::Stdin {
    /// Waits until the other side closes the line.
    async fn read_line_end(self) {
        let mut lines = BufReader::new(self).lines();
        while let Ok(Some(_)) = lines.next_line().await {}
    }
}

/// Resident memory in KiB.
fn resident() -> anyhow::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmRSS")?;
    Ok(kib.parse()?)
}

/// A worker as the measuring process sees it.
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    pub(super) fn start(url: &str, election: &str, ttl: Duration, elections: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(ORDER, format!("{url} {election} {} {elections}", ttl.as_millis()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("no stdin")?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { child, stdin, lines })
    }

    /// The numbers after `word` in the next line, which must begin with it.
    pub(super) async fn expect(&mut self, word: &str) -> anyhow::Result<Vec<u128>> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await;
        let line = line
            .with_context(|| format!("waiting for {word:?}"))??
            .context("the worker has ended")?;
        let Some(rest) = line.strip_prefix(word) else {
            bail!("{line:?} instead of {word:?}")
        };
        rest.split_whitespace()
            .map(|number| Ok(number.parse()?))
            .collect()
    }

    pub(super) async fn resign(&mut self) -> anyhow::Result<()> {
        self.stdin.write_all(b"resign\n").await?;
        Ok(self.stdin.flush().await?)
    }

    /// Closes its line and waits until it has gone.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await??;
        Ok(())
    }
}
