//! A store that answers garbage, half a response, or never.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leadership_core::{Config, Elections, EndReason, Event, StoreError};
use tokio::time::{Instant, sleep};

use super::liar::{Answer, Liar};
use super::{Attacked, apart};
use crate::known_failures::{Nodes, TTL, behind_proxy, in_line, pair, process};
use crate::trials::{Case, cases, close, elected, ended, eventually, next, soon};

/// The shortest that each store grants.
const SHORT: Duration = Duration::from_secs(2);
/// How long candidates try.
const TRYING: Duration = Duration::from_secs(3);
/// Their pauses are a tenth of a second at least once a few tries have failed; and each request may be tried at two
/// connections, beside those that only look whether the store is there.
const CONNECTIONS: usize = 150;
/// Without the store, what is doubtful is over after two ttls.
const STOPPED: Duration = Duration::from_secs(6);
const MIB: u64 = 1 << 20;
/// What all of them together may take besides the answers, and what runs beside them.
const MEMORY: u64 = 64 * MIB;

pub(super) fn cases<G: Attacked>() -> Vec<Case<G>> {
    cases![
        garbage_half_answers_and_silence_are_errors_with_the_address_and_are_tried_with_pauses,
        a_way_that_garbles_for_a_while_costs_a_term_and_no_more,
    ]
}

/// The most that this process has had in memory.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() * 1024
}

async fn garbage_half_answers_and_silence_are_errors_with_the_address_and_are_tried_with_pauses<
    G: Attacked,
>(
    _: Arc<G>,
) {
    let before = memory();
    apart(|| async {
        let mut answers = Answer::of_nobody();
        answers.extend(G::half_answers());
        join_all(answers.into_iter().map(lied_to::<G>)).await;
    })
    .await;
    let grown = memory().saturating_sub(before);
    println!("{} MiB", grown / MIB);
    assert!(grown < G::ANSWERS_MAX + MEMORY, "{} MiB", grown / MIB);
}

/// Stands at a server that says so, and ends.
async fn lied_to<G: Attacked>(answer: Answer) {
    let name = answer.name;
    let liar = Liar::start(answer).await;
    let url = format!("{}://{}", G::Cluster::SCHEME, liar.addr);
    let store = (G::CONNECT)(&url).unwrap();
    let config = Config::with_ttl(SHORT);
    let limit = config.pace(&store.limits()).request_timeout;
    let elections = Elections::new(store, config).unwrap();
    let follower = elections.follow("e").unwrap();
    let begin = Instant::now();
    let candidate = elections.stand("e", "a").unwrap();
    let mut events = candidate.events();
    let failed = |event: &Event| match event {
        Event::Error(error) => Some(error.clone()),
        _ => None,
    };
    let error: StoreError = next(name, &mut events, failed).await;
    let told = begin.elapsed();
    assert!(
        told < limit + SHORT / 4,
        "{name}: {told:?}, and a request has {limit:?}"
    );
    let text = error.to_string();
    assert_eq!(error.store(), G::Cluster::SCHEME, "{name}: {text}");
    assert!(
        text.contains(&liar.addr.to_string()),
        "{name}: without the address: {text}"
    );
    assert!(text.len() < 1000, "{name}: {text}");

    sleep(TRYING.saturating_sub(begin.elapsed())).await;
    let connections = liar.connections();
    assert!(
        connections < CONNECTIONS,
        "{name}: {connections} connections in {TRYING:?}"
    );
    assert!(!candidate.is_leader(), "{name}");
    assert!(follower.leader().is_none(), "{name}");
    let trying = Instant::now();
    soon(name, candidate.stop()).await;
    soon(name, elections.close()).await;
    let stopped = trying.elapsed();
    assert!(stopped < STOPPED, "{name}: stopped after {stopped:?}");
    println!(
        "{name}: told after {} ms, {connections} connections, stopped after {} ms: {text}",
        told.as_millis(),
        stopped.as_millis()
    );
    drop(follower);
}

async fn a_way_that_garbles_for_a_while_costs_a_term_and_no_more<G: Attacked>(ground: Arc<G>) {
    let (way, a) = behind_proxy(&*ground, TTL).await;
    let b = process(&*ground, TTL).await;
    let pair = pair("garbled", a, b).await;
    let mut events = pair.leader.events();
    way.garble();
    // Watches and renewals fail, and it ends in time by its own clock, whatever it is told.
    let reason = next("the end of the term", &mut events, ended).await;
    assert!(
        matches!(reason, EndReason::DeadlinePassed | EndReason::SessionLost),
        "{reason}"
    );
    assert!(!pair.term.is_valid());
    let second = elected(&pair.waiter).await;
    assert!(second.token() > pair.term.token());
    way.resume().await.unwrap();
    let healed = Instant::now();
    in_line(&*ground, &pair.election, &["b", "a"]).await;
    assert!(healed.elapsed() < 2 * TTL, "{:?}", healed.elapsed());
    // And it takes over at once.
    soon("stopped", pair.waiter.stop()).await;
    elected(&pair.leader).await;
    close([pair.a, pair.b]).await;
    eventually("no connection is left", async || way.connections() == 0).await;
}
