//! What people do with it: candidates, followers and their terms, on this store.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use leadership_core::{Candidate, Change, EndReason, Error, State};
use tokio::time::Instant;

use super::harness::{Bench, in_line};
use super::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case> {
    cases![
        resigning_hands_over_and_goes_to_the_end_of_the_line,
        stopping_hands_over_and_leaves_nothing,
        dropping_hands_over_in_the_background,
        a_candidate_whose_entry_is_removed_is_told_and_stands_again,
        a_candidate_whose_session_is_ended_is_told_and_stands_again,
        a_waiting_candidate_whose_entry_is_removed_stands_again,
        a_term_outlives_many_renewals,
        work_ends_before_the_next_leader_begins,
        a_follower_sees_every_change_of_hands,
        a_follower_sees_the_contenders_in_order,
        twenty_candidates_lead_one_after_the_other,
    ]
}

async fn resigning_hands_over_and_goes_to_the_end_of_the_line(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (a, b) = (bench.process().await?, bench.process().await?);
    let a = a.stand(&election, "a")?;
    let first = a.elected().await?;
    let b = b.stand(&election, "b")?;
    in_line(&b).await?;
    a.resign().await?;
    ensure!(!first.is_valid() && first.reason() == Some(EndReason::Resigned));
    let second = b.elected().await?;
    ensure!(second.token() > first.token());
    in_line(&a).await?;
    ensure!(!a.is_leader());
    b.resign().await?;
    let third = a.elected().await?;
    ensure!(third.token() > second.token());
    Ok(())
}

async fn stopping_hands_over_and_leaves_nothing(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (pa, pb) = (bench.process().await?, bench.process().await?);
    let a = pa.stand(&election, "a")?;
    a.elected().await?;
    let b = pb.stand(&election, "b")?;
    in_line(&b).await?;
    a.stop().await;
    b.elected().await?;
    ensure!(pa.store().contenders(&election).await?.len() == 1);
    pb.close().await;
    ensure!(matches!(b.state(), State::Stopped(None)));
    ensure!(pa.store().contenders(&election).await?.is_empty());
    Ok(())
}

