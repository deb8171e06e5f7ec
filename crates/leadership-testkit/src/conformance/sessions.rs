//! Sessions: clause 1, and what an ended session means for everything else.

use std::time::Duration;

use anyhow::ensure;
use leadership_core::{ErrorKind, SessionId};
use tokio::time::{Instant, sleep, sleep_until};

use super::harness::{Bench, first, kind};
use super::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case> {
    cases![
        a_session_is_granted_within_the_limits,
        an_entry_lives_as_long_as_its_session_is_renewed,
        an_entry_outlives_the_last_renewal_by_the_certain_time,
        an_entry_of_a_silent_session_is_gone_in_time,
        renewing_an_ended_session_says_that_it_is_gone,
        renewing_a_session_that_never_was_says_that_it_is_gone,
        closing_a_session_removes_its_entries_in_every_election,
        closing_a_session_twice_succeeds,
        a_store_dropped_in_the_midst_of_opening_leaves_no_entry,
    ]
}

async fn a_session_is_granted_within_the_limits(bench: Bench) -> Outcome {
    let store = bench.client().await?;
    let limits = store.limits();
    let asked = bench.ttl().max(limits.ttl_min);
    let session = store.open(asked).await?;
    ensure!(!session.id.as_str().is_empty());
    ensure!(session.ttl >= limits.ttl_min, "granted {:?}", session.ttl);
    let granted = store.renew(&session).await?;
    ensure!(
        granted == session.ttl,
        "granted {:?} at first and {granted:?} anew",
        session.ttl
    );
    store.close(&session).await?;
    Ok(())
}

async fn an_entry_lives_as_long_as_its_session_is_renewed(bench: Bench) -> Outcome {
    let (store, election) = (bench.client().await?, bench.election()?);
    let session = store.open(bench.ttl()).await?;
    let (place, _) = store.enter(&election, &session, b"v").await?;
    let end = Instant::now() + session.ttl * 2;
    while Instant::now() < end {
        store.renew(&session).await?;
        sleep(session.ttl / 4).await;
    }
    ensure!(store.find(&election, &session).await? == Some(place));
    Ok(())
}

async fn an_entry_outlives_the_last_renewal_by_the_certain_time(bench: Bench) -> Outcome {
    let (store, election) = (bench.client().await?, bench.election()?);
    let session = store.open(bench.ttl()).await?;
    let (place, _) = store.enter(&election, &session, b"v").await?;
    let sent = Instant::now();
    store.renew(&session).await?;
    let certain = store.limits().certain(session.ttl);
    // As late as a look can be answered before the certain time is over.
    sleep_until(sent + certain - certain / 10).await;
    let found = store.find(&election, &session).await?;
    ensure!(sent.elapsed() < certain, "the machine is too slow to tell");
    ensure!(found == Some(place));
    Ok(())
}

async fn an_entry_of_a_silent_session_is_gone_in_time(bench: Bench) -> Outcome {
    let (store, election) = (bench.client().await?, bench.election()?);
    let session = store.open(bench.ttl()).await?;
    let opened = Instant::now();
    store.enter(&election, &session, b"v").await?;
    let worst = session.ttl + store.limits().overdue + Duration::from_millis(500);
    while store.find(&election, &session).await?.is_some() {
        ensure!(
            opened.elapsed() < worst,
            "still there after {:?}",
            opened.elapsed()
        );
        sleep(session.ttl / 20).await;
    }
    Ok(())
}

async fn renewing_an_ended_session_says_that_it_is_gone(bench: Bench) -> Outcome {
    let (store, session) = bench.session().await?;
    store.renew(&session).await?;
    store.close(&session).await?;
    ensure!(kind(store.renew(&session).await) == Some(ErrorKind::SessionGone));
    Ok(())
}

async fn renewing_a_session_that_never_was_says_that_it_is_gone(bench: Bench) -> Outcome {
    let (store, mut session) = bench.session().await?;
    store.close(&session).await?;
    // Of the right form, but another: its first digit changed. The last one may be what tells it from a session of
    // another case.
    let id = session.id.as_str();
    let (mark, digits) = id.split_at(if id.starts_with("0x") { 2 } else { 0 });
    let first = if digits.starts_with('5') { '4' } else { '5' };
    session.id = SessionId::new(format!("{mark}{first}{}", &digits[1..]));
    ensure!(kind(store.renew(&session).await) == Some(ErrorKind::SessionGone));
    Ok(())
}

async fn closing_a_session_removes_its_entries_in_every_election(bench: Bench) -> Outcome {
    let (store, session) = bench.session().await?;
    let (one, two) = (bench.election()?, bench.election()?);
    store.enter(&one, &session, b"v").await?;
    store.enter(&two, &session, b"v").await?;
    store.close(&session).await?;
    ensure!(store.contenders(&one).await?.is_empty() && store.contenders(&two).await?.is_empty());
    Ok(())
}

async fn closing_a_session_twice_succeeds(bench: Bench) -> Outcome {
    let (store, session) = bench.session().await?;
    store.close(&session).await?;
    store.close(&session).await?;
    Ok(())
}

async fn a_store_dropped_in_the_midst_of_opening_leaves_no_entry(bench: Bench) -> Outcome {
    let election = bench.election()?;
    for after in 0..4 {
        let store = bench.client().await?;
        let opening = store.open(bench.ttl());
        let _ = tokio::time::timeout(Duration::from_micros(200 * after), opening).await;
    }
    let (store, session) = bench.session().await?;
    let (_, standing) = store.enter(&election, &session, b"v").await?;
    ensure!(first(&standing).is_some());
    Ok(())
}
