//! What nobody does who means well: stores that answer garbage, consumers that never read, five hundred candidates at
//! one moment, and ends in the middle of everything.
//!
//! | cases | for |
//! |---|---|
//! | [`on_memory`] | the store in memory |
//! | [`over_the_network`], [`crowd`] | real servers, and what answers in their place |
//!
//! A store's test is [`Attacked`], which tells what an operator finds at the store, and what a server of this kind might
//! say in part. A case that fails panics, so this is for tests only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

mod crowd;
mod endings;
mod garbage;
mod liar;
mod polls;
mod silent;
mod steps;

use async_trait::async_trait;
use tokio::runtime::{Handle, Runtime};

use crate::conformance::MemoryHarness;
use crate::known_failures::Networked;
use crate::trials::{Case, eventually};

pub use liar::{Answer, FLOOD, Then};

/// A real store that is attacked.
#[async_trait(?Send)]
pub trait Attacked: Networked {
    /// Everything that clients have at a cluster: sessions, and what belongs to them.
    async fn left(cluster: &Self::Cluster) -> anyhow::Result<Vec<String>>;

    /// Requests that the servers have answered so far, renewals included.
    async fn requests(cluster: &Self::Cluster) -> anyhow::Result<f64>;

    /// The most bytes that a client may have taken in of answers that no such server gives.
    const ANSWERS_MAX: u64;

    /// What such a server might begin to say.
    fn half_answers() -> Vec<Answer>;
}

/// Cases for the store in memory.
pub fn on_memory() -> Vec<Case<MemoryHarness>> {
    let mut cases = endings::on_memory();
    cases.extend(polls::on_memory());
    cases.extend(silent::cases());
    cases
}

/// Cases for a real store.
pub fn over_the_network<G: Attacked>() -> Vec<Case<G>> {
    let mut cases = garbage::cases();
    cases.extend(endings::over_the_network());
    cases.extend(silent::cases());
    cases
}

/// Five hundred candidates that stand at one moment.
pub fn crowd<G: Attacked>() -> Vec<Case<G>> {
    crowd::cases()
}

/// Does it on a runtime of its own, on which no task may be left.
async fn apart<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let done = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            work().await;
            let metrics = Handle::current().metrics();
            eventually("no task is left", async || metrics.num_alive_tasks() == 0).await;
        });
        // A name may still be looked up.
        runtime.shutdown_background();
    });
    if let Err(error) = done.await {
        std::panic::resume_unwind(error.into_panic());
    }
}
