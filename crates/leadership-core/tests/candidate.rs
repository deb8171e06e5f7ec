//! Candidates and followers on virtual time, over a memory store whose way can be blocked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use futures_util::StreamExt;
use leadership_core::{
    Candidate, Change, Config, ElectionName, Elections, EndReason, Error, ErrorKind, Event, KvStore,
    MemoryStore, State,
};
use tokio::time::{Instant, sleep, timeout};
use world::faulty::Way;
use world::{TTL, World, soon, until, waiting};

#[tokio::test(start_paused = true)]
async fn the_first_to_come_leads_and_a_resignation_hands_over_in_order() {
    let world = World::new();
    let mut candidates = Vec::new();
    let processes = [world.process(), world.process(), world.process()];
    for (index, (elections, _)) in processes.iter().enumerate() {
        let candidate = elections.stand("e", format!("n{index}")).unwrap();
        until(&candidate, |state| {
            matches!(state, State::Leading(_)) || waiting(state)
        })
        .await;
        candidates.push(candidate);
    }
    let mut last = candidates[0].term().unwrap().token();
    for (leader, next) in [(0, 1), (1, 2), (2, 0)] {
        soon(candidates[leader].resign()).await.unwrap();
        assert!(!candidates[leader].is_leader());
        let term = soon(candidates[next].elected()).await.unwrap();
        assert!(term.token() > last, "tokens grow");
        last = term.token();
        until(&candidates[leader], waiting).await;
    }
    assert_eq!(
        world.line().await,
        ["n0", "n1", "n2"],
        "each went to the end of the line"
    );
    assert!(matches!(candidates[1].resign().await, Err(Error::NotLeading)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_believing_before_its_successor_is_elected() {
    let world = World::new();
    let ((a, way), (b, _)) = (world.process(), world.process());
    let a = a.stand("e", "a").unwrap();
    let term = soon(a.elected()).await.unwrap();
    let b = b.stand("e", "b").unwrap();
    until(&b, waiting).await;
    for operation in ["open", "renew", "close", "leave", "enter"] {
        way.set(operation, Way::Blocked);
    }
    let start = Instant::now();
    assert_eq!(soon(term.ended()).await, EndReason::DeadlinePassed);
    assert!(!term.is_valid() && !a.is_leader());
    assert!(!b.is_leader(), "the store keeps the session for a margin longer");
    let second = soon(b.elected()).await.unwrap();
    assert!(second.token() > term.token());
    assert!(
        start.elapsed() <= TTL + Duration::from_secs(1),
        "and not much longer: {:?}",
        start.elapsed()
    );
    way.heal();
    until(&a, waiting).await;
    assert_eq!(
        world.line().await,
        ["b", "a"],
        "the old leader stands again by itself"
    );
}

#[tokio::test(start_paused = true)]
async fn one_slow_renewal_costs_nobody_the_leadership() {
    let world = World::new();
    let (a, way) = world.process();
    let a = a.stand("e", "a").unwrap();
    let term = soon(a.elected()).await.unwrap();
    way.set("renew", Way::Blocked);
    // Longer than it takes to send a renewal and to give it up.
    sleep(Duration::from_secs(6)).await;
    way.heal();
    sleep(TTL * 3).await;
    assert!(term.is_valid());
}

#[tokio::test(start_paused = true)]
async fn an_entry_removed_by_an_operator_ends_the_term_at_once() {
    let world = World::new();
    let (a, _) = world.process();
    let a = a.stand("e", "a").unwrap();
    let term = soon(a.elected()).await.unwrap();
    assert!(world.store.memory.remove_head(&ElectionName::new("e").unwrap()));
    assert_eq!(soon(term.ended()).await, EndReason::EntryRemoved);
    let again = soon(a.elected()).await.unwrap();
    assert!(again.token() > term.token());
}

#[tokio::test(start_paused = true)]
async fn a_session_removed_by_an_operator_ends_the_term_and_is_replaced() {
    let world = World::new();
    let (a, _) = world.process();
    let a = a.stand("e", "a").unwrap();
    let term = soon(a.elected()).await.unwrap();
    let election = ElectionName::new("e").unwrap();
    let session = world.store.memory.contenders(&election).await.unwrap()[0]
        .session
        .clone()
        .unwrap();
    assert!(world.store.memory.expire(&session));
    let reason = soon(term.ended()).await;
    assert!(
        matches!(reason, EndReason::EntryRemoved | EndReason::SessionLost),
        "{reason}"
    );
    let again = soon(a.elected()).await.unwrap();
    assert!(again.token() > term.token());
}

#[tokio::test(start_paused = true)]
async fn stop_returns_when_the_entry_is_gone_and_close_when_the_session_is() {
    let world = World::new();
    let (elections, _) = world.process();
    let a = elections.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    soon(a.stop()).await;
    assert_eq!(world.line().await, Vec::<String>::new());
    assert_eq!(world.store.memory.sessions(), 1, "kept for the next candidate");
    let b = elections.stand("e", "b").unwrap();
    soon(b.elected()).await.unwrap();
    soon(elections.close()).await;
    assert!(matches!(b.state(), State::Stopped(None)));
    assert_eq!(world.store.memory.sessions(), 0);
    assert!(
        matches!(elections.stand("e", "c"), Err(Error::Closed)),
        "rather than stand for ever in vain"
    );
}

#[tokio::test(start_paused = true)]
async fn stop_without_a_store_returns_when_the_session_can_only_be_gone() {
    let world = World::new();
    let (elections, way) = world.process();
    let a = elections.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    for operation in ["open", "renew", "close", "leave", "enter", "find"] {
        way.set(operation, Way::Blocked);
    }
    let start = Instant::now();
    soon(a.stop()).await;
    assert_eq!(world.line().await, Vec::<String>::new());
    // Until the deadline; then the TTL with the margin, after a renewal that may be under way for its timeout.
    let longest = TTL * 9 / 10 + TTL / 5 + TTL * 11 / 10;
    assert!(start.elapsed() <= longest, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_every_handle_releases_in_the_background() {
    let world = World::new();
    let ((a, _), (b, _)) = (world.process(), world.process());
    let leader = a.stand("e", "a").unwrap();
    soon(leader.elected()).await.unwrap();
    let b = b.stand("e", "b").unwrap();
    until(&b, waiting).await;
    let start = Instant::now();
    drop((leader, a));
    soon(b.elected()).await.unwrap();
    assert!(start.elapsed() < Duration::from_millis(10));
    soon(async {
        while world.store.memory.sessions() > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_millis(10),
        "the session was closed, not left to expire"
    );
}

#[tokio::test(start_paused = true)]
async fn work_is_dropped_at_the_deadline_wherever_it_is() {
    let world = World::new();
    let ((a, way), (b, _)) = (world.process(), world.process());
    let a = a.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    let b = b.stand("e", "b").unwrap();
    until(&b, waiting).await;
    way.set("renew", Way::Blocked);
    struct Tool(Candidate);
    impl Drop for Tool {
        fn drop(&mut self) {
            assert!(!self.0.is_leader(), "the work must be over before another leads");
        }
    }
    let tool = Tool(b.clone());
    let led = a.lead(|_| async move {
        let _tool = tool;
        std::future::pending::<()>().await;
    });
    assert!(matches!(
        soon(led).await,
        Err(Error::Ended(EndReason::DeadlinePassed))
    ));
    soon(b.elected()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_resignation_waits_for_the_work_to_end() {
    let world = World::new();
    let ((a, _), (b, _)) = (world.process(), world.process());
    let a = a.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    let b = b.stand("e", "b").unwrap();
    until(&b, waiting).await;
    let resigner = a.clone();
    let led = tokio::spawn(async move {
        a.lead(|term| async move {
            let reason = term.ending().await;
            // Longer than a renewal: the term is kept up meanwhile.
            sleep(TTL * 9 / 10).await;
            (reason, term.is_valid())
        })
        .await
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    soon(resigner.resign()).await.unwrap();
    assert!(start.elapsed() >= TTL * 9 / 10);
    assert_eq!(soon(led).await.unwrap().unwrap(), (EndReason::Resigned, true));
    soon(b.elected()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_ignores_a_resignation_is_dropped_after_the_drain_time() {
    let world = World::new();
    let (a, _) = world.process();
    let a = a.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    let worker = a.clone();
    let led = tokio::spawn(async move { worker.lead(|_| std::future::pending::<()>()).await });
    tokio::task::yield_now().await;
    soon(a.stop()).await;
    assert!(matches!(
        soon(led).await.unwrap(),
        Err(Error::Ended(EndReason::Stopped))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_ghost_made_by_a_late_enter_is_removed() {
    let world = World::new();
    let (elections, way) = world.process();
    // Applied long after it was given up, and after the candidate was stopped.
    way.set("enter", Way::Late(Duration::from_secs(12)));
    let follower = elections.follow("e").unwrap();
    let mut changes = follower.changes();
    let a = elections.stand("e", "a").unwrap();
    sleep(Duration::from_secs(1)).await;
    soon(a.stop()).await;
    assert!(matches!(soon(changes.next()).await, Some(Change::NoLeader)));
    assert!(matches!(soon(changes.next()).await, Some(Change::Leader(ghost)) if ghost.name() == "a"));
    assert!(matches!(
        timeout(TTL, changes.next()).await,
        Ok(Some(Change::NoLeader))
    ));
    way.heal();
    let again = elections.stand("e", "a2").unwrap();
    soon(again.elected()).await.unwrap();
    assert_eq!(world.line().await, ["a2"], "and one can stand again");
}

#[tokio::test(start_paused = true)]
async fn an_enter_whose_answer_is_lost_is_found_out_about() {
    let world = World::new();
    let (elections, way) = world.process();
    way.set("enter", Way::ReplyLost);
    let a = elections.stand("e", "a").unwrap();
    sleep(Duration::from_secs(1)).await;
    way.heal();
    soon(a.elected()).await.unwrap();
    assert_eq!(world.line().await, ["a"], "one entry, not two");
}

#[tokio::test(start_paused = true)]
async fn a_leave_applied_late_never_frees_a_later_term() {
    let world = World::new();
    let ((a, way), (b, _)) = (world.process(), world.process());
    let a = a.stand("e", "a").unwrap();
    let first = soon(a.elected()).await.unwrap();
    way.set("leave", Way::Late(Duration::from_secs(5)));
    let resigner = a.clone();
    let resignation = tokio::spawn(async move { resigner.resign().await });
    sleep(Duration::from_secs(3)).await;
    way.heal();
    soon(resignation).await.unwrap().unwrap();
    let second = soon(a.elected()).await.unwrap();
    let b = b.stand("e", "b").unwrap();
    until(&b, waiting).await;
    sleep(TTL).await;
    assert!(second.token() > first.token());
    assert!(
        second.is_valid() && !b.is_leader(),
        "the late leave of the first term freed nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn proclaiming_changes_the_value_and_not_the_term() {
    let world = World::new();
    let (elections, way) = world.process();
    let a = elections.stand("e", "old").unwrap();
    let term = soon(a.elected()).await.unwrap();
    let follower = elections.follow("e").unwrap();
    let mut changes = follower.changes();
    assert!(matches!(soon(changes.next()).await, Some(Change::Leader(leader)) if leader.name() == "old"));
    way.set("proclaim", Way::ReplyLost);
    let proclaimer = a.clone();
    let proclaimed = tokio::spawn(async move { proclaimer.proclaim("new").await });
    sleep(Duration::from_secs(1)).await;
    way.heal();
    soon(proclaimed).await.unwrap().unwrap();
    assert!(matches!(soon(changes.next()).await, Some(Change::Value(leader)) if leader.name() == "new"));
    assert!(term.is_valid());
    soon(a.resign()).await.unwrap();
    soon(a.elected()).await.unwrap();
    assert_eq!(world.line().await, ["new"], "the next term begins with it");
}

#[tokio::test(start_paused = true)]
async fn a_second_candidate_for_one_election_on_one_session_is_refused() {
    let world = World::new();
    let (elections, _) = world.process();
    let a = elections.stand("e", "a").unwrap();
    let error = elections.stand("e", "b").unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyStanding(name) if name.as_str() == "e"),
        "{error}"
    );
    elections.stand("other", "b").unwrap();
    soon(a.stop()).await;
    elections.stand("e", "b").unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_ends_the_campaign_and_says_why() {
    let world = World::new();
    for operation in ["open", "enter"] {
        let (elections, way) = world.process();
        way.set(operation, Way::Refused(ErrorKind::PermissionDenied));
        let a = elections.stand("e", "a").unwrap();
        let Err(Error::Stopped(Some(error))) = soon(a.elected()).await else {
            panic!("not stopped")
        };
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::PermissionDenied, operation)
        );
        way.heal();
        let again = elections.stand("e", "a").unwrap();
        soon(again.elected()).await.unwrap();
        soon(elections.close()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_pass_is_survived_and_told() {
    let world = World::new();
    for operation in ["open", "enter", "standing"] {
        let (elections, way) = world.process();
        way.set(operation, Way::Refused(ErrorKind::Unavailable));
        let a = elections.stand("e", "a").unwrap();
        let mut events = a.events();
        let told = soon(async {
            loop {
                if let Some(Event::Error(error)) = events.next().await {
                    return error.operation();
                }
            }
        });
        assert_eq!(told.await, operation);
        way.heal();
        soon(a.elected()).await.unwrap();
        soon(elections.close()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_never_reads_delays_nothing() {
    let world = World::new();
    let (elections, _) = world.process();
    let a = elections.stand("e", "a").unwrap();
    let mut events = a.events();
    for _ in 0..200 {
        soon(a.elected()).await.unwrap();
        soon(a.resign()).await.unwrap();
    }
    assert!(matches!(soon(events.next()).await, Some(Event::Missed(missed)) if missed > 0));
    soon(a.elected()).await.unwrap();
    assert!(a.is_leader());
}

#[tokio::test(start_paused = true)]
async fn followers_are_told_of_nobody_and_of_a_store_that_cannot_be_heard() {
    let world = World::new();
    let (elections, way) = world.process();
    let follower = elections.follow("e").unwrap();
    let mut changes = follower.changes();
    assert!(matches!(soon(changes.next()).await, Some(Change::NoLeader)));
    let a = elections.stand("e", "a").unwrap();
    assert!(matches!(soon(changes.next()).await, Some(Change::Leader(leader)) if leader.name() == "a"));
    soon(a.stop()).await;
    assert!(matches!(soon(changes.next()).await, Some(Change::NoLeader)));

    way.set("leader", Way::Refused(ErrorKind::Unavailable));
    let follower = elections.follow("e").unwrap();
    let mut changes = follower.changes();
    assert!(matches!(soon(changes.next()).await, Some(Change::Unreachable(_))));
    way.heal();
    assert!(matches!(soon(changes.next()).await, Some(Change::NoLeader)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_changes_goes_on_without_its_follower() {
    let world = World::new();
    let (elections, _) = world.process();
    let mut changes = elections.follow("e").unwrap().changes();
    assert!(matches!(soon(changes.next()).await, Some(Change::NoLeader)));
    let _a = elections.stand("e", "a").unwrap();
    assert!(matches!(soon(changes.next()).await, Some(Change::Leader(leader)) if leader.name() == "a"));
}

#[tokio::test(start_paused = true)]
async fn many_elections_share_one_session_and_its_renewals() {
    let world = World::new();
    let (elections, way) = world.process();
    let mut candidates = Vec::new();
    for index in 0..200 {
        candidates.push(elections.stand(format!("e{index}"), "a").unwrap());
    }
    for candidate in &candidates {
        soon(candidate.elected()).await.unwrap();
    }
    assert_eq!(way.calls("open"), 1);
    let before = way.calls("renew");
    sleep(TTL).await;
    assert!(
        way.calls("renew") - before <= 4,
        "one renewal per third of the TTL"
    );
    soon(elections.close()).await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_needed_and_missing_is_an_error() {
    let store = MemoryStore::new().shared();
    let result = std::thread::spawn(move || Elections::new(store, Config::default()).err())
        .join()
        .unwrap();
    assert!(matches!(result, Some(Error::NoRuntime)));
}
