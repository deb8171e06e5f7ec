//! How it ends when the store refuses, answers late, or when nobody waits: nothing hangs, and nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::Duration;

use futures_util::StreamExt;
use leadership_core::{Error, ErrorKind, State};
use tokio::time::{sleep, timeout};
use world::faulty::Way;
use world::{LONG, TTL, World, soon, until, waiting};

/// Whether the leader's stop, the next one's election and the closing come about.
async fn leave_refused(kind: ErrorKind) -> (bool, bool, bool) {
    let world = World::new();
    let ((ea, way), (eb, _)) = (world.process(), world.process());
    let a = ea.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    let b = eb.stand("e", "b").unwrap();
    until(&b, waiting).await;
    way.set("leave", Way::Refused(kind));
    let stopped = timeout(LONG, a.stop()).await.is_ok();
    let b_leads = timeout(LONG, b.elected()).await.is_ok();
    let closed = timeout(LONG, ea.close()).await.is_ok();
    (stopped, b_leads, closed)
}

#[tokio::test(start_paused = true)]
async fn dropping_after_an_unknown_enter_closes_the_session() {
    let world = World::new();
    let (elections, way) = world.process();
    way.set("enter", Way::ReplyLost);
    let a = elections.stand("e", "a").unwrap();
    sleep(Duration::from_secs(1)).await;
    way.heal();
    soon(a.elected()).await.unwrap();
    drop((a, elections));
    sleep(TTL * 20).await;
    assert_eq!(world.line().await, Vec::<String>::new());
    let finds = way.calls("find");
    sleep(TTL * 20).await;
    assert_eq!(
        (world.store.memory.sessions(), way.calls("find") - finds),
        (0, 0),
        "session leaked; finds go on"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leave_refused_for_good_holds_nobody_up() {
    assert_eq!(
        leave_refused(ErrorKind::PermissionDenied).await,
        (true, true, true),
        "(stop returns, b leads, close returns)"
    );
}

#[tokio::test(start_paused = true)]
async fn closing_removes_what_cannot_be_left() {
    assert!(leave_refused(ErrorKind::Unavailable).await.2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_refused_for_good_ends_the_campaign_and_frees_the_line() {
    let world = World::new();
    let ((ea, _), (eb, way), (ec, _)) = (world.process(), world.process(), world.process());
    let a = ea.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    way.set("standing", Way::Refused(ErrorKind::PermissionDenied));
    let b = eb.stand("e", "b").unwrap();
    sleep(Duration::from_millis(100)).await;
    let c = ec.stand("e", "c").unwrap();
    until(&c, waiting).await;
    soon(a.stop()).await;
    let c_leads = timeout(LONG, c.elected()).await.is_ok();
    assert!(
        c_leads,
        "nobody leads: b {:?}, line {:?}",
        b.state(),
        world.line().await
    );
}

#[tokio::test(start_paused = true)]
async fn a_proclaim_refused_for_good_says_so() {
    let world = World::new();
    let (e, way) = world.process();
    let a = e.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    way.set("proclaim", Way::Refused(ErrorKind::PermissionDenied));
    assert!(soon(a.proclaim("x")).await.is_err());
}

#[test]
fn a_successor_is_told_when_the_runtime_goes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let (again, elections) = runtime.block_on(async {
        let world = World::new();
        let (elections, way) = world.process();
        way.set("enter", Way::ReplyLost);
        let a = elections.stand("e", "a").unwrap();
        sleep(Duration::from_secs(1)).await;
        way.heal();
        soon(a.elected()).await.unwrap();
        soon(a.stop()).await;
        (elections.stand("e", "b").unwrap(), elections)
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    other.block_on(async {
        timeout(LONG, elections.close()).await.expect("close hangs");
        timeout(LONG, again.elected())
            .await
            .expect("elected hangs")
            .unwrap_err();
    });
}

#[tokio::test(start_paused = true)]
async fn a_ghost_taken_over_gets_the_present_value() {
    let world = World::new();
    let (elections, way) = world.process();
    way.set("enter", Way::Late(Duration::from_millis(3500)));
    let a = elections.stand("e", "a").unwrap();
    sleep(Duration::from_secs(1)).await;
    soon(a.stop()).await;
    way.set("enter", Way::Blocked);
    let again = elections.stand("e", "a2").unwrap();
    sleep(Duration::from_secs(2)).await;
    way.heal();
    soon(again.elected()).await.unwrap();
    sleep(TTL * 5).await;
    assert_eq!(world.line().await, ["a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_value_proclaimed_outlives_an_entry_made_late_with_the_old_one() {
    let world = World::new();
    let (elections, way) = world.process();
    way.set("enter", Way::Late(Duration::from_secs(8)));
    let a = elections.stand("e", "old").unwrap();
    sleep(Duration::from_secs(1)).await;
    way.heal();
    soon(a.elected()).await.unwrap();
    soon(a.proclaim("new")).await.unwrap();
    way.set("enter", Way::Blocked);
    soon(a.resign()).await.unwrap();
    sleep(Duration::from_secs(9)).await;
    way.heal();
    soon(a.elected()).await.unwrap();
    sleep(TTL * 5).await;
    assert_eq!(world.line().await, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn closing_goes_on_when_nobody_waits_for_it() {
    let world = World::new();
    let (elections, way) = world.process();
    let a = elections.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    way.set("leave", Way::Blocked);
    way.set("close", Way::Blocked);
    assert!(timeout(Duration::from_secs(1), elections.close()).await.is_err());
    way.heal();
    sleep(TTL * 10).await;
    assert!(matches!(a.state(), State::Stopped(_)));
    assert_eq!(world.store.memory.sessions(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_stop_is_the_error_that_cannot_pass() {
    let world = World::new();
    let (elections, way) = world.process();
    let a = elections.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    way.set("renew", Way::Refused(ErrorKind::Unauthenticated));
    way.set("close", Way::Blocked);
    until(&a, |s| matches!(s, State::Stopped(_))).await;
    let State::Stopped(Some(error)) = a.state() else {
        panic!()
    };
    assert_eq!(
        (error.operation(), error.kind()),
        ("renew", ErrorKind::Unauthenticated)
    );
}

#[tokio::test(start_paused = true)]
async fn events_of_a_stopped_candidate_end() {
    let world = World::new();
    let (elections, _) = world.process();
    let a = elections.stand("e", "a").unwrap();
    soon(a.stop()).await;
    let mut events = a.events();
    assert!(matches!(
        soon(events.next()).await,
        Some(leadership_core::Event::Stopped)
    ));
    assert!(soon(events.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_search_for_ghosts_refused_for_good_does_not_hold_up_the_end() {
    let world = World::new();
    let (elections, way) = world.process();
    way.set("enter", Way::Blocked);
    let a = elections.stand("e", "a").unwrap();
    sleep(Duration::from_secs(1)).await;
    way.set("enter", Way::Refused(ErrorKind::PermissionDenied));
    way.set("find", Way::Refused(ErrorKind::PermissionDenied));
    assert!(matches!(soon(a.elected()).await, Err(Error::Stopped(Some(_)))));
}

#[tokio::test(start_paused = true)]
async fn following_and_standing_need_no_runtime_of_their_own() {
    let world = World::new();
    let (elections, _) = world.process();
    let other = std::thread::spawn(move || {
        (
            elections.follow("e").err().map(|e| e.to_string()),
            elections.stand("e", "a").err().map(|e| e.to_string()),
        )
    })
    .join()
    .unwrap();
    assert_eq!(other, (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_leads_in_a_loop_hands_over_as_soon_as_its_work_has_ended() {
    let world = World::new();
    let ((ea, _), (eb, _)) = (world.process(), world.process());
    let a = ea.stand("e", "a").unwrap();
    soon(a.elected()).await.unwrap();
    let b = eb.stand("e", "b").unwrap();
    until(&b, waiting).await;
    let working = a.clone();
    let leading = tokio::spawn(async move {
        // What ends its work when it is asked to, and calls `lead` again, does not work on in the same term.
        for _ in 0..100 {
            match working.lead(|term| async move { term.ending().await }).await {
                Err(Error::Stopped(_)) => return,
                other => drop(other),
            }
        }
        panic!("work began again and again in a term that was asked to end");
    });
    sleep(Duration::from_millis(10)).await;
    let resigned = timeout(Duration::from_secs(1), a.resign()).await;
    assert!(
        resigned.is_ok(),
        "held up by work that began after it was asked to end"
    );
    soon(b.elected()).await.unwrap();
    soon(a.stop()).await;
    soon(leading).await.unwrap();
}
