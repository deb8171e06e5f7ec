//! What is measured, and the table of it.

use std::time::{Duration, Instant};

use anyhow::Context;
use leadership_core::{Candidate, Config, Elections};

use super::{Failover, SHORT, Subject, pace};
use crate::cluster::Proxy;
use crate::worker::{Connect, Worker, nanos};

const REPETITIONS: usize = 40;
const TTL: Duration = Duration::from_secs(15);

/// Measures everything and prints the table.
///
/// # Errors
/// What went wrong. A goal that is missed is printed, not an error.
pub async fn run(subject: &dyn Subject, connect: Connect) -> anyhow::Result<()> {
    let name = subject.name();
    println!("| {name} | measured | floor | ratio | goal |");
    println!("|---|---|---|---|---|");
    standing(subject, connect).await?;
    handover(subject).await?;
    for peer in subject.peers().await? {
        let floor = floor(subject).await?;
        row(
            &format!("{}: standing unopposed", peer.name),
            median(peer.standing),
            Some(floor),
            "peer",
        );
        row(
            &format!("{}: handover", peer.name),
            median(peer.handover),
            Some(floor),
            "peer",
        );
    }
    for waiting in [2, 200] {
        requests(subject, connect, waiting).await?;
    }
    for failover in subject.failovers() {
        killed(failover).await?;
    }
    hung_path(subject).await?;
    is_leader(connect(&subject.url())?).await?;
    many_elections(subject).await
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn row(what: &str, measured: Duration, floor: Option<Duration>, goal: &str) {
    let ratio = floor.map_or_else(String::new, |floor| {
        format!(
            "{:.2}",
            measured.as_secs_f64() / floor.as_secs_f64().max(f64::MIN_POSITIVE)
        )
    });
    let floor = floor.map_or_else(String::new, |floor| format!("{floor:.2?}"));
    println!("| {what} | {measured:.2?} | {floor} | {ratio} | {goal} |");
}

async fn write(subject: &dyn Subject) -> anyhow::Result<Duration> {
    pace().await;
    let start = Instant::now();
    subject.write().await?;
    Ok(start.elapsed())
}

async fn floor(subject: &dyn Subject) -> anyhow::Result<Duration> {
    let mut writes = Vec::new();
    for _ in 0..REPETITIONS {
        writes.push(write(subject).await?);
    }
    Ok(median(writes))
}

/// From `stand` to elected, nobody else standing, with the session open.
async fn standing(subject: &dyn Subject, connect: Connect) -> anyhow::Result<()> {
    let elections = Elections::new(connect(&subject.url())?, Config::with_ttl(TTL))?;
    let first = elections.stand("bench/first", "bench")?;
    first.elected().await?;
    let (mut times, mut writes) = (Vec::new(), Vec::new());
    for round in 0..REPETITIONS + 5 {
        writes.push(write(subject).await?);
        pace().await;
        let start = Instant::now();
        // The same election again and again: a store that has to make room for a new one does it once.
        let candidate = elections.stand("bench/standing", "bench")?;
        candidate.elected().await?;
        if round >= 5 {
            times.push(start.elapsed());
        }
        candidate.stop().await;
    }
    elections.close().await;
    row(
        "standing unopposed, session open",
        median(times),
        Some(median(writes)),
        &format!("≤ {}", subject.goals().standing),
    );
    Ok(())
}

/// From the call of `resign` in one process to elected in another.
async fn handover(subject: &dyn Subject) -> anyhow::Result<()> {
    let url = subject.url();
    let mut leader = Worker::start(&url, "bench/handover", TTL, 1)?;
    leader.expect("elected").await?;
    let mut other = Worker::start(&url, "bench/handover", TTL, 1)?;
    let (mut times, mut writes) = (Vec::new(), Vec::new());
    // The first rounds warm up: the other may not be in line yet.
    pace().await;
    for round in 0..REPETITIONS + 5 {
        writes.push(write(subject).await?);
        pace().await;
        leader.resign().await?;
        let resigning = leader.expect("resigning").await?;
        let elected = other.expect("elected").await?;
        leader.expect("resigned").await?;
        if round >= 5 {
            let nanos = elected[0].saturating_sub(resigning[0]);
            times.push(Duration::from_nanos(u64::try_from(nanos)?));
        }
        std::mem::swap(&mut leader, &mut other);
    }
    row(
        "resign to elected, two processes",
        median(times),
        Some(median(writes)),
        &format!("≤ {}", subject.goals().handover),
    );
    leader.end().await?;
    other.end().await
}

/// Requests at the store for one handover while so many are waiting, renewals apart.
async fn requests(subject: &dyn Subject, connect: Connect, waiting: usize) -> anyhow::Result<()> {
    let election = format!("bench/requests-{waiting}");
    let mut line = Vec::new();
    for number in 0..=waiting {
        line.push(join(connect(&subject.counted_url())?, &election, number).await?);
    }
    let mut counts = Vec::new();
    for round in 0..12 {
        let (process, leader) = line.remove(0);
        let next = &line[0].1;
        settle(subject).await?;
        let before = subject.requests().await?;
        leader.stop().await;
        next.elected().await?;
        let after = settle(subject).await?;
        counts.push(after - before);
        process.close().await;
        line.push(join(connect(&subject.counted_url())?, &election, waiting + round + 1).await?);
    }
    counts.sort_by(f64::total_cmp);
    let (middle, most) = (counts[counts.len() / 2], counts[counts.len() - 1]);
    let goal = subject.goals().requests;
    println!(
        "| requests for a handover, {waiting} waiting | {middle} (most {most}) | | | ≤ {goal}, same at 2 and 200 |"
    );
    futures_util::future::join_all(line.iter().map(|(process, _)| process.close())).await;
    Ok(())
}

async fn join(
    store: leadership_core::DynStore,
    election: &str,
    number: usize,
) -> anyhow::Result<(Elections, Candidate)> {
    use futures_util::StreamExt;
    use leadership_core::State;
    let process = Elections::new(store, Config::with_ttl(Duration::from_secs(60)))?;
    let candidate = process.stand(election, format!("n{number}"))?;
    let mut states = candidate.states();
    while !matches!(
        states.next().await.context("gone")?,
        State::Waiting(_) | State::Leading(_)
    ) {}
    Ok((process, candidate))
}

/// Waits until the store's counters stand still, and returns them.
async fn settle(subject: &dyn Subject) -> anyhow::Result<f64> {
    let mut last = subject.requests().await?;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = subject.requests().await?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}

/// The leader is killed, at moments spread over half of the TTL: how long until the other is elected? That is more than an
/// interval of its renewals, and a whole number of ZooKeeper's ticks, so that no moment of either counts twice.
async fn killed(failover: Failover) -> anyhow::Result<()> {
    let Failover {
        name,
        url,
        ttl,
        kills,
    } = failover;
    let rounds = (0..kills).map(|round| {
        let url = &url;
        async move {
            let election = format!("bench/killed-{}-{round}", ttl.as_secs());
            let mut leader = Worker::start(url, &election, ttl, 1)?;
            leader.expect("elected").await?;
            let mut other = Worker::start(url, &election, ttl, 1)?;
            tokio::time::sleep(ttl / 2 + ttl / 2 * round / kills).await;
            let killed = nanos();
            leader.kill().await?;
            let elected = other.expect_within("elected", ttl * 4).await?;
            other.end().await?;
            let took = Duration::from_nanos(u64::try_from(elected[0].saturating_sub(killed))?);
            anyhow::Ok(took.as_secs_f64() / ttl.as_secs_f64())
        }
    });
    let mut ratios = futures_util::future::try_join_all(rounds).await?;
    ratios.sort_by(f64::total_cmp);
    let (middle, most) = (ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    println!(
        "| kill -9 to the next elected, of the ttl{name}, {ttl:?} | | | {middle:.2}, worst {most:.2} of {kills} | \
         ≤ 1.1, worst ≤ 1.5 |"
    );
    Ok(())
}

/// The leader's path hangs: how long before its successor is elected has it stopped believing?
async fn hung_path(subject: &dyn Subject) -> anyhow::Result<()> {
    let mut leads = Vec::new();
    for round in 0..5 {
        let election = format!("bench/hung-{round}");
        let proxy = Proxy::start(subject.addr()).await?;
        let mut leader = Worker::start(&subject.url_at(proxy.addr()), &election, SHORT, 1)?;
        leader.expect("elected").await?;
        let mut other = Worker::start(&subject.url(), &election, SHORT, 1)?;
        // A renewal or two go by, at another moment of the interval each time.
        tokio::time::sleep(SHORT + Duration::from_millis(130 * round)).await;
        proxy.stall();
        let ended = leader.expect("ended").await?;
        let elected = other.expect("elected").await?;
        let lead = elected[0] as f64 / 1e9 - ended[0] as f64 / 1e9;
        leads.push(lead);
        drop(leader);
        other.end().await?;
    }
    let least = leads.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "| path hung, ttl {SHORT:?}: stops believing before its successor, least of 5 | {least:.2} s | | | > 0 |"
    );
    Ok(())
}

async fn is_leader(store: leadership_core::DynStore) -> anyhow::Result<()> {
    const CALLS: u32 = 2_000_000;
    let elections = Elections::new(store, Config::with_ttl(TTL))?;
    let candidate = elections.stand("bench/is-leader", "bench")?;
    candidate.elected().await?;
    let start = Instant::now();
    let mut leading = 0;
    for _ in 0..CALLS {
        leading += u32::from(std::hint::black_box(&candidate).is_leader());
    }
    let each = start.elapsed() / CALLS;
    anyhow::ensure!(leading == CALLS);
    println!("| is_leader(), clock included | {each:?} | | | ≤ 60 ns |");
    elections.close().await;
    Ok(())
}

async fn many_elections(subject: &dyn Subject) -> anyhow::Result<()> {
    // Sessions of those that were killed are still ending.
    let mut before = subject.renewals().await?;
    loop {
        tokio::time::sleep(2 * SHORT).await;
        let now = subject.renewals().await?;
        if now == before {
            break;
        }
        before = now;
    }
    let mut worker = Worker::start(&subject.url(), "bench/many", TTL, 1000)?;
    let memory = worker.expect("all").await?;
    // Long enough for two renewals.
    tokio::time::sleep(TTL * 2 / 3 + Duration::from_secs(1)).await;
    let renewals = subject.renewals().await? - before;
    println!(
        "| 1,000 elections of one process: {} | {renewals} | | | 1 |",
        subject.renewed()
    );
    println!(
        "| 1,000 elections of one process: memory of the process | {} MiB | | | < 64 MiB |",
        memory[0] / 1024
    );
    worker.end().await
}