async fn dropping_hands_over_in_the_background(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (pa, pb) = (bench.process().await?, bench.process().await?);
    let a = pa.stand(&election, "a")?;
    a.elected().await?;
    let b = pb.stand(&election, "b")?;
    in_line(&b).await?;
    let start = Instant::now();
    drop(a);
    b.elected().await?;
    ensure!(
        start.elapsed() < bench.ttl().min(Duration::from_secs(1)),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

async fn a_candidate_whose_entry_is_removed_is_told_and_stands_again(bench: Bench) -> Outcome {
    let (election, process) = (bench.election()?, bench.process().await?);
    let a = process.stand(&election, "a")?;
    let term = a.elected().await?;
    remove_head(&bench, &a).await?;
    ensure!(term.ended().await == EndReason::EntryRemoved);
    ensure!(a.elected().await?.token() > term.token());
    Ok(())
}

/// Removes the entry at the head of the candidate's election.
async fn remove_head(bench: &Bench, candidate: &Candidate) -> Outcome {
    let store = bench.client().await?;
    let contenders = store.contenders(candidate.election()).await?;
    let head = contenders.first().context("nobody in line")?;
    bench.harness.remove(&place_of(candidate, head)?).await
}

fn place_of(
    candidate: &Candidate,
    contender: &leadership_core::Contender,
) -> anyhow::Result<leadership_core::Place> {
    Ok(leadership_core::Place {
        election: candidate.election().clone(),
        session: contender.session.clone().context("a contender")?,
        key: contender.key.clone(),
        fence: contender.order,
    })
}

async fn a_candidate_whose_session_is_ended_is_told_and_stands_again(bench: Bench) -> Outcome {
    let (election, process) = (bench.election()?, bench.process().await?);
    let a = process.stand(&election, "a")?;
    let term = a.elected().await?;
    let store = bench.client().await?;
    let contenders = store.contenders(&election).await?;
    let id = contenders
        .first()
        .and_then(|head| head.session.clone())
        .context("nobody in line")?;
    let session = leadership_core::Session { id, ttl: bench.ttl() };
    bench.harness.end(&session).await?;
    let reason = term.ended().await;
    ensure!(
        matches!(reason, EndReason::EntryRemoved | EndReason::SessionLost),
        "{reason}"
    );
    ensure!(a.elected().await?.token() > term.token());
    Ok(())
}

async fn a_waiting_candidate_whose_entry_is_removed_stands_again(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (pa, pb) = (bench.process().await?, bench.process().await?);
    let a = pa.stand(&election, "a")?;
    a.elected().await?;
    let b = pb.stand(&election, "b")?;
    in_line(&b).await?;
    let store = bench.client().await?;
    let removed = store
        .contenders(&election)
        .await?
        .get(1)
        .cloned()
        .context("nobody waits")?;
    bench.harness.remove(&place_of(&b, &removed)?).await?;
    loop {
        let contenders = store.contenders(&election).await?;
        if contenders
            .get(1)
            .is_some_and(|second| second.order > removed.order)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    a.stop().await;
    b.elected().await?;
    Ok(())
}

async fn a_term_outlives_many_renewals(bench: Bench) -> Outcome {
    let (election, process) = (bench.election()?, bench.process().await?);
    let a = process.stand(&election, "a")?;
    let term = a.elected().await?;
    let ended = tokio::time::timeout(bench.ttl() * 3, term.ended()).await;
    ensure!(ended.is_err(), "{ended:?}");
    ensure!(term.is_valid() && a.is_leader());
    Ok(())
}

async fn work_ends_before_the_next_leader_begins(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (pa, pb) = (bench.process().await?, bench.process().await?);
    let a = pa.stand(&election, "a")?;
    a.elected().await?;
    let b = pb.stand(&election, "b")?;
    in_line(&b).await?;
    let (started, resigner) = (tokio::sync::oneshot::channel(), a.clone());
    let worker = tokio::spawn(async move {
        a.lead(|term| async move {
            let _ = started.0.send(());
            term.ending().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            Instant::now()
        })
        .await
    });
    started.1.await?;
    resigner.resign().await?;
    b.elected().await?;
    let elected = Instant::now();
    ensure!(worker.await?? <= elected);
    Ok(())
}

async fn a_follower_sees_every_change_of_hands(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (pa, pb) = (bench.process().await?, bench.process().await?);
    let follower = pa.follow(&election)?;
    let mut changes = follower.changes();
    ensure!(matches!(changes.next().await, Some(Change::NoLeader)));
    let a = pa.stand(&election, "a")?;
    ensure!(matches!(changes.next().await, Some(Change::Leader(leader)) if leader.name() == "a"));
    a.proclaim("a2").await?;
    ensure!(matches!(changes.next().await, Some(Change::Value(leader)) if leader.name() == "a2"));
    let b = pb.stand(&election, "b")?;
    in_line(&b).await?;
    a.stop().await;
    loop {
        match changes.next().await {
            Some(Change::Leader(leader)) if leader.name() == "b" => break,
            Some(Change::NoLeader) => {}
            other => anyhow::bail!("{other:?}"),
        }
    }
    b.stop().await;
    ensure!(matches!(changes.next().await, Some(Change::NoLeader)));
    ensure!(follower.leader().is_none());
    Ok(())
}

async fn a_follower_sees_the_contenders_in_order(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let mut candidates = Vec::new();
    for name in ["a", "b", "c"] {
        let process = bench.process().await?;
        let candidate = process.stand(&election, name)?;
        in_line(&candidate).await?;
        candidates.push(candidate);
    }
    let follower = bench.process().await?.follow(&election)?;
    let names: Vec<_> = follower
        .contenders()
        .await?
        .iter()
        .map(|contender| contender.name().into_owned())
        .collect();
    ensure!(names == ["a", "b", "c"], "{names:?}");
    Ok(())
}

async fn twenty_candidates_lead_one_after_the_other(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let mut running = Vec::new();
    for number in 0..20 {
        let process = bench.process().await?;
        let candidate = process.stand(&election, format!("n{number}"))?;
        running.push(tokio::spawn(async move {
            let term = candidate.elected().await?;
            candidate.stop().await;
            Ok::<_, Error>(term.token())
        }));
    }
    let mut tokens = Vec::new();
    for candidate in running {
        tokens.push(candidate.await??);
    }
    tokens.sort_unstable();
    tokens.dedup();
    ensure!(tokens.len() == 20, "{tokens:?}");
    Ok(())
}
