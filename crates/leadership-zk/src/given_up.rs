//! Entries whose creation was given up, and which may have been made all the same, or may yet be: found by their unique
//! names, used if there is none other, and removed where there is.

use futures_util::future::join_all;
use leadership_core::{ElectionName, Place, StoreError};
use tracing::warn;
use uuid::Uuid;
use zookeeper_client::Error as ZkError;

use crate::error::{self, Effect};
use crate::line::{Line, Stands, child_of, latest_children, node_of};
use crate::session::Live;

impl Line {
    /// Looks for the entry that a session of ours has made, or may have made, in the latest state.
    ///
    /// What a creation that was given up has left, if anything, is seen by this: it was sent before, so that it
    /// is applied before the `sync` is answered. On the same connection the requests of a session keep their
    /// order. After a reconnection the leader refuses what still comes by way of the old server (SessionMoved:
    /// `PrepRequestProcessor.java`), and a server closes the session's old connection before it serves the new
    /// one. What a server had read from the old one and not yet queued may come later still, in a race of its
    /// threads; so names of unknown outcome are kept, and an entry of our own that turns up ahead of our place
    /// is removed where it is noticed, in [`follow`](crate::follow).
    pub(crate) async fn look(
        &self,
        operation: &'static str,
        live: &Live,
        election: &ElectionName,
    ) -> Result<Option<(Place, Stands)>, StoreError> {
        let made = live.made(election);
        if made.all().next().is_none() {
            return Ok(None);
        }
        let node = self.node(operation, election)?;
        let failed = |error: ZkError| error::failed(operation, &node, Effect::Read, &error);
        let client = live.link.client().await.map_err(failed)?;
        let children = live
            .link
            .ask(latest_children(&client, &node))
            .await
            .map_err(failed)?;
        let names: Vec<_> = made
            .all()
            .map(|unique| (*unique, self.layout.name(unique)))
            .collect();
        let mut found = Vec::new();
        for child in &children {
            if let Some((unique, _)) = names.iter().find(|(_, name)| child.starts_with(name.as_str())) {
                found.push((*unique, format!("{node}/{child}")));
            }
        }
        let stats = join_all(found.iter().map(|(_, key)| client.check_stat(key)));
        let stats = live.link.ask(async { Ok(stats.await) }).await.map_err(failed)?;
        let mut own = Vec::new();
        for ((unique, key), stat) in found.into_iter().zip(stats) {
            if let Some(stat) = stat.map_err(failed)?
                && stat.ephemeral_owner == live.link.number
            {
                own.push((stat.czxid, unique, key, stat));
            }
        }
        own.sort_by_key(|(czxid, ..)| *czxid);
        let mut own = own.into_iter();
        let Some((_, unique, key, stat)) = own.next() else {
            live.note(election, |made| made.answered = None);
            return Ok(None);
        };
        for (_, ghost, key, _) in own {
            warn!(
                key,
                "removing an entry of ours that was made after it had been given up"
            );
            match live.link.ask(client.delete(&key, None)).await {
                Ok(()) | Err(ZkError::NoNode) => {
                    live.note(election, |made| {
                        made.doubtful.retain(|doubtful| *doubtful != ghost)
                    });
                }
                Err(error) => return Err(error::failed(operation, &key, Effect::Write, &error)),
            }
        }
        live.note(election, |made| {
            made.doubtful.retain(|doubtful| *doubtful != unique);
            made.answered = Some(unique);
        });
        let place = self.place(live, election, key.into(), &stat);
        let stands = self.stands(&place, &children);
        Ok(Some((place, stands)))
    }

    /// The children without those that we have made and given up, which are removed: wherever they stand, somebody
    /// may wait behind them.
    pub(crate) async fn without_ghosts(
        &self,
        live: &Live,
        place: &Place,
        mut children: Vec<String>,
    ) -> Result<Vec<String>, ZkError> {
        let node = node_of(&place.key);
        for unique in live.made(&place.election).doubtful {
            let name = self.layout.name(&unique);
            let is_ghost = |child: &String| child.starts_with(&name) && child != child_of(&place.key);
            let Some(ghost) = children.iter().position(is_ghost) else {
                continue;
            };
            let key = format!("{node}/{}", children.swap_remove(ghost));
            warn!(
                key,
                "removing an entry of ours that was made after it had been given up"
            );
            self.remove(&live.link, &key).await?;
            live.note(&place.election, |made| {
                made.doubtful.retain(|doubtful| *doubtful != unique)
            });
        }
        Ok(children)
    }

    /// That a place has been left.
    pub(crate) fn left(&self, live: &Live, place: &Place) {
        let is_it = |unique: &Uuid| child_of(&place.key).starts_with(&self.layout.name(unique));
        live.note(&place.election, |made| {
            made.doubtful.retain(|unique| !is_it(unique));
            made.answered.take_if(|unique| is_it(unique));
        });
    }
}
