//! Distributed leader election: several processes stand, one leads, another takes over when it dies.
//!
//! The store that decides is named by a URL: [`connect`] knows `etcd://…` (feature `etcd`, on by default),
//! `consul://…` (feature `consul`), `zk://…` (feature `zk`) and `memory://` (this process only, for tests).
//! Everything else is the same for all of them.
//!
//! # A candidate
//! ```no_run
//! use leadership::{Config, Elections, Error, Term, connect};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let store = connect("etcd://127.0.0.1:2379").await?;
//!     let elections = Elections::new(store, Config::default())?;
//!     let candidate = elections.stand("service/scheduler", "node-1")?;
//!     let done = candidate.lead(work).await; // at the deadline the work is dropped, wherever it is
//!     println!("{done:?}");
//!     candidate.stop().await;
//!     Ok(())
//! }
//!
//! async fn work(term: Term) {
//!     println!("leading; every write carries the fencing token {}", term.token());
//! }
//! ```
//! When [`Candidate::lead`] says that the term has ended, the candidate stands again by itself: call it again.
//!
//! # A follower
//! ```no_run
//! use futures_util::StreamExt;
//! use leadership::{Config, Elections, Error, connect};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let store = connect("etcd://127.0.0.1:2379").await?;
//!     let elections = Elections::new(store, Config::default())?;
//!     let mut changes = elections.follow("service/scheduler")?.changes();
//!     while let Some(change) = changes.next().await {
//!         println!("{change:?}"); // another leader, another value, no leader, or the store unreachable
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Where a URL is not enough, [`etcd`], [`consul`] and [`zk`] have a configuration and a store each, for
//! [`Elections::new`].
//!
//! # What is promised
//! At any time at most one [`Term`] of an election is valid, as long as nobody removes entries at the store by
//! hand. Validity is computed from the clock when you ask. Work that may outlive its term, because a write is
//! already on its way, is what the [`Token`] is for: it grows from term to term, so the resource can refuse
//! whatever is older than it has seen.

mod connect;

pub use connect::connect;
#[cfg(feature = "consul")]
#[doc(no_inline)]
pub use leadership_consul as consul;
pub use leadership_core::*;
#[cfg(feature = "etcd")]
#[doc(no_inline)]
pub use leadership_etcd as etcd;
#[cfg(feature = "zk")]
#[doc(no_inline)]
pub use leadership_zk as zk;

/// The programs of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
