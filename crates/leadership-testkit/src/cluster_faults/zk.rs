//! What only ZooKeeper does to its clients: a session goes with whoever shows its password last.

use std::sync::Arc;

use async_trait::async_trait;
use leadership_core::Session;

use super::ground::Ground;
use super::scene::Scene;
use super::verdict::Expected;
use crate::cluster::{Cluster, Zk};
use crate::trials::{Case, cases, now};

/// A ZooKeeper.
#[async_trait(?Send)]
pub trait OnZk: Ground<Server = Zk> {
    /// Takes over another's session, by a connection that ends soon.
    async fn take_over(cluster: &Cluster<Zk>, session: &Session) -> anyhow::Result<()>;
}

/// Cases for ZooKeeper.
pub fn on_zk<G: OnZk>() -> Vec<Case<G>> {
    cases![a_leader_whose_session_moves_to_another_connection_takes_it_back]
}

async fn a_leader_whose_session_moves_to_another_connection_takes_it_back<G: OnZk>(ground: Arc<G>) {
    let cluster = ground.shared().started(G::launch()).await;
    let scene = Scene::set::<G>(cluster, "moved", G::TTL).await;
    let (_, session) = scene.head().await;
    let fault = now();
    for _ in 0..3 {
        G::take_over(cluster, &session).await.unwrap();
        scene.settled(now()).await;
    }
    scene.verdict(fault, now(), Expected::goes_on()).await;
}
