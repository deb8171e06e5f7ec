//! The line of contenders as it is in ZooKeeper: the node of an election, its children in their order, and the
//! requests that make, find and remove entries.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use futures_util::future::join;
use leadership_core::{
    Ahead, Contender, ElectionName, InvalidInput, Place, SessionId, Standing, StoreError, Token,
};
use tracing::{debug, warn};
use uuid::Uuid;
use zookeeper_client::{Client, CreateMode, Error as ZkError, Stat};

use crate::client::{Link, lock, session_name};
use crate::config::{Parents, Permissions, ZkConfig};
use crate::error::{self, Effect, STORE};
use crate::layout::{Layout, check_path, check_root};
use crate::reader::Reader;
use crate::session::Live;

/// How often the way to an entry is made anew when the server removes it in between, as it does with containers.
const TRIES: u32 = 5;
/// Of how many nodes it is remembered that their foreign children were told of.
const WARNED_MAX: usize = 1024;

/// Reads and changes the lines of a store; shared by the store and its streams.
pub(crate) struct Line {
    pub(crate) reader: Reader,
    /// Whether a leader writes its value on the election's node as well.
    pub(crate) docker_leader: bool,
    pub(crate) layout: Layout,
    prefix: String,
    parents: Parents,
    pub(crate) permissions: Permissions,
    warned: Mutex<HashSet<String>>,
}

/// Who is ahead of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) key: Arc<str>,
    /// Whether nobody is ahead of that one: when it goes, the place is first.
    pub(crate) leads: bool,
}

/// Where a place stands, by a list of the children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Gone,
    First,
    Behind(Before),
}

impl Stands {
    /// As the trait tells it.
    pub(crate) fn standing(&self, place: &Place) -> Standing {
        match self {
            Self::Gone => Standing::Gone,
            Self::First => Standing::First(Token(place.fence)),
            Self::Behind(before) => Standing::Behind(Ahead {
                key: Arc::clone(&before.key),
                foreign: false,
            }),
        }
    }
}

impl Line {
    pub(crate) fn new(config: &ZkConfig, reader: Reader) -> Result<Self, InvalidInput> {
        Ok(Self {
            reader,
            docker_leader: config.docker_leader,
            layout: config.layout,
            prefix: config.prefix.clone(),
            parents: config.parents(),
            permissions: Permissions::new(config)?,
            warned: Mutex::default(),
        })
    }

    /// The node of an election.
    pub(crate) fn node(
        &self,
        operation: &'static str,
        election: &ElectionName,
    ) -> Result<String, StoreError> {
        let (what, path) = if self.prefix.is_empty() {
            ("election name", election.to_string())
        } else {
            ("path", format!("{}/{election}", self.prefix))
        };
        match check_path("election name", election.as_str()).and_then(|()| check_root(what, &path)) {
            Ok(()) => Ok(format!("/{path}")),
            Err(invalid) => Err(invalid.into_store_error(STORE, operation)),
        }
    }

    /// Makes an entry and tells where it stands: two requests, one round trip, because ZooKeeper answers the
    /// requests of a session in their order.
    pub(crate) async fn make(
        &self,
        live: &Live,
        election: &ElectionName,
        value: &[u8],
    ) -> Result<(Place, Stands), StoreError> {
        let node = self.node("enter", election)?;
        let failed = |error: &ZkError| error::failed("enter", &node, Effect::Write, error);
        let unique = Uuid::new_v4();
        let name = format!("{node}/{}", self.layout.name(&unique));
        // Known before it is asked for: whoever gives up on this can find the entry.
        live.note(election, |made| made.doubtful.push_back(unique));
        let settled = || {
            live.note(election, |made| {
                made.doubtful.retain(|doubtful| *doubtful != unique)
            })
        };
        for _ in 0..TRIES {
            let client = live.link.client().await.map_err(|error| failed(&error))?;
            let options = self.permissions.of(CreateMode::EphemeralSequential);
            let both = join(client.create(&name, value, &options), client.list_children(&node));
            let (created, listed) = live
                .link
                .ask(async { Ok(both.await) })
                .await
                .map_err(|error| failed(&error))?;
            let (stat, number) = match created {
                Ok(created) => created,
                Err(ZkError::NoNode) => {
                    // Nothing was made, and no later request has this name.
                    if let Err(error) = live.link.ask(self.make_way(&client, &node)).await {
                        settled();
                        return Err(failed(&error));
                    }
                    continue;
                }
                Err(error) => {
                    if !error::is_unknown(&error) {
                        settled();
                    }
                    return Err(failed(&error));
                }
            };
            let key: Arc<str> = format!("{name}{number}").into();
            live.note(election, |made| {
                made.doubtful.retain(|doubtful| *doubtful != unique);
                made.answered = Some(unique);
            });
            // ClickHouse Keeper replaces an expired session by another without a word.
            if stat.ephemeral_owner != live.link.number {
                warn!(%key, "made for another session than ours: ending both");
                live.link.end();
                return Err(error::session_gone("enter", live.id().as_str()));
            }
            let children = match listed {
                Ok(children) => children,
                Err(error) if error::is_unknown(&error) => return Err(failed(&error)),
                // Who may make entries but not see them would hold up everybody.
                Err(error) => {
                    match live.link.ask(client.delete(&key, None)).await {
                        Ok(()) | Err(ZkError::NoNode) => return Err(failed(&error)),
                        // It goes with the session.
                        Err(_) => {
                            live.link.end();
                            return Err(error::session_gone("enter", live.id().as_str()));
                        }
                    }
                }
            };
            let place = self.place(live, election, key, &stat);
            let children = self.without_ghosts(live, &place, children).await;
            let children = children.map_err(|error| failed(&error))?;
            let stands = self.stands(&place, &children);
            return Ok((place, stands));
        }
        settled();
        Err(error::unavailable(
            "enter",
            format!("{node} was removed as often as it was made; give parents=persistent"),
        ))
    }

