//! What only etcd does to its clients: it forgets what was.

use std::sync::Arc;

use super::ground::Ground;
use super::scene::Scene;
use super::verdict::Expected;
use crate::cluster::Etcd;
use crate::known_failures::compact;
use crate::trials::{Case, cases, now};

/// An etcd.
pub trait OnEtcd: Ground<Server = Etcd> {}

impl<G: Ground<Server = Etcd>> OnEtcd for G {}

/// Cases for etcd.
pub fn on_etcd<G: OnEtcd>() -> Vec<Case<G>> {
    cases![a_compaction_under_waiting_candidates_leaves_each_its_turn]
}

/// What their watches began from is forgotten, and more than once. That they are told all the same shows when the ones
/// ahead leave, which ends every case.
async fn a_compaction_under_waiting_candidates_leaves_each_its_turn<G: OnEtcd>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let scene = Scene::set::<G>(cluster, "compacted", G::TTL).await;
    let fault = now();
    for _ in 0..3 {
        compact(cluster).await;
    }
    scene.verdict(fault, now(), Expected::goes_on()).await;
}
