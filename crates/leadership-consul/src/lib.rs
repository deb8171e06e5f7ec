//! The Consul store of `leadership`: [`ConsulStore`] is a [`KvStore`](leadership_core::KvStore) on Consul's HTTP
//! API.
//!
//! ```no_run
//! use leadership_consul::{ConsulConfig, ConsulStore};
//! use leadership_core::{ElectionName, KvStore};
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ConsulConfig::from_url("consul://127.0.0.1:8500/services?token_file=/etc/scheduler/token")?;
//! let store = ConsulStore::connect(config).await?;
//! for contender in store.contenders(&ElectionName::new("scheduler")?).await? {
//!     println!("{} {}", contender.order, contender.name());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is in Consul
//! The lock of Go's `api.Lock` (Consul `api/lock.go`), so that docker/leadership, Vault and others stand in the same
//! elections; with `layout=lock-command` that of `consul lock`. An election `name` with the prefix `prefix` is
//! `prefix/name` there; without a prefix it is `name`.
//!
//! | What | Where |
//! |---|---|
//! | session | a session whose end deletes its keys |
//! | leader | the session that holds the key `prefix/name`, flags 0x2ddccbc058a50c18; with `lock-command` `prefix/name/.lock` |
//! | what it proclaims | that key's value |
//! | entry of a contender | key `prefix/name.line/<session>`, held by the session; its flags say `leadwait` or `leadlead` |
//! | order in line | the entries' create index |
//! | [`Token`](leadership_core::Token) of a term | the lock's modify index when it was taken, which is the modify index of the leader's entry |
//!
//! Consul's own lock has no line: whoever comes at the right moment has it. Our contenders wait in the side keys, and
//! only the first of them watches the lock. A leader that resigns hands it to that one in a single transaction, so
//! that it is never free. Contenders that know no line (Go's, `consul lock`) may overtake where the lock gets free by
//! the end of a session; two leaders they cannot make, because the lock decides.
//!
//! A key that somebody keeps something else in (other flags, no session, not empty) is not taken: all wait, and say
//! that it is foreign, until it is removed.
//!
//! # How fast a dead leader is replaced
//! [`Liveness::Check`], the default at the one address of a local agent, binds the session to a TTL check at that
//! agent: with a ttl of 2 s the next leader is there 2 s after the last sign of life. [`Liveness::Session`], the default
//! at several addresses, needs no agent, and a ttl of at least 10 s; it takes 20 s and a third of the ttl, and from a ttl
//! of 30 s on the ttl.
//! Half of the ttl (a third with `session`) is the lock-delay, which keeps others out in case Consul drops a session
//! early: that is why a leader believes for that part of the ttl only.
//!
//! # What is promised
//! - What [`KvStore`](leadership_core::KvStore) says, on Consul 1.8 or later.
//! - **Few requests.** Standing costs one transaction where nobody leads. A handover costs a transaction, two new
//!   watches and a look at the line, however long that is: a leader looks who is next soon after its election, and
//!   then less and less often, so that its resignation need not.
//! - **Fresh at both ends.** A renewal goes to the agent and to the servers, and both have to acknowledge it. So while
//!   the servers elect a leader of their own, terms end whose certain part is shorter than that.
//! - **Several addresses.** One is asked at a time. A request that certainly changed nothing goes to the next at
//!   once; after any other failure of a path, or a request dropped unanswered, the next request begins at another, and
//!   the watches move there. A check stays at the agent that has it.
//! - **Refusals that pass are waited out.** An agent that has not found the servers yet refuses a token that is right. A
//!   token that was accepted once is refused for good after a minute; one that never was, at once.
//! - **Nothing is left.** Sessions and checks are removed on stop; those of a dead process Consul removes by itself,
//!   the check a minute after it became critical.
//! - **Errors name the remedy**, and neither they nor `Debug` nor the logs show a token or a key.
//!
//! What is not: a session that somebody destroys, or a lock that somebody deletes, ends a term only when the watch
//! tells; until then only tokens protect. An entry that somebody deletes is noticed by who waits after half a minute.
//! An agent takes 200 connections from one address unless told otherwise (`limits.http_max_conns_per_client`), and
//! every election takes one.

mod access;
mod answer;
mod check;
mod client;
mod config;
mod error;
mod follow;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod lead;
mod line;
mod session;
mod store;
mod tls;
mod turns;
mod url;
mod watch;
mod wire;

pub use config::{ConsulConfig, Layout, Liveness};
pub use leadership_core::address::Pem;
pub use store::ConsulStore;
