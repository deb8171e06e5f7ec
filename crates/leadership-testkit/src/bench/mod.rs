//! Benchmarks of elections on a real store, as ratios to the store's floor.
//!
//! The floor is one write to the store, made in the same run with the same pauses as the events have: an idle
//! machine's wake-up dominates both. Absolute times hold on no other machine; the ratios do, roughly.

mod measure;
mod worker;

use async_trait::async_trait;
use leadership_core::DynStore;

pub use measure::run;

/// A store to be measured.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Its name, as a URL scheme.
    fn name(&self) -> &'static str;

    /// Where it is, for the processes that are started.
    fn url(&self) -> String;

    /// Where node 0 is, for a proxy that is put before it.
    fn addr(&self) -> std::net::SocketAddr;

    /// The URL of the store behind `addr`.
    fn url_at(&self, addr: std::net::SocketAddr) -> String;

    /// One write to the store with its plain client: the floor.
    async fn write(&self) -> anyhow::Result<()>;

    /// Requests that the store has received so far, by its own counters, apart from renewals of sessions.
    async fn requests(&self) -> anyhow::Result<f64>;

    /// Connections or streams over which sessions are renewed that the store has seen opened so far.
    async fn renewal_streams(&self) -> anyhow::Result<f64>;

    /// What peers do on this store in the same run: name, time to lead unopposed, time of a handover.
    async fn peers(&self) -> anyhow::Result<Vec<Peer>>;
}

/// Another library, measured in the same run.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Times to lead unopposed.
    pub standing: Vec<std::time::Duration>,
    /// Times from resigning to the other being elected.
    pub handover: Vec<std::time::Duration>,
}

/// The pause between two events.
pub async fn pace() {
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

/// How a benchmark's program connects to a URL.
pub type Connect = fn(&str) -> anyhow::Result<DynStore>;

/// The `main` of a store's benchmark: measures, or is one of the processes that the measuring one has started.
///
/// # Errors
/// What went wrong.
pub async fn main<F>(connect: Connect, start: impl FnOnce() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Box<dyn Subject>>>,
{
    if let Some(order) = worker::Order::from_environment()? {
        return worker::work(order, connect).await;
    }
    let subject = start().await?;
    // On a worker of the runtime, as an application's own tasks are: `main` has a thread apart, and each answer
    // would cost a hop more.
    tokio::spawn(async move { run(&*subject, connect).await }).await?
}
