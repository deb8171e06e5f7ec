//! A leader whose whole process is stopped (SIGSTOP) and goes on later: it must never find itself leading while
//! another does, however long it was away and wherever it was stopped.
//!
//! The leader is this very test program, started again as a child: it stands, looks at its term all the time
//! and prints what it sees, with stamps of the clock that all processes of a machine share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use leadership_core::{EndReason, Term, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use support::{
    PATIENCE, Shared, always, cases, elected, election, names, now, operator, process, soon, waiting,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// Set for the child: `host:port` and election.
const CHILD: &str = "LEADERSHIP_TEST_STOPPED_LEADER";
const TTL: Duration = Duration::from_secs(2);

type World = Shared;

fn main() {
    if let Ok(order) = std::env::var(CHILD) {
        let (addresses, election) = order.split_once(' ').unwrap();
        return lead(addresses, election);
    }
    support::main::<World>(cases![
        a_leader_stopped_past_its_ttl_finds_its_term_over_at_its_first_look,
        a_leader_stopped_for_less_than_its_ttl_goes_on_leading,
    ]);
}

/// The child: stands, looks at each of its terms until it is over, stops when its input is closed.
fn lead(addresses: &str, election: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let elections = runtime.block_on(async { support::through(addresses, TTL) });
    let candidate = elections.stand(election, "child").unwrap();
    let terms = runtime.handle().clone();
    let leader = candidate.clone();
    std::thread::spawn(move || {
        while let Ok(term) = terms.block_on(leader.elected()) {
            say(&format!("elected {}", term.token()));
            look(&term);
            // The clock has already told; whoever asks now must learn the same as who asked before.
            match terms.block_on(term.ended()) {
                EndReason::Paused(lag) => say(&format!("paused {}", lag.as_nanos())),
                reason => say(&format!("ended {reason:?}")),
            }
        }
    });
    runtime.block_on(async {
        let mut rest = Vec::new();
        tokio::io::stdin().read_to_end(&mut rest).await.unwrap();
        elections.close().await;
    });
    // Standard input is read by a thread that may never end.
    runtime.shutdown_background();
}

/// Looks at the term until it is over, and says when each of the last two looks began: the last that found
/// it valid, and the first that did not.
fn look(term: &Term) {
    let mut valid = Timestamp::ZERO;
    loop {
        let began = now();
        if !term.is_valid() {
            say(&format!("over {} {}", nanos(valid), nanos(began)));
            return;
        }
        valid = began;
        // Much shorter than anything that is measured; a look takes some ten nanoseconds.
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn nanos(stamp: Timestamp) -> u128 {
    stamp.since_start().as_nanos()
}

/// The child as its parent has it; killed when dropped.
struct Leader {
    child: Child,
    pid: Pid,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Leader {
    fn start(addresses: &str, election: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, format!("{addresses} {election}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, pid, lines }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// The numbers of the next line, which must begin with this word.
    async fn says(&mut self, word: &str) -> Vec<u64> {
        let line = soon(word, self.lines.next_line()).await.unwrap().unwrap();
        let numbers = line
            .strip_prefix(word)
            .unwrap_or_else(|| panic!("{word}, not {line:?}"));
        let numbers = numbers.split_whitespace();
        numbers.map(|number| number.parse().unwrap()).collect()
    }

    /// Closes its input, and waits until it has stopped by itself.
    async fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(soon("the child ends", self.child.wait()).await.unwrap().success());
    }
}

async fn a_leader_stopped_past_its_ttl_finds_its_term_over_at_its_first_look(world: Arc<World>) {
    let cluster = world.plain().await;
    let (client, election) = (operator(cluster).await, election("stopped"));
    let mut leader = Leader::start(&cluster.addr(0).unwrap().to_string(), &election);
    let first = leader.says("elected").await[0];
    let elections = process(cluster, TTL);
    let successor = elections.stand(&election, "parent").unwrap();
    waiting(&successor).await;

    let stopped = now();
    leader.signal(Signal::STOP);
    let term = elected(&successor).await;
    let taken_over = nanos(now());
    assert!(term.token().0 > first, "tokens grow");
    // Away for twice its ttl: longer than any delay with which a lease may end.
    sleep((stopped + 2 * TTL).saturating_since(now())).await;
    assert!(successor.is_leader());
    let continued = nanos(now());
    leader.signal(Signal::CONT);

    let looks = leader.says("over").await;
    let (valid, over) = (u128::from(looks[0]), u128::from(looks[1]));
    assert!(
        valid < continued,
        "a look after the pause found the old term valid"
    );
    assert!(
        valid < taken_over,
        "the old leader believed {} ns after the new one was elected",
        valid - taken_over
    );
    println!(
        "first look {} µs after SIGCONT: over; last valid one {} ms before the successor was elected",
        over.saturating_sub(continued) / 1000,
        (taken_over - valid) / 1_000_000
    );
    let lag = Duration::from_nanos(leader.says("paused").await[0]);
    assert!(lag < 2 * TTL + PATIENCE && lag > TTL / 2, "{lag:?}");
    assert!(
        term.is_valid(),
        "the return of the old leader takes nothing from the new one"
    );

    // It stands again by itself.
    support::eventually("the old leader is in line", async || {
        names(&client, &election).await == ["parent", "child"]
    })
    .await;
    soon("resigned", successor.resign()).await.unwrap();
    assert!(leader.says("elected").await[0] > term.token().0, "tokens grow");
    waiting(&successor).await;
    leader.stop().await;
    elected(&successor).await;
    elections.close().await;
    assert!(names(&client, &election).await.is_empty(), "nothing is left");
}

async fn a_leader_stopped_for_less_than_its_ttl_goes_on_leading(world: Arc<World>) {
    let cluster = world.plain().await;
    let election = election("blink");
    let mut leader = Leader::start(&cluster.addr(0).unwrap().to_string(), &election);
    leader.says("elected").await;
    let elections = process(cluster, TTL);
    let other = elections.stand(&election, "parent").unwrap();
    waiting(&other).await;
    for _ in 0..3 {
        leader.signal(Signal::STOP);
        sleep(TTL / 4).await;
        leader.signal(Signal::CONT);
        let silent = always("the other waits", TTL / 2, || !other.is_leader());
        let said = timeout(2 * TTL, async {
            tokio::select! {
                biased;
                line = leader.lines.next_line() => Some(line),
                () = silent => None,
            }
        });
        assert!(said.await.unwrap().is_none(), "it noticed nothing");
    }
    leader.stop().await;
    elected(&other).await;
    elections.close().await;
}
