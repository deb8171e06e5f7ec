//! The clusters that other tests rely on: that they start, that faults do what they say, and that nothing is
//! left.

mod consul;
mod etcd;
mod zk;

use anyhow::Result;
use std::{
    future::Future,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is yes.
async fn eventually<F: Future<Output = Result<bool>>>(what: &str, mut ask: impl FnMut() -> F) -> Result<()> {
    let begin = Instant::now();
    while !ask().await? {
        anyhow::ensure!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
