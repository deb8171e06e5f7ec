//! What becomes of an election of three processes when one of them, its way to the store, or the store itself is
//! broken: written once, and run on three real nodes of each store.
//!
//! | cases | what breaks |
//! |---|---|
//! | [`everywhere`]: `candidates` | the leader's process, or its network |
//! | [`everywhere`]: `servers` | one of the servers, each of them in turn, or all |
//! | [`everywhere`]: `operator` | what the leader has at the store, by hand |
//! | [`on_etcd`], [`on_consul`] | what only that store can do to its clients |
//!
//! Each case sets a scene: the candidates are [witnesses](crate::witness) with connections of their own, a follower
//! looks at the election by another path. After the fault the same is asked of all of them, in `verdict`: that no two
//! terms were valid at once, that tokens grew, that the old leader was told why, that a leader was there in time, that
//! nobody is stuck, and that the follower has seen it.
//!
//! A case that fails panics, so this is for tests only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

mod candidates;
mod consul;
mod etcd;
mod ground;
mod operator;
mod scene;
mod servers;
mod verdict;
mod zk;

use crate::trials::{self, Case};
use crate::witness;

pub use consul::{OnConsul, on_consul};
pub use etcd::{OnEtcd, on_etcd};
pub use ground::{CANDIDATES, Ground, SERVERS};
pub use zk::{OnZk, on_zk};

/// Clusters of their own that start and break at once; on two processors more of them make elections of the servers
/// slow.
const SIDE_BY_SIDE: usize = 3;

/// Cases for every store.
pub fn everywhere<G: Ground>() -> Vec<Case<G>> {
    let mut cases = servers::cases();
    cases.extend(candidates::cases());
    cases.extend(operator::cases());
    cases
}

/// Cases for stores whose clients talk to the servers themselves.
pub fn beside_servers<G: Ground>() -> Vec<Case<G>> {
    servers::beside_servers()
}

/// Runs cases as a test binary does, and exits; or is one of their candidates.
pub fn main<G: Ground>(cases: Vec<Case<G>>) {
    if !witness::serve(G::CONNECT) {
        trials::main_with(SIDE_BY_SIDE, cases);
    }
}