    /// Makes the election's node and what is missing above it.
    pub(crate) async fn make_way(&self, client: &Client, node: &str) -> Result<(), ZkError> {
        let made = match self.parents {
            Parents::Container => {
                client
                    .mkdir(node, &self.permissions.of(CreateMode::Container))
                    .await
            }
            Parents::Persistent => Err(ZkError::Unimplemented),
        };
        match made {
            // Also of a server that knows no containers.
            Err(ZkError::Unimplemented) => {
                client
                    .mkdir(node, &self.permissions.of(CreateMode::Persistent))
                    .await
            }
            made => made,
        }
    }

    /// Removes an entry. Its path names this entry only, so that it needs no other fence.
    pub(crate) async fn remove(&self, link: &Link, key: &str) -> Result<(), ZkError> {
        let client = link.client().await?;
        match link.ask(client.delete(key, None)).await {
            Err(ZkError::NoNode) => Ok(()),
            answer => answer,
        }
    }

    /// Writes a leader's value where followers of docker/leadership read it. Fenced by the version of the leader's
    /// entry: the transaction does nothing when that is gone, or has another value by now.
    pub(crate) async fn tell_docker(
        &self,
        link: &Link,
        key: &str,
        value: &[u8],
        version: i32,
    ) -> Result<(), ZkError> {
        let client = link.client().await?;
        let mut both = client.new_multi_writer();
        both.add_check_version(key, version)?;
        both.add_set_data(node_of(key), value, None)?;
        let committed = both.commit();
        link.ask(async { committed.await.map(drop).map_err(ZkError::from) })
            .await
    }

    /// Everybody in line, in the latest state.
    pub(crate) async fn contenders(&self, election: &ElectionName) -> Result<Vec<Contender>, StoreError> {
        let node = self.node("contenders", election)?;
        let failed = |error: ZkError| error::of_reader("contenders", &node, Effect::Read, &error);
        let link = self.reader.link("contenders").await?;
        let client = link.client().await.map_err(failed)?;
        let children = link.ask(latest_children(&client, &node)).await.map_err(failed)?;
        let keys: Vec<String> = self
            .in_order(&node, &children)
            .into_iter()
            .map(|(_, child)| format!("{node}/{child}"))
            .collect();
        let read = self.read_all(&link, &client, &node, keys).await.map_err(failed)?;
        let contender = |(place, (key, value, stat)): (usize, (String, Vec<u8>, Stat))| {
            let session = owner_of(&stat);
            let (leads, order) = (place == 0 && session.is_some(), stat.czxid.unsigned_abs());
            Contender {
                value,
                key: key.into(),
                session,
                order,
                leads,
                token: leads.then_some(Token(order)),
            }
        };
        Ok(read.into_iter().enumerate().map(contender).collect())
    }

