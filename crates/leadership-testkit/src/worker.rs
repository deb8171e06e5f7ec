//! A process of its own with one candidate, or with many, that a test or a measurement starts from its own program,
//! asks by lines, and can kill.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use leadership_core::{BootClock, Clock, Config, DynStore, Elections};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const ORDER: &str = "LEADERSHIP_TEST_WORKER";

/// How the program connects to a store's URL.
pub type Connect = fn(&str) -> anyhow::Result<DynStore>;

/// Is a worker until it is told to end, if this process was started as one; the first thing that `main` does.
///
/// # Errors
/// What went wrong in a worker.
pub fn serve(connect: Connect) -> anyhow::Result<bool> {
    let Some(order) = Order::from_environment()? else {
        return Ok(false);
    };
    tokio::runtime::Runtime::new()?.block_on(work(order, connect))?;
    Ok(true)
}

/// What a worker is to do.
struct Order {
    url: String,
    election: String,
    ttl: Duration,
    elections: usize,
}

impl Order {
    fn from_environment() -> anyhow::Result<Option<Self>> {
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
pub fn nanos() -> u128 {
    BootClock.now().since_start().as_nanos()
}

/// Stands, and says when it is elected and when it stops believing; resigns when it is told to by a line.
async fn work(order: Order, connect: Connect) -> anyhow::Result<()> {
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

/// A worker, as whoever started it sees it. Killed on drop.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts this program anew as a worker that stands with as many candidates.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start(url: &str, election: &str, ttl: Duration, elections: usize) -> anyhow::Result<Self> {
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

    /// The numbers after `word` in the next line, which must begin with it: `elected`, `ended`, `resigning`,
    /// `resigned` with the time in [`nanos`]. Cancel safe.
    ///
    /// # Errors
    /// When it says something else, or nothing for a minute.
    pub async fn expect(&mut self, word: &str) -> anyhow::Result<Vec<u128>> {
        self.expect_within(word, Duration::from_secs(60)).await
    }

    /// As [`expect`](Self::expect), with a patience of one's own.
    ///
    /// # Errors
    /// When it says something else, or nothing for so long.
    pub async fn expect_within(&mut self, word: &str, patience: Duration) -> anyhow::Result<Vec<u128>> {
        let line = tokio::time::timeout(patience, self.lines.next_line()).await;
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

    /// Tells it to resign.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn resign(&mut self) -> anyhow::Result<()> {
        self.stdin.write_all(b"resign\n").await?;
        Ok(self.stdin.flush().await?)
    }

    /// Kills it without warning, and waits until it is dead.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Closes its line and waits until it has left and gone.
    ///
    /// # Errors
    /// When it does not go.
    pub async fn end(self) -> anyhow::Result<()> {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await??;
        Ok(())
    }
}
