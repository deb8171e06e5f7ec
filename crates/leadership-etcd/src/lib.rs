//! The etcd v3 store of `leadership`: [`EtcdStore`] is a [`KvStore`](leadership_core::KvStore) on
//! [`etcd_client`].
//!
//! ```no_run
//! use leadership_core::{ElectionName, KvStore};
//! use leadership_etcd::{EtcdConfig, EtcdStore};
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let config = EtcdConfig::from_url("etcd://10.0.0.1,10.0.0.2,10.0.0.3/services?ca=/etc/etcd/ca.pem")?;
//! let store = EtcdStore::connect(config).await?;
//! for contender in store.contenders(&ElectionName::new("scheduler")?).await? {
//!     println!("{} {}", contender.order, contender.name());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is in etcd
//! The layout of Go's `concurrency.Election` (etcd `client/v3/concurrency/election.go`), so that candidates
//! in Go, `etcdctl elect` and the v3election service stand in the same elections. An election `name` with the
//! prefix `prefix` is `prefix/name` there; without a prefix it is `name`.
//!
//! | What | Where |
//! |---|---|
//! | session | a lease, and another one after each election of etcd's own leader |
//! | entry of a contender | key `prefix/name/<first lease in lower-case hex>`, attached to the session's lease |
//! | what it proclaims | the key's value |
//! | order in line, and the [`Token`](leadership_core::Token) of a term | the key's create revision |
//! | leader | the entry with the lowest create revision |
//!
//! Any other key that begins with `prefix/name/` is *foreign*: all contenders wait behind it, as those in Go
//! do, and while it is first nobody leads. The entries of an election `name/sub` are foreign in `name`, so do
//! not nest names.
//!
//! # What is promised
//! - What [`KvStore`](leadership_core::KvStore) says, on etcd 3.4 or later.
//! - **Few requests.** Standing costs one transaction. When the leader goes, the next in line needs no read if
//!   it was second when it came, and one otherwise, however long the line is. A store has one watch stream for
//!   all its elections, and each session one keep-alive stream.
//! - **Several endpoints.** One is asked at a time. A request that certainly changed nothing (no connection,
//!   or a member without a leader) goes to the next endpoint at once; after any other failure of a path, or a
//!   request dropped unanswered, the next request begins at another, and the watches move there.
//! - **Hung paths are noticed** within 10 s by HTTP/2 pings, and sooner where a request is dropped unanswered.
//! - **Errors name the remedy**, and neither they nor `Debug` nor the logs show a password or a key.
//!
//! A leader of etcd that was frozen may have leases revoked that were renewed elsewhere meanwhile
//! (etcd-io/etcd#15247). It knows only leases of its own time, so every session moves to a new one as soon as an answer
//! tells of a later term: a request to grant it, one for each entry, and one to revoke the old lease.
//!
//! What is not: a lease that somebody revokes, or an entry that somebody deletes, ends a term only when the
//! watch tells; until then only tokens protect.
//!
//! # Building
//! etcd-client compiles etcd's protocol files, for which it needs `protoc` (Debian: `protobuf-compiler`) on
//! the `PATH`, or named by the environment variable `PROTOC`. This crate cannot bring it along: a dependency
//! cannot set the environment of another's build script.

mod client;
mod config;
mod error;
mod follow;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod leases;
mod line;
mod moves;
mod session;
mod store;
mod url;
mod watch;
mod watch_task;

pub use config::EtcdConfig;
pub use leadership_core::address::Pem;
pub use store::EtcdStore;
