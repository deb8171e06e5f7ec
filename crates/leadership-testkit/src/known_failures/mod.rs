//! The known failures of other libraries: each is a case here, named after the issue where it hurt, and run on every
//! store that it applies to.
//!
//! | cases | for |
//! |---|---|
//! | [`everywhere`] | any store, the one in memory included |
//! | [`over_the_network`] | real servers, whose clients can be cut off and whose nodes can die |
//! | [`on_etcd`], [`on_consul`] | what only that store can do to its clients |
//!
//! A store's test is a [`Harness`](crate::conformance::Harness), as the conformance suite has it, which is
//! [`Networked`] as well, and one call of [`trials::main`](crate::trials::main).
//!
//! One failure is a process's and not a store's: `consul lock` leaves the children of its command running when it has
//! lost the lock (hashicorp/consul#2022), and kills the command itself a minute and a half late (#9788). The tests of
//! the command, in `crates/leadership-cli/tests/run.rs`, show that ours does not:
//! `when_leadership_is_killed_its_command_and_grandchild_are_dead_before_the_next_starts`,
//! `what_the_command_leaves_behind_is_ended_before_anybody_else_leads`, and for the delay
//! `when_the_store_is_lost_the_command_is_dead_by_the_deadline` and
//! `when_leadership_is_stopped_the_guard_kills_its_command_by_the_deadline`. That the command gives its place up when
//! it is told to end (google/trillian#3789) is shown there too, by
//! `signals_are_passed_on_and_the_commands_code_is_ours`.
//!
//! A case that fails panics, so this is for tests only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

mod consul;
mod etcd;
mod everywhere;
mod ground;
mod network;
mod reconnection;

use crate::trials::Case;

pub use consul::{OnConsul, on_consul};
pub(crate) use etcd::compact;
pub use etcd::{OnEtcd, on_etcd};
pub use everywhere::everywhere;
pub use ground::{Ground, Networked, Nodes};
pub(crate) use ground::{TTL, behind_proxy, in_line, named, pair, process};

/// Cases for real servers.
pub fn over_the_network<G: Networked>() -> Vec<Case<G>> {
    let mut cases = network::cases();
    cases.extend(reconnection::cases());
    cases
}
