//! Named cases on real servers, run side by side, with conditions that are awaited: what the stores' tests share.
//!
//! A case that fails panics, so this is for tests only.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use futures_util::{Stream, StreamExt};
use leadership_core::{
    BootClock, Candidate, Change, Clock, Elections, Event, KvStore, State, Term, Timestamp,
};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Nothing that must come takes longer, unless it is stuck.
pub const PATIENCE: Duration = Duration::from_secs(25);
/// No case takes longer, unless it is stuck.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a condition is looked at that nothing tells of.
const LOOK: Duration = Duration::from_millis(10);
/// Most cases wait for leases to expire, so more of them than there are processors run side by side.
const THREADS: usize = 6;

/// A named case, with what all cases share.
pub type Case<W> = (&'static str, fn(Arc<W>) -> LocalBoxFuture<'static, ()>);

/// Names cases after their functions.
#[macro_export]
macro_rules! trials {
    ($($name:ident),+ $(,)?) => {
        vec![$((stringify!($name), |world| ::std::boxed::Box::pin($name(world)))),+]
    };
}
pub use crate::trials as cases;

/// Runs cases as a test binary does, with its usual arguments, and exits. The world is dropped before, so that
/// its containers go with it.
pub fn main<W: Default + Send + Sync + 'static>(cases: Vec<Case<W>>) {
    main_with(THREADS, cases);
}

/// The same with so many cases side by side, unless the arguments say how many.
pub fn main_with<W: Default + Send + Sync + 'static>(threads: usize, cases: Vec<Case<W>>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(threads);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = Arc::new(W::default());
    let trials = cases.into_iter().map(|(name, case)| {
        let (world, runtime) = (world.clone(), runtime.handle().clone());
        Trial::test(name, move || {
            let done = runtime.block_on(async { timeout(LIMIT, case(world)).await });
            done.map_err(|_| Failed::from(format!("not done within {LIMIT:?}")))
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    drop(world);
    drop(runtime);
    conclusion.exit();
}

/// What all cases of a file share, made by the first that needs it: a cluster.
#[derive(Debug)]
pub struct Shared<C>(OnceCell<C>);

impl<C> Default for Shared<C> {
    fn default() -> Self {
        Self(OnceCell::new())
    }
}

impl<C> Shared<C> {
    /// The shared thing, started by `start` if nobody has.
    pub async fn started(&self, start: impl Future<Output = anyhow::Result<C>>) -> &C {
        let started = self.0.get_or_init(|| async { start.await.unwrap() });
        started.await
    }
}

/// An election that no other case uses.
pub fn election(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("tests/{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits for what must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

async fn within<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(patience, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {patience:?}: {what}"),
    }
}

/// Looks until it is so.
pub async fn eventually(what: &str, is_so: impl AsyncFnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so).await;
}

/// As [`eventually`], with a patience of one's own.
pub async fn eventually_within(patience: Duration, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    within(patience, what, async {
        while !is_so().await {
            sleep(LOOK).await;
        }
    })
    .await;
}

/// Looks for a while; it must be so every time.
pub async fn always(what: &str, during: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        assert!(is_so(), "not all the time: {what}");
        sleep(LOOK).await;
    }
}

/// Waits until the candidate leads.
pub async fn elected(candidate: &Candidate) -> Term {
    soon("elected", candidate.elected()).await.unwrap()
}

/// Waits until the candidate stands in line behind another, and returns that one's key.
pub async fn waiting(candidate: &Candidate) -> String {
    let mut states = candidate.states();
    let behind = async {
        loop {
            match states.next().await {
                Some(State::Waiting(ahead)) => return ahead.key.to_string(),
                Some(_) => {}
                None => panic!("stopped: {:?}", candidate.state()),
            }
        }
    };
    soon("in line behind another", behind).await
}

/// The next item of a stream that is what is wanted.
pub async fn next<T: Debug, U>(
    what: &str,
    stream: &mut (impl Stream<Item = T> + Unpin),
    wanted: impl Fn(&T) -> Option<U>,
) -> U {
    let mut seen = Vec::new();
    let found = timeout(PATIENCE, async {
        loop {
            let item = stream.next().await?;
            if let Some(found) = wanted(&item) {
                return Some(found);
            }
            seen.push(item);
        }
    })
    .await;
    match found {
        Ok(Some(found)) => found,
        Ok(None) => panic!("ended before {what}, after {seen:?}"),
        Err(_) => panic!("not within {PATIENCE:?}: {what}, but {seen:?}"),
    }
}

/// The reason of the next end of a term.
pub fn ended(event: &Event) -> Option<leadership_core::EndReason> {
    match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    }
}

/// Follows with a thread of its own when a term ends and another candidate leads.
pub fn handover(old: Term, next: Candidate) -> JoinHandle<Handover> {
    handover_within(PATIENCE, old, next)
}

/// As [`handover`], with a patience of one's own.
pub fn handover_within(patience: Duration, old: Term, next: Candidate) -> JoinHandle<Handover> {
    tokio::task::spawn_blocking(move || {
        let mut seen = Handover::default();
        let begin = Instant::now();
        while begin.elapsed() < patience {
            let look = now();
            if next.is_leader() {
                assert!(!old.is_valid(), "two lead at once");
                return seen;
            }
            seen.not_yet = look;
            // A term is valid until its deadline to the nanosecond, and not longer.
            if let Some(deadline) = old.deadline() {
                seen.valid_until = deadline;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        panic!("nobody was elected");
    })
}

/// When one stopped believing, and when the other was elected.
#[derive(Debug, Default)]
pub struct Handover {
    /// The last deadline of the old term.
    valid_until: Timestamp,
    /// The last time at which the next one surely did not lead.
    not_yet: Timestamp,
}

impl Handover {
    /// For how long nobody led, at least.
    pub fn margin(&self) -> Duration {
        assert!(
            self.not_yet > self.valid_until,
            "the old leader believed until {:?}, the next one led at {:?} or soon after",
            self.valid_until,
            self.not_yet
        );
        self.not_yet.saturating_since(self.valid_until)
    }
}

/// The change that nobody leads.
pub fn nobody(change: &Change) -> Option<()> {
    matches!(change, Change::NoLeader).then_some(())
}

/// A change after which this one leads.
pub fn led_by(name: &str) -> impl Fn(&Change) -> Option<()> {
    move |change| match change {
        Change::Leader(leader) | Change::Value(leader) => (leader.name() == name).then_some(()),
        _ => None,
    }
}

/// Closes all of them.
pub async fn close(processes: impl IntoIterator<Item = Elections>) {
    soon(
        "closed",
        join_all(
            processes
                .into_iter()
                .map(|process| async move { process.close().await }),
        ),
    )
    .await;
}

/// The time on the clock that all processes of a machine share.
pub fn now() -> Timestamp {
    BootClock.now()
}

/// The store behind elections.
pub fn store(elections: &Elections) -> &dyn KvStore {
    &**elections.store()
}
