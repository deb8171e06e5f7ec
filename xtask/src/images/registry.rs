//! Pulling an image, without a long wait where no registry is in reach.

use crate::docker::docker;
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How long a registry may take to answer at all: docker prints its first line then.
const ANSWER: Duration = Duration::from_secs(10);
/// How long everything may take.
const COMPLETE: Duration = Duration::from_secs(300);

/// Pulls `image`; the error says in one line why not.
pub(super) fn pull(image: &str) -> Result<()> {
    let mut child = docker(&["pull", image])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run docker: is it installed and on the PATH?")?;
    let outcome = follow(&mut child, image);
    if outcome.is_err() {
        // Of no consequence if it has ended by itself.
        let _ = child.kill();
    }
    let status = child.wait()?;
    outcome?;
    if !status.success() {
        let mut error = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut error)?;
        }
        bail!(
            "{image} cannot be pulled: {}",
            error.lines().last().unwrap_or("docker does not say why")
        );
    }
    Ok(())
}

fn follow(child: &mut Child, image: &str) -> Result<()> {
    let (lines, printed) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            // The receiver is gone once we have waited long enough.
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| lines.send(line))
        });
    }
    let begin = Instant::now();
    let mut limit = ANSWER;
    loop {
        match printed.recv_timeout(limit.saturating_sub(begin.elapsed())) {
            Ok(_) => limit = COMPLETE,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("{image} was not pulled within {limit:?}"),
        }
    }
}
