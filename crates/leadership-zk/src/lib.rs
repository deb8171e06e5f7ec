//! The ZooKeeper store of `leadership`: [`ZkStore`] is a [`KvStore`](leadership_core::KvStore) on
//! [`zookeeper_client`].
//!
//! ```no_run
//! use leadership_core::{ElectionName, KvStore};
//! use leadership_zk::{ZkConfig, ZkStore};
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ZkConfig::from_url("zk://10.0.0.1,10.0.0.2,10.0.0.3/services?layout=latch")?;
//! let store = ZkStore::connect(config).await?;
//! for contender in store.contenders(&ElectionName::new("scheduler")?).await? {
//!     println!("{} {}", contender.order, contender.name());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is in ZooKeeper
//! An election `name` with the prefix `prefix` is the node `/prefix/name`, and its contenders are children of
//! it, named as the [`Layout`] says, so that candidates in Java, Python and Go stand in the same elections.
//!
//! | What | Where |
//! |---|---|
//! | session | a ZooKeeper session, with a connection of its own |
//! | entry of a contender | an ephemeral sequential child of `/prefix/name` |
//! | what it proclaims | the child's data; with `latch`, what it proclaims later is in `/prefix/name.values` |
//! | order in line | the number that ZooKeeper has put at the end of the child's name |
//! | [`Token`](leadership_core::Token) of a term | the child's `czxid` |
//! | leader | the entry with the lowest number |
//!
//! | Layout | Same election as |
//! |---|---|
//! | `latch` | Curator's `LeaderLatch` |
//! | `lock` | Curator's `LeaderSelector` and `InterProcessMutex`, go-zookeeper's `Lock`, docker/leadership |
//! | `kazoo` | kazoo's `Election` and `Lock` |
//!
//! Other children of the node do not count here and are logged once. Curator is not so tolerant: it sorts all
//! children, so keep layouts apart. An election may lie below another one's node (`a` and `a/b`).
//!
//! # What is promised
//! - What [`KvStore`](leadership_core::KvStore) says, on ZooKeeper 3.5 or later.
//! - **Few requests.** Standing costs a creation and a list, asked for together. (zookeeper-client leaves Nagle's
//!   algorithm on, so that the list mostly leaves only when the creation is answered.) When the leader goes, the next
//!   in line needs one list, however long the line is; none if it was second when it came: then it looks at its own
//!   entry, and on ZooKeeper 3.9 and later, with an unbroken connection, needs nothing at all.
//! - **Certainty.** A term ends before the ensemble may end its session, also when the server that we talk to
//!   is cut off from the others, or dies right after an answer.
//! - **No orphans.** An entry whose creation was given up is found by its unique name, and removed.
//! - **A silent session ends.** What nobody renews for a whole timeout is closed, although the client's own
//!   pings would keep it.
//! - **Several servers.** The client tries them in random order, with growing pauses between rounds; give all,
//!   and timeouts long enough for a few tries.
//! - **Errors name the remedy**, and neither they nor `Debug` nor the logs show a password or a key.
//!
//! # TLS
//! With the feature `tls`, which is off by default: zookeeper-client's TLS cannot be had without aws-lc-rs. Where
//! that meets another provider of rustls in one program, ring is made the process's default when the first store
//! with TLS is made, unless the program has chosen one before; so nothing panics.
//!
//! # What is not promised
//! A dead leader's session ends at the servers' first tick after its timeout. Fifteen sixteenths of the TTL are asked for:
//! with ticks of an eighth of the TTL, it ends when the TTL has gone by, on the average, and with longer ticks, so with
//! a TTL under 16 s and the default `tickTime` of 2 s, a little later.
//!
//! All servers have to grant the same timeout for what is asked: zookeeper-client tells only what was granted first, so
//! where `tickTime` or `maxSessionTimeout` is lowered, restart the programs before the servers. A tick must not be
//! longer than half of the shortest timeout (`minSessionTimeout` is two ticks unless told otherwise), and observers must
//! not get their signs of life by way of another observer.
//!
//! An entry that somebody deletes ends a term only when the watch tells; until then only tokens protect. After a
//! reconnection the client can watch some 100 KiB of paths, so a session takes about a thousand elections with short
//! names; one more is refused. Where more than some hundreds of entries wait, the others look for themselves only when
//! the one ahead has gone, with one request, and see only then if somebody has deleted them. With
//! [`ZkConfig::with_docker_leader`] the value on the election's node stays after the leader has gone, as
//! docker/leadership leaves it.
//!
//! zookeeper-client reads an answer of any length. Whatever listens at an address that is given can fill the memory,
//! for as long as a request may take.

mod certain;
mod client;
mod config;
mod error;
mod follow;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod given_up;
mod layout;
mod lead;
mod line;
mod reader;
mod session;
mod states;
mod store;
mod tasks;
#[cfg(feature = "tls")]
mod tls;
mod url;
mod value;
mod watch;

pub use config::{Parents, ZkAcl, ZkConfig};
pub use layout::Layout;
pub use leadership_core::address::Pem;
pub use store::ZkStore;
