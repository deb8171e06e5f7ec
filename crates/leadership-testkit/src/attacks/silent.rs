//! A consumer that never reads what it has asked for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use leadership_core::{Change, Event, State};

use tokio::task::unconstrained;

use crate::known_failures::{Ground, TTL, process};
use crate::trials::{Case, cases, close, elected, election, next, soon};

/// Each is several events, so that more come than are kept.
const CHANGES: u32 = 300;
/// Events that are kept for who is slow.
const KEPT: usize = 256;

pub(super) fn cases<G: Ground>() -> Vec<Case<G>> {
    cases![whoever_never_reads_delays_nothing_and_finds_the_present]
}

async fn whoever_never_reads_delays_nothing_and_finds_the_present<G: Ground>(ground: Arc<G>) {
    let election = election("unread");
    let elections = process(&*ground, TTL).await;
    let candidate = elections.stand(&*election, "a").unwrap();
    let follower = elections.follow(&*election).unwrap();
    elected(&candidate).await;
    let (mut events, mut states, mut changes) = (candidate.events(), candidate.states(), follower.changes());
    // One that has begun to read, and reads no more.
    let mut begun = follower.changes();
    next("a leads", &mut begun, |change| {
        matches!(change, Change::Leader(_)).then_some(())
    })
    .await;

    for number in 0..CHANGES {
        soon("resigned", candidate.resign()).await.unwrap();
        let term = elected(&candidate).await;
        assert!(term.is_valid());
        if number % 10 == 0 {
            soon("proclaimed", candidate.proclaim(format!("a{number}")))
                .await
                .unwrap();
        }
    }
    soon("proclaimed", candidate.proclaim("at last")).await.unwrap();
    let term = candidate.term().unwrap();

    let Some(Event::Missed(missed)) = events.next().now_or_never().flatten() else {
        panic!("not told that events were missed");
    };
    let mut kept = Vec::new();
    // All at once, and not only as many as a task may have before others.
    while let Some(Some(event)) = unconstrained(events.next()).now_or_never() {
        kept.push(event);
    }
    assert!(
        missed >= u64::from(CHANGES) && kept.len() <= KEPT,
        "{missed} missed, {} kept",
        kept.len()
    );
    let elected_last = kept.iter().rev().find_map(|event| match event {
        Event::Elected(term) => Some(term.token()),
        _ => None,
    });
    assert_eq!(elected_last, Some(term.token()), "the last events are there");
    let state = states.next().now_or_never().flatten();
    assert!(
        matches!(&state, Some(State::Leading(now)) if now.token() == term.token()),
        "{state:?}"
    );
    for changes in [&mut changes, &mut begun] {
        // Followers hear a moment later.
        let at_last = |change: &Change| match change {
            Change::Leader(leader) | Change::Value(leader) => (leader.name() == "at last").then_some(()),
            _ => None,
        };
        soon("the present", async {
            let mut skipped = 0;
            while at_last(&changes.next().await.unwrap()).is_none() {
                skipped += 1;
                assert!(skipped < 10, "old changes pile up");
            }
        })
        .await;
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(50), states.next())
            .await
            .is_err()
    );
    close([elections]).await;
}
