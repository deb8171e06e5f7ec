//! Streams: clauses 8 and 9. Where a place stands, and who leads.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use leadership_core::{Leader, Standing, StoreError};

use super::harness::{Bench, first, next, until};
use super::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case> {
    cases![
        standing_begins_with_the_present,
        the_next_is_told_first_when_the_head_leaves,
        the_next_is_told_first_when_the_heads_session_ends,
        one_in_the_middle_may_go_and_the_order_holds,
        a_removed_entry_is_told_as_gone,
        a_place_of_old_is_gone_from_the_start,
        a_change_before_the_stream_was_opened_is_not_missed,
        first_stays_first_while_others_come_and_go,
        the_leader_stream_tells_of_nobody_leader_value_and_nobody,
        the_leader_stream_tells_each_next_leader,
        a_stream_nobody_reads_holds_up_nobody,
    ]
}

fn gone(standing: &Standing) -> bool {
    *standing == Standing::Gone
}

fn at_head(standing: &Standing) -> bool {
    first(standing).is_some()
}

async fn standing_begins_with_the_present(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let ((a, sa), (b, sb)) = (bench.session().await?, bench.session().await?);
    for (store, session) in [(&a, &sa), (&b, &sb)] {
        let (place, standing) = store.enter(&election, session, b"v").await?;
        for known in [Some(standing.clone()), None] {
            ensure!(next(&mut store.standing(&place, known)).await? == standing);
        }
    }
    Ok(())
}

async fn the_next_is_told_first_when_the_head_leaves(bench: Bench) -> Outcome {
    let ((a, sa), (b, sb)) = (bench.session().await?, bench.session().await?);
    for reopened in [false, true] {
        let election = bench.election()?;
        let (head, leading) = a.enter(&election, &sa, b"a").await?;
        let (place, standing) = b.enter(&election, &sb, b"b").await?;
        let mut stream = b.standing(&place, (!reopened).then_some(standing));
        ensure!(matches!(next(&mut stream).await?, Standing::Behind(_)));
        a.leave(&head).await?;
        let standing = until(&mut stream, at_head, gone).await?;
        ensure!(first(&standing) > first(&leading));
    }
    Ok(())
}

async fn the_next_is_told_first_when_the_heads_session_ends(bench: Bench) -> Outcome {
    let (election, a) = (bench.election()?, bench.client().await?);
    let silent = a.open(bench.ttl()).await?;
    a.enter(&election, &silent, b"a").await?;
    let (b, sb) = bench.session().await?;
    let (place, standing) = b.enter(&election, &sb, b"b").await?;
    let mut stream = b.standing(&place, Some(standing));
    let worst = silent.ttl + b.limits().overdue + Duration::from_millis(500);
    tokio::time::timeout(worst, until(&mut stream, at_head, gone))
        .await
        .context("too late")??;
    Ok(())
}

async fn one_in_the_middle_may_go_and_the_order_holds(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let mut line = Vec::new();
    for name in ["a", "b", "c"] {
        let (store, session) = bench.session().await?;
        let (place, standing) = store.enter(&election, &session, name.as_bytes()).await?;
        line.push((store, place, standing));
    }
    let [(a, pa, _), (b, pb, _), (c, pc, sc)] = &line[..] else {
        anyhow::bail!("three")
    };
    let mut stream = c.standing(pc, Some(sc.clone()));
    next(&mut stream).await?;
    b.leave(pb).await?;
    let behind_a = |standing: &Standing| matches!(standing, Standing::Behind(x) if x.key == pa.key);
    until(&mut stream, behind_a, |standing| {
        at_head(standing) || gone(standing)
    })
    .await?;
    a.leave(pa).await?;
    until(&mut stream, at_head, gone).await?;
    Ok(())
}

async fn a_removed_entry_is_told_as_gone(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let ((a, sa), (b, sb)) = (bench.session().await?, bench.session().await?);
    let (head, standing) = a.enter(&election, &sa, b"a").await?;
    let mut heads = a.standing(&head, Some(standing));
    let (place, standing) = b.enter(&election, &sb, b"b").await?;
    let mut waiting = b.standing(&place, Some(standing));
    next(&mut heads).await?;
    next(&mut waiting).await?;
    bench.harness.remove(&place).await?;
    until(&mut waiting, gone, at_head).await?;
    bench.harness.remove(&head).await?;
    until(&mut heads, gone, |standing| {
        matches!(standing, Standing::Behind(_))
    })
    .await?;
    Ok(())
}

