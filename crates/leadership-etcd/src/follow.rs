//! The two streams of the trait, over the watch hub: where a place stands, and who leads. Each is a state that
//! is asked for its next item; it reads only what no watch has told it.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::KeyValue;
use futures_core::stream::BoxStream;
use futures_util::stream::unfold;
use leadership_core::{ElectionName, Leader, Place, Standing, StoreError, Token};

use crate::client::within;
use crate::line::{InFront, Line, Stands, session_of};
use crate::watch::{End, Spec, Watch};

/// A stream has no caller that would give up on a read.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// Follows where a place stands; `leads` tells that the one ahead of it was the head of the line.
pub(crate) fn standing(
    line: Arc<Line>,
    place: Place,
    known: Option<Standing>,
    leads: bool,
) -> BoxStream<'static, Result<Standing, StoreError>> {
    let at = known.map_or(At::Unknown { at_least: None }, |standing| At::Known {
        standing,
        leads,
    });
    let follow = FollowPlace {
        line,
        place,
        own: None,
        last: None,
        at,
    };
    Box::pin(unfold(follow, FollowPlace::next))
}

/// Follows who leads an election.
pub(crate) fn leader(
    line: Arc<Line>,
    election: &ElectionName,
) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
    let range = line.range(election);
    let follow = FollowHead {
        line,
        range,
        last: None,
        at: Head::Unknown { at_least: None },
    };
    Box::pin(unfold(follow, FollowHead::next))
}

struct FollowPlace {
    line: Arc<Line>,
    place: Place,
    /// The watch on the place's own entry.
    own: Option<Watch>,
    /// What was told last.
    last: Option<Standing>,
    at: At,
}

/// What a place's stream is about to do.
enum At {
    /// Tell what the entering told.
    Known { standing: Standing, leads: bool },
    /// Read.
    Unknown { at_least: Option<i64> },
    /// Wait for the one ahead, or the own entry, to go.
    Behind { ahead: Watch, leads: bool },
    /// Wait for the own entry to go.
    First,
    /// Nothing can follow.
    Gone,
    /// The error was told.
    Failed,
}

impl FollowPlace {
    async fn next(mut self) -> Option<(Result<Standing, StoreError>, Self)> {
        loop {
            let told = match std::mem::replace(&mut self.at, At::Failed) {
                At::Known { standing, leads } => {
                    self.settle_known(&standing, leads);
                    Ok(standing)
                }
                At::Unknown { at_least } => {
                    // Boxed, or every stream would be as large as a request even while it only waits.
                    let read = Box::pin(self.line.stands(&self.place, at_least));
                    match within("standing", READ_LIMIT, read).await {
                        Ok(stands) => {
                            let standing = stands.standing(&self.place);
                            self.settle(stands);
                            Ok(standing)
                        }
                        Err(error) => Err(error),
                    }
                }
                At::Behind { mut ahead, leads } => {
                    let from = self.place.fence as i64 + 1;
                    let own = self
                        .own
                        .get_or_insert_with(|| watch_end(&self.line, &*self.place.key, from));
                    let (news, of_own) = tokio::select! {
                        biased;
                        news = own.news() => (news, true),
                        news = ahead.news() => (news, false),
                    };
                    match (news.deleted, news.end) {
                        (Some(_), _) if of_own => self.gone(),
                        // The revision matters even if we are first: it is newer than our entry.
                        (Some(_), _) if leads => {
                            self.at = At::First;
                            Ok(Standing::First(Token(self.place.fence)))
                        }
                        (Some(revision), _) => {
                            self.at = At::Unknown {
                                at_least: Some(revision),
                            };
                            continue;
                        }
                        (None, Some(End::Compacted)) => {
                            self.read_anew();
                            continue;
                        }
                        (None, Some(End::Failed(error))) => Err(error),
                        (None, None) => {
                            self.at = At::Behind { ahead, leads };
                            continue;
                        }
                    }
                }
                At::First => {
                    let from = self.place.fence as i64 + 1;
                    let own = self
                        .own
                        .get_or_insert_with(|| watch_end(&self.line, &*self.place.key, from));
                    let news = own.news().await;
                    match (news.deleted, news.end) {
                        (Some(_), _) => self.gone(),
                        (None, Some(End::Compacted)) => {
                            self.read_anew();
                            continue;
                        }
                        (None, Some(End::Failed(error))) => Err(error),
                        (None, None) => {
                            self.at = At::First;
                            continue;
                        }
                    }
                }
                At::Gone => {
                    self.at = At::Gone;
                    std::future::pending().await
                }
                At::Failed => return None,
            };
            if told
                .as_ref()
                .is_ok_and(|standing| self.last.as_ref() == Some(standing))
            {
                continue;
            }
            self.last = told.as_ref().ok().cloned();
            return Some((told, self));
        }
    }

