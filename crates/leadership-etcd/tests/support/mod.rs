//! What the tests on a real etcd share: running named cases, waiting for what must come, and looking at the
//! store as an operator does.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Client, GetOptions, SortOrder, SortTarget};
use futures_util::future::LocalBoxFuture;
use futures_util::{Stream, StreamExt};
use leadership_core::{
    BootClock, Candidate, Clock, Config, Elections, Event, KvStore, State, Term, Timestamp,
};
use leadership_etcd::{EtcdConfig, EtcdStore};
use leadership_testkit::cluster::EtcdCluster;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

/// Nothing that must come takes longer, unless it is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
/// No case takes longer, unless it is stuck.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a condition is looked at that nothing tells of.
const LOOK: Duration = Duration::from_millis(10);
/// Most cases wait for leases to expire, so more of them than there are processors run side by side.
const THREADS: usize = 6;

/// A named case, with what all cases share.
pub(crate) type Case<W> = (&'static str, fn(Arc<W>) -> LocalBoxFuture<'static, ()>);

/// Names cases after their functions.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$((stringify!($name), |world| Box::pin($name(world)))),+]
    };
}
pub(crate) use cases;

/// Runs cases as a test binary does, with its usual arguments, and exits. The world is dropped before, so that
/// its containers go with it.
pub(crate) fn main<W: Default + Send + Sync + 'static>(cases: Vec<Case<W>>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
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

/// A cluster that all cases of a file share, started by the first that needs it.
#[derive(Default)]
pub(crate) struct Shared(OnceCell<EtcdCluster>);

impl Shared {
    /// One node: plain HTTP, no passwords.
    pub(crate) async fn plain(&self) -> &EtcdCluster {
        self.started(EtcdCluster::start(1)).await
    }

    pub(crate) async fn started(
        &self,
        start: impl Future<Output = anyhow::Result<EtcdCluster>>,
    ) -> &EtcdCluster {
        let cluster = self.0.get_or_init(|| async { start.await.unwrap() });
        cluster.await
    }
}

/// An election that no other case uses.
pub(crate) fn election(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("tests/{what}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A process's part in the elections of a cluster, without a prefix: keys begin with the election's name.
pub(crate) fn process(cluster: &EtcdCluster, ttl: Duration) -> Elections {
    through(&cluster.url("")["etcd://".len()..], ttl)
}

/// The same by way of other addresses: `host:port,host:port`.
pub(crate) fn through(addresses: &str, ttl: Duration) -> Elections {
    let store = EtcdStore::new(EtcdConfig::from_url(&format!("etcd://{addresses}")).unwrap()).unwrap();
    Elections::new(Arc::new(store), Config::with_ttl(ttl)).unwrap()
}

/// Addresses as [`through`] takes them.
pub(crate) fn addresses(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(",")
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Looks until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !is_so().await {
            sleep(LOOK).await;
        }
    })
    .await;
}

/// Looks for a while; it must be so every time.
pub(crate) async fn always(what: &str, during: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        assert!(is_so(), "not all the time: {what}");
        sleep(LOOK).await;
    }
}

pub(crate) async fn elected(candidate: &Candidate) -> Term {
    soon("elected", candidate.elected()).await.unwrap()
}

/// Waits until the candidate stands in line behind another, and returns that one's key.
pub(crate) async fn waiting(candidate: &Candidate) -> String {
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
pub(crate) async fn next<T: Debug, U>(
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
pub(crate) fn ended(event: &Event) -> Option<leadership_core::EndReason> {
    match event {
        Event::Ended { reason, .. } => Some(*reason),
        _ => None,
    }
}

/// An operator's client, past everything that we build.
pub(crate) async fn operator(cluster: &EtcdCluster) -> Client {
    let options = cluster
        .authority()
        .map(|_| panic!("the operator comes without TLS"));
    Client::connect(cluster.endpoints(), options).await.unwrap()
}

/// An entry as it is in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) create_revision: u64,
    pub(crate) lease: i64,
}

/// Everything under an election, in order.
pub(crate) async fn line(client: &Client, election: &str) -> Vec<Entry> {
    let options = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend);
    let answer = client
        .kv_client()
        .get(format!("{election}/"), Some(options))
        .await
        .unwrap();
    let entry = |kv: &etcd_client::KeyValue| Entry {
        key: kv.key_str().unwrap().to_owned(),
        value: kv.value_str().unwrap().to_owned(),
        create_revision: kv.create_revision().unsigned_abs(),
        lease: kv.lease(),
    };
    answer.kvs().iter().map(entry).collect()
}

/// The values under an election, in order.
pub(crate) async fn names(client: &Client, election: &str) -> Vec<String> {
    line(client, election)
        .await
        .into_iter()
        .map(|entry| entry.value)
        .collect()
}

pub(crate) async fn leases(client: &Client) -> Vec<i64> {
    let answer = client.lease_client().leases().await.unwrap();
    answer.leases().iter().map(|lease| lease.id()).collect()
}

pub(crate) async fn revoke(client: &Client, lease: i64) {
    client.lease_client().revoke(lease).await.unwrap();
}

/// Forgets all that was, as etcd does every few minutes or hours.
pub(crate) async fn compact(client: &Client) {
    let mut kv = client.kv_client();
    let answer = kv.get("now", None).await.unwrap();
    let revision = answer.header().unwrap().revision();
    // Another case may have compacted further meanwhile.
    if let Err(error) = kv.compact(revision, None).await {
        assert!(error.to_string().contains("has been compacted"), "{error}");
    }
}

/// The time on the clock that all processes of a machine share.
pub(crate) fn now() -> Timestamp {
    BootClock.now()
}

/// The store behind elections.
pub(crate) fn store(elections: &Elections) -> &dyn KvStore {
    &**elections.store()
}
