//! Distributed leader election: the state machines, the trait for stores, candidates and followers.
//!
//! Applications usually depend on the crate `leadership`, which adds the stores and `connect("etcd://…")`.
//! This crate knows no store but [`MemoryStore`].
//!
//! ```
//! use leadership_core::{Config, Elections, Error, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let elections = Elections::new(MemoryStore::new().shared(), Config::default())?;
//! let candidate = elections.stand("service/scheduler", "node-1")?;
//! let term = candidate.elected().await?;
//! assert!(term.is_valid() && candidate.is_leader());
//!
//! let follower = elections.follow("service/scheduler")?;
//! assert_eq!(follower.led().await?.name(), "node-1");
//!
//! candidate.stop().await;
//! assert!(!term.is_valid());
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//! ```text
//! what you hold      Elections ──▶ Candidate ──▶ Term          Follower
//!                        │             ▲                          ▲
//! tasks              driver::session, driver::election            │
//!                        │  poll_action ▲ handle_reply            │
//! pure machines      session        election                      │
//!                        ▼             │                          │
//! the store          KvStore: open renew close · enter standing leave proclaim · leader contenders
//! ```
//! The two machines hold all there is to know about electing; they have no clock, no I/O and no async, so that
//! a model checker, a simulator and the drivers run the very same code.

pub mod address;
mod backoff;
mod candidate;
mod config;
mod driver;
pub mod election;
mod elections;
mod error;
#[cfg(test)]
mod fixtures;
mod follower;
mod memory;
mod name;
mod post;
mod registry;
pub mod session;
mod store;
mod term;
mod time;
mod validity;

pub use backoff::Backoff;
pub use candidate::{Candidate, Event, State};
pub use config::{Config, Pace};
pub use election::EndReason;
pub use elections::Elections;
pub use error::{Error, ErrorKind, InvalidInput, Outcome, StoreError};
pub use follower::{Change, Follower, View};
pub use memory::MemoryStore;
pub use name::ElectionName;
pub use store::{
    Ahead, Contender, DynStore, KvStore, Leader, Limits, Place, Session, SessionId, Standing, Token,
};
pub use term::Term;
pub use time::{BootClock, Clock, Timestamp, TokioClock};
