//! Where the value of an entry is: in the entry, and in the layout `latch`, once it was proclaimed anew, beside the
//! line.
//!
//! A LeaderLatch behind an entry of ours watches it with a watch that fires once, and looks at nothing but its end
//! (`LeaderLatch.java`, `checkLeadership`): a change of the entry's data takes that watch away, and the LeaderLatch
//! waits for good. So in that layout no entry's data ever change; a later value is an ephemeral node of the same
//! session, `<election>.values/of-<entry>`, which ends with it. Followers of Curator go on to see the first value.

use std::collections::HashSet;

use futures_util::future::{join, join_all};
use leadership_core::{ErrorKind, Outcome, Place, StoreError};
use zookeeper_client::{Client, CreateMode, Error as ZkError, MultiWriteError, Stat};

use crate::client::{Link, PATH_COST};
use crate::error::{self, Effect, STORE};
use crate::layout::Layout;
use crate::line::{Line, child_of, node_of};
use crate::watch::{Watch, exists, value_of};

/// How often a value is written anew when its node, or the one above it, comes or goes in between.
const TRIES: u32 = 6;
/// How many entries are read at once.
const READ_AT_ONCE: usize = 128;

/// By how much the path of a later value is longer than that of its entry.
const LATER_BYTES: usize = ".values".len() + "of-".len();

/// An entry as it is read: its value, what ZooKeeper says of it, and what tells of the next value or of its end.
pub(crate) struct Valued {
    pub(crate) value: Vec<u8>,
    pub(crate) stat: Stat,
    pub(crate) watch: Watch,
}

/// The node above the later values of an election's entries.
fn values_of(node: &str) -> String {
    format!("{node}.values")
}

/// The node of an entry's later value.
fn later(key: &str) -> String {
    format!("{}/of-{}", values_of(node_of(key)), child_of(key))
}

impl Line {
    /// Whether later values are beside the line.
    pub(crate) fn beside(&self) -> bool {
        self.layout == Layout::Latch
    }

    /// What takes room while an entry with such a path is read and watched.
    pub(crate) fn watched_bytes(&self, key_bytes: usize) -> usize {
        let entry = key_bytes + PATH_COST;
        if self.beside() {
            2 * entry + LATER_BYTES
        } else {
            entry
        }
    }

    /// Changes the value of a place's entry; its version if it is in the entry itself.
    pub(crate) async fn proclaim(
        &self,
        link: &Link,
        place: &Place,
        value: &[u8],
    ) -> Result<Option<i32>, StoreError> {
        let failed = |error: ZkError| match error {
            ZkError::NoNode => StoreError::new(
                STORE,
                "proclaim",
                ErrorKind::EntryGone,
                Outcome::NotApplied,
                format!("the entry {} is not there any more", place.key),
            ),
            error => error::failed("proclaim", &place.key, Effect::Write, &error),
        };
        let client = link.client().await.map_err(failed)?;
        if !self.beside() {
            let stat = link.ask(client.set_data(&place.key, value, None)).await;
            return stat.map(|stat| Some(stat.version)).map_err(failed);
        }
        let path = later(&place.key);
        let mut creates = false;
        for _ in 0..TRIES {
            let mut both = client.new_multi_writer();
            both.add_check_version(&place.key, -1).map_err(failed)?;
            let options = self.permissions.of(CreateMode::Ephemeral);
            let added = if creates {
                both.add_create(&path, value, &options)
            } else {
                both.add_set_data(&path, value, None)
            };
            added.map_err(failed)?;
            let committed = both.commit();
            match link.ask(async { Ok(committed.await) }).await.map_err(failed)? {
                Ok(_) => return Ok(None),
                Err(MultiWriteError::OperationFailed { index: 1, source }) => match source {
                    ZkError::NoNode if creates => {
                        let node = values_of(node_of(&place.key));
                        link.ask(self.make_way(&client, &node)).await.map_err(failed)?;
                    }
                    ZkError::NoNode => creates = true,
                    ZkError::NodeExists => creates = false,
                    error => return Err(failed(error)),
                },
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(error::unavailable(
            "proclaim",
            format!("{path} came and went in between; trying again"),
        ))
    }

    /// Removes the later value of an entry that is left.
    pub(crate) async fn remove_value(&self, link: &Link, key: &str) -> Result<(), ZkError> {
        self.remove(link, &later(key)).await
    }

    /// Reads an entry, and watches for its next value and its end. `None` if it is not there.
    pub(crate) async fn read(
        &self,
        link: &Link,
        client: &Client,
        key: &str,
    ) -> Result<Option<Valued>, ZkError> {
        let read = value_of(link, client, key);
        if !self.beside() {
            return Ok(read
                .await?
                .map(|(value, stat, watch)| Valued { value, stat, watch }));
        }
        let path = later(key);
        let (entry, later) = join(read, later_of(link, client, &path)).await;
        let Some((value, stat, watch)) = entry? else {
            return Ok(None);
        };
        let (later, of_later) = later?;
        Ok(Some(Valued {
            value: later.unwrap_or(value),
            stat,
            watch: watch.or(of_later),
        }))
    }

    /// The values of entries, in their order, each with what ZooKeeper says of its entry; without those that are gone.
    pub(crate) async fn read_all(
        &self,
        link: &Link,
        client: &Client,
        node: &str,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Vec<u8>, Stat)>, ZkError> {
        let with_later = if self.beside() {
            match link.ask(client.list_children(&values_of(node))).await {
                Err(ZkError::NoNode) => HashSet::new(),
                listed => listed?.into_iter().collect(),
            }
        } else {
            HashSet::new()
        };
        let mut all = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_AT_ONCE) {
            let read = join_all(keys.iter().map(|key| async {
                let has_later = with_later.contains(child_of(&later(key)));
                let (entry, later) = join(client.get_data(key), async {
                    match has_later {
                        true => client.get_data(&later(key)).await.map(Some),
                        false => Ok(None),
                    }
                })
                .await;
                match (entry, later) {
                    (Ok((_, stat)), Ok(Some((value, _)))) => Ok(Some((key.clone(), value, stat))),
                    (Ok((value, stat)), Ok(None) | Err(ZkError::NoNode)) => {
                        Ok(Some((key.clone(), value, stat)))
                    }
                    (Err(ZkError::NoNode), _) => Ok(None),
                    (Err(error), _) | (_, Err(error)) => Err(error),
                }
            }));
            for read in link.ask(async { Ok(read.await) }).await? {
                all.extend(read?);
            }
        }
        Ok(all)
    }
}

/// A later value if there is one, and what tells of the next.
async fn later_of(link: &Link, client: &Client, path: &str) -> Result<(Option<Vec<u8>>, Watch), ZkError> {
    loop {
        let (stat, watch) = exists(link, client, path).await?;
        if stat.is_none() {
            return Ok((None, watch));
        }
        // Unless it went in between.
        if let Some((value, _, watch)) = value_of(link, client, path).await? {
            return Ok((Some(value), watch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_later_value_is_as_long_as_it_is_reckoned() {
        let key = "/a/b/_c_1b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-0000000009";
        assert_eq!(
            later(key),
            "/a/b.values/of-_c_1b4e28ba-2fa1-11d2-883f-0016d3cca427-latch-0000000009"
        );
        assert_eq!(later(key).len(), key.len() + LATER_BYTES);
    }
}
