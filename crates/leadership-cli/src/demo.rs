//! `leadership demo`: what electing looks like, in a dozen seconds and without any store to set up.
//!
//! Three candidates stand on a memory store, each in a runtime of its own. Shutting one's runtime down is to it
//! what kill -9 is to a process: nothing is renewed and nothing released any more.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use leadership::{
    Candidate, Change, Config, DynStore, Elections, Error, Event, Follower, MemoryStore, Token,
};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::distant::Distant;
use crate::failure::{Failure, INTERNAL};

const ELECTION: &str = "service/demo";
const TTL: Duration = Duration::from_secs(2);
/// For the reader.
const PAUSE: Duration = Duration::from_secs(2);
/// Nothing here takes that long, unless something is broken.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn demo() -> Result<u8, Failure> {
    let runtime = runtime()?;
    let teller = Teller::new();
    let store: DynStore = Arc::new(Distant(MemoryStore::new().shared()));
    let told = |who: &str, text: &str| teller.tell(who, text);
    told(
        "demo",
        &format!("three candidates stand in the election {ELECTION:?}; the ttl of a session is {TTL:?}"),
    );

    let follower = runtime.block_on(async { follow(store.clone()) })?;
    runtime.spawn(tell_changes(teller.clone(), follower.changes()));
    let mut nodes = Vec::new();
    for name in ["node-1", "node-2", "node-3"] {
        nodes.push(Node::start(name, store.clone(), &teller)?);
        std::thread::sleep(PAUSE / 10);
    }
    let [first, second, third]: [Node; 3] = nodes
        .try_into()
        .map_err(|_| Failure::new(INTERNAL, "three nodes"))?;
    let one = runtime.block_on(led_by(&follower, "node-1"))?;
    std::thread::sleep(PAUSE);

    told(
        "demo",
        "kill node-1: it renews nothing and releases nothing any more",
    );
    let killed = Instant::now();
    first.kill();
    let two = runtime.block_on(led_by(&follower, "node-2"))?;
    let took = killed.elapsed().as_secs_f32();
    told(
        "demo",
        &format!("failed over after {took:.1}s: the rest of the ttl of node-1's session"),
    );
    std::thread::sleep(PAUSE);

    told(
        "demo",
        "node-2 resigns: it says so to the store, and goes to the end of the line",
    );
    let resigned = Instant::now();
    second.block_on(second.candidate.resign())?;
    let three = runtime.block_on(led_by(&follower, "node-3"))?;
    let took = resigned.elapsed().as_secs_f32() * 1000.0;
    told(
        "demo",
        &format!("handed over after {took:.1}ms: nobody had to wait for a ttl"),
    );
    std::thread::sleep(PAUSE);

    told("demo", "node-3 stops, and leaves the election for good");
    third.stop();
    let four = runtime.block_on(led_by(&follower, "node-2"))?;
    std::thread::sleep(PAUSE);

    told("demo", "node-2 stops, too");
    second.stop();
    runtime.block_on(until(&follower, |leader| leader.is_none()))?;
    // The follower's own words come first.
    std::thread::sleep(PAUSE / 10);
    if !(one < two && two < three && three < four) {
        return Err(Failure::new(INTERNAL, "the tokens did not grow"));
    }
    told(
        "demo",
        &format!(
            "done. The fencing tokens {one} < {two} < {three} < {four} grew from term to term: whatever a leader \
             writes to can refuse an old one"
        ),
    );
    runtime.shutdown_background();
    Ok(0)
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::system("no threads", &error))
}

/// A candidate with all that a process of its own would have.
struct Node {
    runtime: Runtime,
    elections: Elections,
    candidate: Candidate,
}

impl Node {
    fn start(name: &'static str, store: DynStore, teller: &Teller) -> Result<Self, Failure> {
        let runtime = runtime()?;
        let teller = teller.clone();
        let (elections, candidate) = runtime.block_on(async {
            let elections = Elections::new(store, Config::with_ttl(TTL))?;
            let candidate = elections.stand(ELECTION, name)?;
            tokio::spawn(tell_events(teller, name, candidate.events()));
            Ok::<_, Error>((elections, candidate))
        })?;
        Ok(Self {
            runtime,
            elections,
            candidate,
        })
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn stop(self) {
        self.block_on(self.elections.close());
        // Its events are told by now, or are of no interest.
        self.runtime.shutdown_timeout(PAUSE / 10);
    }

    fn kill(self) {
        self.runtime.shutdown_background();
    }
}

fn follow(store: DynStore) -> Result<Follower, Error> {
    Elections::new(store, Config::with_ttl(TTL))?.follow(ELECTION)
}

/// Waits until somebody of that name leads; the token of the term.
async fn led_by(follower: &Follower, name: &str) -> Result<Token, Failure> {
    until(follower, |leader| leader == Some(name)).await?;
    let token = follower.leader().and_then(|leader| leader.token);
    token.ok_or_else(|| Failure::new(INTERNAL, "a leader without a token"))
}

async fn until(follower: &Follower, found: impl Fn(Option<&str>) -> bool) -> Result<(), Failure> {
    let search = async {
        let mut changes = follower.changes();
        while changes.next().await.is_some() {
            if found(follower.leader().as_ref().map(|leader| leader.name()).as_deref()) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, search)
        .await
        .map_err(|_| Failure::new(INTERNAL, format!("nothing has changed within {LIMIT:?}")))
}

async fn tell_events(teller: Teller, name: &'static str, mut events: impl Stream<Item = Event> + Unpin) {
    while let Some(event) = events.next().await {
        let text = match event {
            Event::Waiting(_) => "waiting in line; watches only the one ahead".to_owned(),
            Event::Elected(term) => format!("ELECTED, fencing token {}", term.token()),
            Event::Ended { token, reason } => format!("term {token} ended: {reason}"),
            Event::Stopped => "stopped".to_owned(),
            _ => continue,
        };
        teller.tell(name, &text);
    }
}

async fn tell_changes(teller: Teller, mut changes: impl Stream<Item = Change> + Unpin) {
    while let Some(change) = changes.next().await {
        let text = match change {
            Change::Leader(leader) => format!("sees that {} leads", leader.name()),
            Change::NoLeader => "sees that nobody leads".to_owned(),
            _ => continue,
        };
        teller.tell("follower", &text);
    }
}

/// Prints lines with the time and who speaks.
#[derive(Clone)]
struct Teller {
    start: Instant,
    out: Arc<Mutex<std::io::Stdout>>,
}

impl Teller {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            out: Arc::new(Mutex::new(std::io::stdout())),
        }
    }

    fn tell(&self, who: &str, text: &str) {
        let at = self.start.elapsed().as_secs_f32();
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a reader the demo goes on for itself.
        let _ = writeln!(out, "{at:5.1}s  {who:<8}  {text}").and_then(|()| out.flush());
    }
}
