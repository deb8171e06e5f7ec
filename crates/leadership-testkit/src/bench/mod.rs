//! Benchmarks of elections on a real store, as ratios to the store's floor.
//!
//! The floor is one write to the store, made in the same run with the same pauses as the events have: an idle
//! machine's wake-up dominates both. Absolute times hold on no other machine; the ratios do, roughly.

mod measure;

use std::time::Duration;

use async_trait::async_trait;

use crate::worker::{Connect, serve};

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

    /// Where requests are counted.
    fn counted_url(&self) -> String {
        self.url()
    }

    /// Requests that the store has received so far at [`counted_url`](Self::counted_url), apart from renewals of
    /// sessions.
    async fn requests(&self) -> anyhow::Result<f64>;

    /// What many elections of one process share, so that it is renewed once: `"keep-alive streams"`.
    fn renewed(&self) -> &'static str;

    /// How many of them the store has, or has seen so far.
    async fn renewals(&self) -> anyhow::Result<f64>;

    /// What shall be reached on this store.
    fn goals(&self) -> Goals;

    /// The configurations whose failover is measured: a name, a URL, the ttl asked for, how many leaders are killed.
    fn failovers(&self) -> Vec<Failover> {
        vec![Failover {
            name: "",
            url: self.url(),
            ttl: SHORT,
            kills: 12,
        }]
    }

    /// What peers do on this store in the same run: name, time to lead unopposed, time of a handover.
    async fn peers(&self) -> anyhow::Result<Vec<Peer>> {
        Ok(Vec::new())
    }
}

/// The shortest ttl that is sensible on every store.
pub const SHORT: Duration = Duration::from_secs(2);

/// What shall be reached: ratios to the floor, and requests.
#[derive(Clone, Copy, Debug)]
pub struct Goals {
    /// Standing unopposed.
    pub standing: f64,
    /// From resigning to the other's election.
    pub handover: f64,
    /// Requests for a handover, however many wait.
    pub requests: f64,
}

/// Leaders that are killed.
#[derive(Clone, Debug)]
pub struct Failover {
    /// What is special about it, to be printed.
    pub name: &'static str,
    /// Where the elections are.
    pub url: String,
    /// The ttl that is asked for.
    pub ttl: Duration,
    /// How many leaders, each at another moment between two renewals.
    pub kills: u32,
}

/// Another library, measured in the same run.
#[derive(Debug)]
pub struct Peer {
    /// Its name.
    pub name: &'static str,
    /// Times to lead unopposed.
    pub standing: Vec<Duration>,
    /// Times from resigning to the other being elected.
    pub handover: Vec<Duration>,
}

/// The pause between two events.
pub async fn pace() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// The `main` of a store's benchmark: measures, or is one of the processes that the measuring one has started.
///
/// # Errors
/// What went wrong.
pub fn main<F>(connect: Connect, start: impl FnOnce() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<Box<dyn Subject>>>,
{
    if serve(connect)? {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(async {
        let subject = start().await?;
        // On a worker of the runtime, as an application's own tasks are: `main` has a thread apart, and each answer
        // would cost a hop more.
        tokio::spawn(async move { run(&*subject, connect).await }).await?
    })
}
