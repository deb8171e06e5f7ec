//! The leader's process is killed or stopped, or its network is cut. The store is whole all the time, and shared.

use std::sync::Arc;
use std::time::Duration;

use leadership_core::EndReason;
use rustix::process::Signal;
use tokio::time::sleep;

use super::ground::Ground;
use super::scene::Scene;
use super::verdict::Expected;
use crate::cluster::Proxy;
use crate::trials::{Case, cases, eventually, now};

/// Whatever the lag.
const PAUSED: &[EndReason] = &[EndReason::Paused(Duration::ZERO)];

pub(super) fn cases<G: Ground>() -> Vec<Case<G>> {
    cases![
        a_leader_killed_is_followed_within_the_ttl,
        a_leader_stopped_for_longer_than_the_ttl_leads_no_more_when_it_goes_on,
        a_leader_stopped_for_less_than_the_ttl_leads_on,
        a_leader_whose_network_is_cut_stops_believing_before_another_leads,
        a_leader_whose_requests_are_lost_stops_believing_before_another_leads,
        a_leader_that_hears_no_replies_stops_believing_before_another_leads,
    ]
}

async fn a_leader_killed_is_followed_within_the_ttl<G: Ground>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let mut scene = Scene::set::<G>(cluster, "killed", G::TTL).await;
    let fault = now();
    scene.leader().kill().await;
    scene.succeeded(fault).await;
    // A dead process is told nothing.
    scene.verdict(fault, fault, Expected::ends(&[]).once()).await;
}

async fn a_leader_stopped_for_longer_than_the_ttl_leads_no_more_when_it_goes_on<G: Ground>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let mut scene = Scene::set::<G>(cluster, "stopped", G::TTL).await;
    let fault = now();
    scene.leader().witness.signal(Signal::STOP);
    scene.succeeded(fault).await;
    sleep((fault + 2 * G::TTL).saturating_since(now())).await;
    let continued = now();
    scene.leader().witness.signal(Signal::CONT);
    eventually("it is told", async || {
        scene.members[0].witness.record().leads().is_none()
    })
    .await;
    let told = scene.members[0].witness.record();
    let Some((_, EndReason::Paused(lag))) = told.terms[0].over else {
        panic!("{told:?}")
    };
    let stopped = now().saturating_since(fault);
    assert!(lag > G::TTL / 2 && lag < stopped, "{lag:?} of {stopped:?}");
    let expected = Expected::ends(PAUSED).once();
    scene.verdict(fault, continued, expected).await;
}

async fn a_leader_stopped_for_less_than_the_ttl_leads_on<G: Ground>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let mut scene = Scene::set::<G>(cluster, "blink", G::TTL).await;
    let fault = now();
    for _ in 0..3 {
        scene.leader().witness.signal(Signal::STOP);
        sleep(G::TTL / 5).await;
        let continued = now();
        scene.leader().witness.signal(Signal::CONT);
        scene.settled(continued).await;
    }
    scene.verdict(fault, fault, Expected::goes_on()).await;
}

async fn a_leader_whose_network_is_cut_stops_believing_before_another_leads<G: Ground>(ground: Arc<G>) {
    cut(ground, "cut", Proxy::stall, Duration::ZERO).await;
}

/// What the store tells still comes through, such as that another leads.
async fn a_leader_whose_requests_are_lost_stops_believing_before_another_leads<G: Ground>(ground: Arc<G>) {
    cut(ground, "requests-lost", Proxy::stall_requests, Duration::ZERO).await;
}

/// Its renewals arrive, and keep the session alive that it cannot rely on any more, until it gives up trying: for a ttl
/// at most.
async fn a_leader_that_hears_no_replies_stops_believing_before_another_leads<G: Ground>(ground: Arc<G>) {
    cut(ground, "replies-lost", Proxy::stall_replies, G::TTL).await;
}

async fn cut<G: Ground>(ground: Arc<G>, what: &str, cut: fn(&Proxy), delay: Duration) {
    let cluster = ground.shared().started(G::launch()).await;
    let mut scene = Scene::set::<G>(cluster, what, G::TTL).await;
    let fault = now();
    scene.leader().on_its_ways(cut);
    scene.succeeded(fault).await;
    scene.leader().resume_ways().await;
    let expected = Expected::ends(&[EndReason::DeadlinePassed])
        .later_by(delay)
        .once();
    scene.verdict(fault, now(), expected).await;
}
