//! Five hundred candidates that stand at one moment.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{FutureExt, StreamExt};
use leadership_core::{Candidate, Config, Elections, Event, State};
use tokio::time::{Instant, sleep};

use super::{Attacked, apart};
use crate::known_failures::{Nodes, named};
use crate::trials::{Case, cases, elected, election, eventually, soon};

const CANDIDATES: usize = 500;
/// How many of them share a client. Each has a session of its own: one session stands once in an election.
const PER_CLIENT: usize = 20;
const NODES: usize = 3;
const HANDOVERS: usize = 20;
/// Long enough for what 500 sessions cost on two processors while they are opened.
const TTL: Duration = Duration::from_secs(30);
/// All are in line by then, on two processors that the servers need as well.
const IN_LINE: Duration = Duration::from_secs(60);
/// To open a session, stand, see where it stands, watch, renew, and close; a handover costs few, and only two of them
/// anything.
const REQUESTS: f64 = 30.0;

pub(super) fn cases<G: Attacked>() -> Vec<Case<G>> {
    cases![five_hundred_at_once_get_in_line_and_lead_in_order]
}

async fn five_hundred_at_once_get_in_line_and_lead_in_order<G: Attacked>(_: Arc<G>) {
    let cluster = G::Cluster::launch(NODES).await.unwrap();
    let url = cluster.location();
    let requests = async || G::requests(&cluster).await.unwrap();
    let before = requests().await;
    apart(move || async move { stand::<G>(&url).await }).await;
    let each = (requests().await - before) / CANDIDATES as f64;
    println!("{each} requests for each, from the first to the last");
    assert!(each < REQUESTS, "{each} requests for each");
    eventually("nothing is left", async || {
        G::left(&cluster).await.unwrap().is_empty()
    })
    .await;
}

async fn stand<G: Attacked>(url: &str) {
    let clients: Vec<_> = (0..CANDIDATES / PER_CLIENT)
        .map(|_| (G::CONNECT)(url).unwrap())
        .collect();
    let processes: Vec<Elections> = (0..CANDIDATES)
        .map(|i| Elections::new(clients[i / PER_CLIENT].clone(), Config::with_ttl(TTL)).unwrap())
        .collect();
    let election = election("crowd");
    let begin = Instant::now();
    let candidates: Vec<Candidate> = processes
        .iter()
        .enumerate()
        .map(|(i, process)| process.stand(&*election, format!("c{i:03}")).unwrap())
        .collect();
    let store = &clients[0];
    let name = named(&election);
    let mut events: Vec<_> = candidates.iter().map(Candidate::events).collect();
    while !candidates.iter().all(is_in_line) {
        if begin.elapsed() > IN_LINE {
            let count = candidates
                .iter()
                .filter(|candidate| is_in_line(candidate))
                .count();
            let told = events
                .iter_mut()
                .find_map(|events| match events.next().now_or_never()?? {
                    Event::Error(error) => Some(error),
                    _ => None,
                });
            panic!("{count} are in line after {IN_LINE:?}; one was told {told:?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
    drop(events);
    let stood = begin.elapsed();
    let leading = || {
        candidates
            .iter()
            .filter(|candidate| candidate.is_leader())
            .count()
    };
    assert_eq!(leading(), 1, "exactly one leads");
    let line: Vec<_> = store.contenders(&name).await.unwrap();
    assert_eq!(line.len(), CANDIDATES, "each has one entry");

    let mut last = None;
    let begin = Instant::now();
    for entry in &line[..HANDOVERS] {
        let number: usize = entry.name()[1..].parse().unwrap();
        let candidate = &candidates[number];
        let term = elected(candidate).await;
        assert!(last < Some(term.token()), "tokens grow");
        last = Some(term.token());
        assert_eq!(leading(), 1, "exactly one leads");
        soon("stopped", candidate.stop()).await;
    }
    let handed_over = begin.elapsed();
    let begin = Instant::now();
    soon("all closed", join_all(processes.iter().map(Elections::close))).await;
    println!(
        "all in line after {stood:?}, {HANDOVERS} handovers in {handed_over:?}, closed in {:?}",
        begin.elapsed()
    );
    assert!(
        store.contenders(&name).await.unwrap().is_empty(),
        "an entry was left"
    );
}

fn is_in_line(candidate: &Candidate) -> bool {
    matches!(candidate.state(), State::Waiting(_) | State::Leading(_))
}
