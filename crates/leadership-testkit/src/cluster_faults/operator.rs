//! Somebody removes what the leader has at the store, by hand: the next one is elected at once, and until the old one is
//! notified two believe.

use std::sync::Arc;

use leadership_core::EndReason;

use super::ground::Ground;
use super::scene::Scene;
use super::verdict::Expected;
use crate::trials::{Case, cases, now};

/// So many times the usual ttl, so that whoever learns at once was notified, and has not merely renewed.
const LONG: u32 = 3;

pub(super) fn cases<G: Ground>() -> Vec<Case<G>> {
    cases![
        a_leader_whose_entry_is_deleted_is_notified_at_once,
        a_leader_whose_session_is_ended_is_notified_at_once,
    ]
}

async fn a_leader_whose_entry_is_deleted_is_notified_at_once<G: Ground>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let scene = Scene::set::<G>(cluster, "deleted", LONG * G::TTL).await;
    let (place, _) = scene.head().await;
    let fault = now();
    G::delete(cluster, &place).await.unwrap();
    let removed = now();
    scene.succeeded(fault).await;
    let expected = Expected::ends(&[EndReason::EntryRemoved]).by_hand().once();
    scene.verdict(removed, removed, expected).await;
}

async fn a_leader_whose_session_is_ended_is_notified_at_once<G: Ground>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let scene = Scene::set::<G>(cluster, "ended", LONG * G::TTL).await;
    let (_, session) = scene.head().await;
    let fault = now();
    G::end(cluster, &session).await.unwrap();
    let ended = now();
    scene.succeeded(fault).await;
    // Its entry goes with it, and either may be told first.
    let expected = Expected::ends(&[EndReason::SessionLost, EndReason::EntryRemoved]);
    scene.verdict(ended, ended, expected.by_hand().once()).await;
}