async fn a_place_of_old_is_gone_from_the_start(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (old, standing) = store.enter(&election, &session, b"v").await?;
    store.leave(&old).await?;
    ensure!(gone(&next(&mut store.standing(&old, None)).await?));
    store.enter(&election, &session, b"v").await?;
    ensure!(
        gone(&next(&mut store.standing(&old, None)).await?),
        "another entry stands under its key"
    );
    // What was known when it was entered may be told first, but not be the last word.
    until(&mut store.standing(&old, Some(standing)), gone, |_| false).await?;
    Ok(())
}

async fn a_change_before_the_stream_was_opened_is_not_missed(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let ((a, sa), (b, sb)) = (bench.session().await?, bench.session().await?);
    let (head, _) = a.enter(&election, &sa, b"a").await?;
    let (place, standing) = b.enter(&election, &sb, b"b").await?;
    a.leave(&head).await?;
    until(&mut b.standing(&place, Some(standing)), at_head, gone).await?;
    Ok(())
}

async fn first_stays_first_while_others_come_and_go(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let (store, session) = bench.session().await?;
    let (place, standing) = store.enter(&election, &session, b"v").await?;
    let mut stream = store.standing(&place, Some(standing));
    let (other, theirs) = bench.session().await?;
    for _ in 0..5 {
        let (place, _) = other.enter(&election, &theirs, b"o").await?;
        other.proclaim(&place, b"p").await?;
        other.leave(&place).await?;
    }
    store.proclaim(&place, b"w").await?;
    store.leave(&place).await?;
    until(&mut stream, gone, |standing| !at_head(standing)).await?;
    Ok(())
}

type LeaderStream = BoxStream<'static, Result<Option<Leader>, StoreError>>;

/// Waits until the stream says that `value` leads (`None`: that nobody does).
async fn led_by(stream: &mut LeaderStream, value: Option<&[u8]>) -> anyhow::Result<Option<Leader>> {
    loop {
        let leader = stream.next().await.context("the stream ended")??;
        if leader.as_ref().map(|leader| &leader.value[..]) == value {
            return Ok(leader);
        }
    }
}

async fn the_leader_stream_tells_of_nobody_leader_value_and_nobody(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let mut stream = bench.client().await?.leader(&election);
    ensure!(stream.next().await.context("ended")??.is_none());
    let (place, standing) = store.enter(&election, &session, b"one").await?;
    let leader = led_by(&mut stream, Some(b"one")).await?.context("a leader")?;
    ensure!(
        leader.token.is_none_or(|token| Some(token) == first(&standing)),
        "{leader:?}"
    );
    store.proclaim(&place, b"two").await?;
    let same = led_by(&mut stream, Some(b"two")).await?.context("a leader")?;
    ensure!(same.key == leader.key);
    store.leave(&place).await?;
    led_by(&mut stream, None).await?;
    Ok(())
}

async fn the_leader_stream_tells_each_next_leader(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let mut stream = bench.client().await?.leader(&election);
    let mut line = Vec::new();
    for name in ["a", "b", "c"] {
        let (store, session) = bench.session().await?;
        let (place, _) = store.enter(&election, &session, name.as_bytes()).await?;
        line.push((store, session, place, name));
    }
    for (store, session, place, name) in &line {
        led_by(&mut stream, Some(name.as_bytes())).await?;
        if *name == "b" {
            store.close(session).await?;
        } else {
            store.leave(place).await?;
        }
    }
    led_by(&mut stream, None).await?;
    Ok(())
}

async fn a_stream_nobody_reads_holds_up_nobody(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (place, standing) = store.enter(&election, &session, b"v").await?;
    let mut unread = (
        store.leader(&election),
        store.standing(&place, Some(standing.clone())),
    );
    unread.0.next().await.context("ended")??;
    let mut stream = store.leader(&election);
    for number in 0..300 {
        store.proclaim(&place, format!("{number}").as_bytes()).await?;
    }
    led_by(&mut stream, Some(b"299")).await?;
    store.leave(&place).await?;
    led_by(&mut stream, None).await?;
    until(&mut unread.1, gone, |_| false).await?;
    Ok(())
}