    /// The contenders among the children of a node, first come first.
    pub(crate) fn in_order<'a>(&self, node: &str, children: &'a [String]) -> Vec<(i64, &'a str)> {
        let mut line: Vec<_> = children
            .iter()
            .filter_map(|child| Some((self.layout.number(child)?, child.as_str())))
            .collect();
        line.sort_unstable();
        if line.len() < children.len() {
            self.warn_of_foreign(node, children);
        }
        line
    }

    fn warn_of_foreign(&self, node: &str, children: &[String]) {
        let mut warned = lock(&self.warned);
        if warned.len() >= WARNED_MAX || warned.contains(node) {
            return;
        }
        warned.insert(node.to_owned());
        let foreign = children.iter().find(|child| self.layout.number(child).is_none());
        warn!(
            node,
            child = foreign.map(String::as_str),
            layout = %self.layout,
            "a child is no contender of this layout and does not count; other programs may see it otherwise"
        );
    }

    /// Where a place stands among the children of its node.
    pub(crate) fn stands(&self, place: &Place, children: &[String]) -> Stands {
        let (node, own) = (node_of(&place.key), child_of(&place.key));
        let line = self.in_order(node, children);
        let Some(at) = line.iter().position(|(_, child)| *child == own) else {
            return Stands::Gone;
        };
        match at.checked_sub(1).and_then(|before| line.get(before)) {
            None => Stands::First,
            Some((_, before)) => Stands::Behind(Before {
                key: format!("{node}/{before}").into(),
                leads: at == 1,
            }),
        }
    }

    pub(crate) fn place(&self, live: &Live, election: &ElectionName, key: Arc<str>, stat: &Stat) -> Place {
        debug!(%key, czxid = stat.czxid, "our ZooKeeper entry");
        Place {
            election: election.clone(),
            session: live.id().clone(),
            key,
            fence: stat.czxid.unsigned_abs(),
        }
    }
}

/// The children of a node after everything that was applied before; none if there is no such node.
pub(crate) async fn latest_children(client: &Client, node: &str) -> Result<Vec<String>, ZkError> {
    // Both are sent at once and answered in their order.
    let (synced, listed) = join(client.sync(node), client.list_children(node)).await;
    synced?;
    match listed {
        Err(ZkError::NoNode) => Ok(Vec::new()),
        listed => listed,
    }
}

/// The session of an entry; none if it is not ephemeral, so that no session's end removes it.
pub(crate) fn owner_of(stat: &Stat) -> Option<SessionId> {
    (stat.ephemeral_owner != 0).then(|| SessionId::new(session_name(stat.ephemeral_owner)))
}

/// The election's node of an entry.
pub(crate) fn node_of(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(node, _)| node)
}

/// The name of an entry.
pub(crate) fn child_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, child)| child)
}

#[cfg(test)]
mod tests {
    use leadership_core::{ErrorKind, Outcome};

    use super::*;
    use crate::client::Servers;

    const A: &str = "_c_1b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-0000000009";
    const B: &str = "_c_0b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-0000000010";
    const C: &str = "_c_3b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-0000000011";

    fn line(prefix: &str) -> Line {
        let config = ZkConfig::new(["h"]).expect("config").with_prefix(prefix);
        let servers = Arc::new(Servers::new(&config).expect("servers"));
        Line::new(&config, Reader::new(servers)).expect("line")
    }

    fn election(name: &str) -> ElectionName {
        ElectionName::new(name).expect("name")
    }

    pub(crate) fn stands(own: &str, children: &[&str]) -> Stands {
        let line = line("");
        let place = Place {
            election: election("e"),
            session: SessionId::new("0x1"),
            key: format!("/e/{own}").into(),
            fence: 1,
        };
        let children: Vec<_> = children.iter().map(|child| (*child).to_owned()).collect();
        line.stands(&place, &children)
    }

    #[test]
    fn the_prefix_comes_before_the_name() {
        assert_eq!(line("").node("enter", &election("a/b")).expect("path"), "/a/b");
        assert_eq!(line("p/q").node("enter", &election("a")).expect("path"), "/p/q/a");
        let error = line("p").node("enter", &election("/a")).expect_err("refused");
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::InvalidInput, Outcome::NotApplied)
        );
        // What is ZooKeeper's own at the root is free below a prefix.
        assert!(line("").node("enter", &election("zookeeper/a")).is_err());
        assert_eq!(
            line("p").node("enter", &election("zookeeper/a")).expect("path"),
            "/p/zookeeper/a"
        );
    }

    #[test]
    fn the_order_is_that_of_the_numbers_not_of_the_names() {
        let behind = |key: &str, leads| {
            Stands::Behind(Before {
                key: format!("/e/{key}").into(),
                leads,
            })
        };
        assert_eq!(stands(A, &[C, B, A]), Stands::First);
        assert_eq!(stands(B, &[C, B, A]), behind(A, true));
        assert_eq!(stands(C, &[C, B, A]), behind(B, false));
        assert_eq!(stands(C, &[C, A]), behind(A, true));
    }

    #[test]
    fn children_that_are_no_contenders_do_not_count() {
        assert_eq!(stands(B, &["config", "0", B, "x-lock-0000000001"]), Stands::First);
    }

    #[test]
    fn a_place_that_is_not_there_is_gone() {
        assert_eq!(stands(B, &[A, C]), Stands::Gone);
        assert_eq!(stands(B, &[]), Stands::Gone);
    }
}
