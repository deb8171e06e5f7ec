//! What only Consul does to its clients: it has an agent beside each of them, which keeps the check that a session lives
//! by.

use std::sync::Arc;

use super::ground::{Ground, SERVERS};
use super::scene::Scene;
use super::servers::LOST;
use super::verdict::Expected;
use crate::cluster::Consul;
use crate::trials::{Case, cases, now};

/// A Consul, with an agent for each candidate after the servers.
pub trait OnConsul: Ground<Server = Consul> {}

impl<G: Ground<Server = Consul>> OnConsul for G {}

/// Cases for Consul.
pub fn on_consul<G: OnConsul>() -> Vec<Case<G>> {
    cases![a_restart_of_the_leaders_agent_makes_no_two_leaders]
}

async fn a_restart_of_the_leaders_agent_makes_no_two_leaders<G: OnConsul>(_: Arc<G>) {
    let cluster = G::launch().await.unwrap();
    let scene = Scene::set::<G>(&cluster, "agent-restart", G::TTL).await;
    let fault = now();
    cluster.kill(SERVERS).await.unwrap();
    cluster.start_node(SERVERS).await.unwrap();
    cluster.wait_all_healthy().await.unwrap();
    scene
        .verdict(fault, now(), Expected::ends(LOST).may_go_on())
        .await;
    cluster.remove().await.unwrap();
}
