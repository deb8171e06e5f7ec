//! Entries: clauses 2 to 7. Entering, leaving, finding and proclaiming.

use std::time::Duration;

use anyhow::ensure;
use leadership_core::{ElectionName, ErrorKind, Standing};

use super::harness::{Bench, first, kind, next};
use super::{Case, Outcome, cases};

pub(super) fn cases() -> Vec<Case> {
    cases![
        the_first_to_enter_is_first,
        entering_twice_returns_the_same_place,
        entering_again_tells_where_the_place_stands_now,
        entering_with_an_ended_session_says_so_and_leaves_nothing,
        a_dropped_enter_makes_one_entry_or_none,
        contenders_stand_in_the_order_of_arrival,
        tokens_grow_from_head_to_head,
        leaving_twice_succeeds,
        a_late_leave_never_removes_a_later_entry,
        a_late_proclaim_never_changes_a_later_entry,
        proclaiming_changes_the_value_and_nothing_else,
        find_finds_the_entry_of_that_session_only,
        values_are_kept_byte_for_byte,
        a_value_at_the_limit_is_taken,
        elections_whose_names_begin_alike_do_not_mix,
        names_are_taken_verbatim,
    ]
}

async fn the_first_to_enter_is_first(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (place, standing) = store.enter(&election, &session, b"v").await?;
    ensure!(place.election == election && place.session == session.id);
    ensure!(first(&standing).is_some(), "{standing:?}");
    Ok(())
}

async fn entering_twice_returns_the_same_place(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let once = store.enter(&election, &session, b"one").await?;
    let twice = store.enter(&election, &session, b"two").await?;
    ensure!(once == twice, "{once:?} and then {twice:?}");
    let contenders = store.contenders(&election).await?;
    ensure!(
        contenders.len() == 1 && contenders[0].value == b"one",
        "{contenders:?}"
    );
    Ok(())
}

async fn entering_again_tells_where_the_place_stands_now(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let ((a, sa), (b, sb), (c, sc)) = (
        bench.session().await?,
        bench.session().await?,
        bench.session().await?,
    );
    let (place, _) = a.enter(&election, &sa, b"a").await?;
    let (_, behind) = b.enter(&election, &sb, b"b").await?;
    ensure!(matches!(&behind, Standing::Behind(ahead) if ahead.key == place.key && !ahead.foreign));
    // With another behind it, the entry is not the last one any more.
    c.enter(&election, &sc, b"c").await?;
    ensure!(b.enter(&election, &sb, b"b").await?.1 == behind);
    a.leave(&place).await?;
    let (_, standing) = b.enter(&election, &sb, b"b").await?;
    ensure!(first(&standing).is_some(), "{standing:?}");
    Ok(())
}

async fn entering_with_an_ended_session_says_so_and_leaves_nothing(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    store.close(&session).await?;
    ensure!(kind(store.enter(&election, &session, b"v").await) == Some(ErrorKind::SessionGone));
    ensure!(store.contenders(&election).await?.is_empty());
    Ok(())
}

async fn a_dropped_enter_makes_one_entry_or_none(bench: Bench) -> Outcome {
    let (store, session) = bench.session().await?;
    for after in 0..8 {
        let election = bench.election()?;
        let entering = store.enter(&election, &session, b"v");
        let _ = tokio::time::timeout(Duration::from_micros(150 * after), entering).await;
        let (place, standing) = store.enter(&election, &session, b"v").await?;
        ensure!(first(&standing).is_some(), "{standing:?}");
        ensure!(store.contenders(&election).await?.len() == 1);
        store.leave(&place).await?;
    }
    Ok(())
}

async fn contenders_stand_in_the_order_of_arrival(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let mut sessions = Vec::new();
    let mut token = None;
    for name in ["a", "b", "c", "d", "e"] {
        let (store, session) = bench.session().await?;
        let (_, standing) = store.enter(&election, &session, name.as_bytes()).await?;
        token = token.or_else(|| first(&standing));
        sessions.push((store, session));
    }
    let contenders = sessions[0].0.contenders(&election).await?;
    let names: Vec<_> = contenders
        .iter()
        .map(|contender| contender.name().into_owned())
        .collect();
    ensure!(names == ["a", "b", "c", "d", "e"], "{names:?}");
    for (contender, (_, session)) in contenders.iter().zip(&sessions) {
        ensure!(contender.session.as_ref() == Some(&session.id), "{contender:?}");
    }
    ensure!(contenders.is_sorted_by_key(|contender| contender.order));
    let leading: Vec<_> = contenders.iter().map(|contender| contender.leads).collect();
    ensure!(leading == [true, false, false, false, false], "{contenders:?}");
    let tokens: Vec<_> = contenders.iter().map(|contender| contender.token).collect();
    ensure!(
        tokens == [token, None, None, None, None],
        "{token:?} {contenders:?}"
    );
    Ok(())
}