    /// Begins to watch from the revision at which the entry was made: that is what `standing` is known from.
    fn settle_known(&mut self, standing: &Standing, leads: bool) {
        let from = self.place.fence as i64 + 1;
        self.at = match standing {
            Standing::Gone => At::Gone,
            // A key that is no text cannot be watched under the name that the trait has for it.
            Standing::Behind(ahead) if ahead.key.contains(char::REPLACEMENT_CHARACTER) => {
                At::Unknown { at_least: None }
            }
            Standing::Behind(ahead) => {
                self.own = Some(watch_end(&self.line, &*self.place.key, from));
                At::Behind {
                    ahead: watch_end(&self.line, &*ahead.key, from),
                    leads,
                }
            }
            Standing::First(_) => {
                self.own = Some(watch_end(&self.line, &*self.place.key, from));
                At::First
            }
        };
    }

    /// Begins to watch from what was read.
    fn settle(&mut self, stands: Stands) {
        let from = stands.revision + 1;
        if !stands.there {
            self.own = None;
            self.at = At::Gone;
            return;
        }
        if self.own.is_none() {
            self.own = Some(watch_end(&self.line, &*self.place.key, from));
        }
        self.at = match stands.in_front {
            Some(InFront { key, leads, .. }) => At::Behind {
                ahead: watch_end(&self.line, key, from),
                leads,
            },
            None => At::First,
        };
    }

    fn gone(&mut self) -> Result<Standing, StoreError> {
        self.own = None;
        self.at = At::Gone;
        Ok(Standing::Gone)
    }

    fn read_anew(&mut self) {
        self.own = None;
        self.at = At::Unknown { at_least: None };
    }
}

/// Watches for a key's deletion.
fn watch_end(line: &Line, key: impl AsRef<[u8]>, from: i64) -> Watch {
    line.hub.watch(Spec {
        key: key.as_ref().to_vec(),
        prefix: false,
        puts: false,
        deletes: true,
        from,
    })
}

struct FollowHead {
    line: Arc<Line>,
    range: String,
    /// Who was told to lead last.
    last: Option<Option<Leader>>,
    at: Head,
}

/// What a leader's stream is about to do.
enum Head {
    /// Read.
    Unknown { at_least: Option<i64> },
    /// Wait for news of the head, or of an empty line.
    Watched { watch: Watch, leader: Option<Leader> },
    /// The error was told.
    Failed,
}

impl FollowHead {
    async fn next(mut self) -> Option<(Result<Option<Leader>, StoreError>, Self)> {
        loop {
            let told = match std::mem::replace(&mut self.at, Head::Failed) {
                Head::Unknown { at_least } => {
                    let read = Box::pin(self.line.head(&self.range, at_least));
                    match within("leader", READ_LIMIT, read).await {
                        Ok((head, revision)) => Ok(self.settle(head, revision)),
                        Err(error) => Err(error),
                    }
                }
                Head::Watched { mut watch, leader } => {
                    let news = watch.news().await;
                    match (news.deleted, news.end, news.put, leader) {
                        (Some(revision), ..) => {
                            self.at = Head::Unknown {
                                at_least: Some(revision),
                            };
                            continue;
                        }
                        // A new value of the same term.
                        (None, None, Some(put), Some(leader))
                            if leader.token == token(&put)
                                && session_of(&self.range, put.key(), put.lease()).is_some() =>
                        {
                            let leader = Leader {
                                value: put.value().to_vec(),
                                ..leader
                            };
                            self.at = Head::Watched {
                                watch,
                                leader: Some(leader.clone()),
                            };
                            Ok(Some(leader))
                        }
                        (None, None, Some(put), _) => {
                            self.at = Head::Unknown {
                                at_least: Some(put.mod_revision()),
                            };
                            continue;
                        }
                        (None, Some(End::Compacted), ..) => {
                            self.at = Head::Unknown { at_least: None };
                            continue;
                        }
                        (None, Some(End::Failed(error)), ..) => Err(error),
                        (None, None, None, leader) => {
                            self.at = Head::Watched { watch, leader };
                            continue;
                        }
                    }
                }
                Head::Failed => return None,
            };
            if told
                .as_ref()
                .is_ok_and(|leader| self.last.as_ref() == Some(leader))
            {
                continue;
            }
            self.last = told.as_ref().ok().cloned();
            return Some((told, self));
        }
    }

    /// Begins to watch from what was read, and tells who leads.
    fn settle(&mut self, head: Option<KeyValue>, revision: i64) -> Option<Leader> {
        let from = revision + 1;
        let Some(head) = head else {
            let key = self.range.clone().into_bytes();
            let watch = self.line.hub.watch(Spec {
                key,
                prefix: true,
                puts: true,
                deletes: false,
                from,
            });
            self.at = Head::Watched { watch, leader: None };
            return None;
        };
        // While something foreign is at the head nobody leads: all contenders wait behind it.
        let leader = session_of(&self.range, head.key(), head.lease()).map(|_| Leader {
            value: head.value().to_vec(),
            token: token(&head),
            key: String::from_utf8_lossy(head.key()).into(),
        });
        let key = head.key().to_vec();
        let watch = self.line.hub.watch(Spec {
            key,
            prefix: false,
            puts: true,
            deletes: true,
            from,
        });
        self.at = Head::Watched {
            watch,
            leader: leader.clone(),
        };
        leader
    }
}

fn token(kv: &KeyValue) -> Option<Token> {
    Some(Token(kv.create_revision().unsigned_abs()))
}