async fn tokens_grow_from_head_to_head(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (other, theirs) = bench.session().await?;
    let mut last = None;
    for _ in 0..5 {
        for (store, session) in [(&store, &session), (&other, &theirs)] {
            let (place, standing) = store.enter(&election, session, b"v").await?;
            let token = first(&standing);
            ensure!(token > last, "{token:?} after {last:?}");
            last = token;
            store.leave(&place).await?;
        }
    }
    Ok(())
}

async fn leaving_twice_succeeds(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (place, _) = store.enter(&election, &session, b"v").await?;
    store.leave(&place).await?;
    store.leave(&place).await?;
    ensure!(store.contenders(&election).await?.is_empty());
    Ok(())
}

async fn a_late_leave_never_removes_a_later_entry(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (old, _) = store.enter(&election, &session, b"v").await?;
    store.leave(&old).await?;
    let (new, _) = store.enter(&election, &session, b"v").await?;
    ensure!(new != old && new.fence > old.fence);
    store.leave(&old).await?;
    ensure!(store.find(&election, &session).await? == Some(new.clone()));
    let mut standing = store.standing(&new, None);
    ensure!(first(&next(&mut standing).await?).is_some());
    Ok(())
}

async fn a_late_proclaim_never_changes_a_later_entry(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (old, _) = store.enter(&election, &session, b"old").await?;
    store.leave(&old).await?;
    ensure!(kind(store.proclaim(&old, b"late").await) == Some(ErrorKind::EntryGone));
    ensure!(store.contenders(&election).await?.is_empty());
    store.enter(&election, &session, b"new").await?;
    ensure!(kind(store.proclaim(&old, b"late").await) == Some(ErrorKind::EntryGone));
    ensure!(store.contenders(&election).await?[0].value == b"new");
    Ok(())
}

async fn proclaiming_changes_the_value_and_nothing_else(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (place, standing) = store.enter(&election, &session, b"one").await?;
    store.proclaim(&place, b"two").await?;
    ensure!(store.enter(&election, &session, b"three").await? == (place, standing));
    let contenders = store.contenders(&election).await?;
    ensure!(
        contenders.len() == 1 && contenders[0].value == b"two",
        "{contenders:?}"
    );
    store.close(&session).await?;
    ensure!(
        store.contenders(&election).await?.is_empty(),
        "it still goes with its session"
    );
    Ok(())
}

async fn find_finds_the_entry_of_that_session_only(bench: Bench) -> Outcome {
    let election = bench.election()?;
    let ((a, sa), (b, sb)) = (bench.session().await?, bench.session().await?);
    ensure!(a.find(&election, &sa).await?.is_none());
    let (place, _) = a.enter(&election, &sa, b"a").await?;
    ensure!(a.find(&election, &sa).await? == Some(place));
    ensure!(b.find(&election, &sb).await?.is_none());
    Ok(())
}

async fn values_are_kept_byte_for_byte(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let value: Vec<u8> = (0..=255).collect();
    store.enter(&election, &session, &value).await?;
    ensure!(store.contenders(&election).await?[0].value == value);
    Ok(())
}

async fn a_value_at_the_limit_is_taken(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let value = vec![b'x'; store.limits().value_max];
    let (place, _) = store.enter(&election, &session, &value).await?;
    store.proclaim(&place, &value).await?;
    store.leave(&place).await?;
    Ok(())
}

async fn elections_whose_names_begin_alike_do_not_mix(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    let (other, theirs) = bench.session().await?;
    let longer = ElectionName::new(format!("{election}x"))?;
    other.enter(&longer, &theirs, b"longer").await?;
    let (_, standing) = store.enter(&election, &session, b"v").await?;
    ensure!(first(&standing).is_some(), "{standing:?}");
    ensure!(store.contenders(&election).await?.len() == 1);
    Ok(())
}

async fn names_are_taken_verbatim(bench: Bench) -> Outcome {
    let ((store, session), election) = (bench.session().await?, bench.election()?);
    for name in [
        format!("{election} with space"),
        format!("{election}/ä/ö"),
        format!("{election}-%2F?x=1#y"),
    ] {
        let election = ElectionName::new(&name)?;
        let (place, _) = store.enter(&election, &session, b"v").await?;
        ensure!(place.election.as_str() == name);
        ensure!(store.contenders(&election).await?.len() == 1, "{name}");
        store.leave(&place).await?;
    }
    Ok(())
}
