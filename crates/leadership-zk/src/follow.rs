//! Where a place stands, as a stream: a state that is asked for its next item, and asks ZooKeeper only what no
//! watch has told it. Who leads is in [`lead`](crate::lead).

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::future::join;
use futures_util::stream::unfold;
use leadership_core::{Ahead, Place, Standing, StoreError, Token};
use tracing::warn;
use zookeeper_client::Error as ZkError;

use crate::client::{AHEAD_MAX, PATH_COST, within};
use crate::error::{self, Effect};
use crate::line::{Before, Line, Stands, node_of};
use crate::reader::Room;
use crate::session::Live;
use crate::watch::{News, Watch, end_of};

pub(crate) use crate::lead::leader;

/// A stream has no caller that would give up on a request.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Time between tries to write a leader's value for docker/leadership.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// Follows where a place stands; without a session, which has ended, it is gone.
pub(crate) fn standing(
    line: Arc<Line>,
    live: Option<Arc<Live>>,
    place: Place,
    known: Option<Standing>,
) -> BoxStream<'static, Result<Standing, StoreError>> {
    let follow = FollowPlace {
        line,
        live,
        place,
        own: None,
        beside: None,
        last: None,
        told_docker: false,
        at: known.map_or(At::Unknown, At::Known),
    };
    Box::pin(unfold(follow, FollowPlace::next))
}

struct FollowPlace {
    line: Arc<Line>,
    live: Option<Arc<Live>>,
    place: Place,
    /// The watch on the place's own entry.
    own: Option<Watch>,
    /// Room to watch the one ahead beside the own entry. Without, who waits watches only the one ahead, and looks for
    /// its own entry when that has gone.
    beside: Option<Room>,
    /// What was told last.
    last: Option<Standing>,
    told_docker: bool,
    at: At,
}

/// What a place's stream is about to do.
enum At {
    /// Tell what the entering told.
    Known(Standing),
    /// List the children.
    Unknown,
    /// Begin to watch the one ahead.
    After(Before),
    /// Wait for the one ahead, or the own entry, to go.
    Behind(Before, Watch),
    /// Make sure that the own entry is there: it was the next one, and the head is gone.
    Next,
    /// Wait for the own entry to go.
    First,
    /// Nothing can follow.
    Gone,
    /// The error was told.
    Failed,
}

/// Why a step cannot be done.
enum Stop {
    /// The session is over, and the entry with it.
    Over,
    Failed(StoreError),
}

impl FollowPlace {
    async fn next(mut self) -> Option<(Result<Standing, StoreError>, Self)> {
        loop {
            if let At::Failed = self.at {
                return None;
            }
            let told = match self.step().await {
                Ok(Some(standing)) => Ok(standing),
                Ok(None) => continue,
                Err(Stop::Over) => {
                    self.at = At::Gone;
                    Ok(Standing::Gone)
                }
                Err(Stop::Failed(error)) => {
                    self.at = At::Failed;
                    Err(error)
                }
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

    /// One step: what to tell, if anything.
    async fn step(&mut self) -> Result<Option<Standing>, Stop> {
        match std::mem::replace(&mut self.at, At::Unknown) {
            At::Known(standing) => {
                self.at = self.after_known(&standing);
                Ok(Some(standing))
            }
            At::Unknown => self.list().await.map(Some),
            At::After(before) => self.watch_ahead(before).await,
            At::Behind(before, ahead) => self.wait_behind(before, ahead).await,
            At::Next => {
                // A new watch on it is as good a look as any.
                self.own = None;
                self.watch_own().await?;
                Ok(Some(self.first()))
            }
            At::First => self.wait_first().await,
            At::Gone => {
                (self.own, self.beside) = (None, None);
                self.at = At::Gone;
                std::future::pending().await
            }
            At::Failed => {
                self.at = At::Failed;
                Ok(None)
            }
        }
    }

    fn after_known(&self, standing: &Standing) -> At {
        match standing {
            Standing::Gone => At::Gone,
            Standing::First(_) => At::First,
            Standing::Behind(ahead) => {
                let made = self.live.as_ref().map(|live| live.made(&self.place.election));
                let leads = made.is_some_and(|made| made.second_to.as_ref() == Some(&ahead.key));
                At::After(Before {
                    key: Arc::clone(&ahead.key),
                    leads,
                })
            }
        }
    }

    fn first(&mut self) -> Standing {
        if let Some(live) = &self.live {
            live.note(&self.place.election, |made| made.first = true);
        }
        self.at = At::First;
        self.beside = None;
        Standing::First(Token(self.place.fence))
    }

    /// Lists the children, and watches the own entry if that is not done yet.
    async fn list(&mut self) -> Result<Standing, Stop> {
        self.watch_own().await?;
        let live = self.live()?;
        let node = node_of(&self.place.key);
        let listed = ask(&self.place.key, async {
            let client = live.link.client().await?;
            live.link.ask(client.list_children(node)).await
        });
        let stands = match listed.await? {
            Some(children) => {
                let children = self.line.without_ghosts(&live, &self.place, children).await;
                self.line
                    .stands(&self.place, &children.map_err(|error| self.stop(error))?)
            }
            None => Stands::Gone,
        };
        let standing = stands.standing(&self.place);
        match stands {
            Stands::Gone => self.at = At::Gone,
            Stands::First => return Ok(self.first()),
            Stands::Behind(before) => self.at = At::After(before),
        }
        Ok(standing)
    }

    /// Begins to watch the one ahead. If it has gone already, no watch could tell.
    async fn watch_ahead(&mut self, before: Before) -> Result<Option<Standing>, Stop> {
        let live = self.live()?;
        if self.beside.is_none() {
            self.beside = Room::take(&live.link, before.key.len() + PATH_COST, AHEAD_MAX);
        }
        let watches_own = self.beside.is_some();
        let (own, key) = (self.own.take().filter(|_| watches_own), &self.place.key);
        let watching = ask(&self.place.key, async {
            let client = live.link.client().await?;
            let of_own = async {
                match own {
                    Some(own) => Ok::<_, ZkError>(Some(own)),
                    None if !watches_own => Ok(None),
                    None => Ok(end_of(&live.link, &client, key).await?.map(|(_, watch)| watch)),
                }
            };
            let both = join(of_own, end_of(&live.link, &client, &before.key));
            let (own, ahead) = live.link.ask(async { Ok(both.await) }).await?;
            Ok::<_, ZkError>((own?, ahead?))
        });
        let Some((own, ahead)) = watching.await? else {
            return Err(Stop::Over);
        };
        if own.is_none() && watches_own {
            return Err(Stop::Over);
        }
        self.own = own;
        let Some((stat, ahead)) = ahead else {
            self.at = if before.leads { At::Next } else { At::Unknown };
            return Ok(None);
        };
        if stat.ephemeral_owner == live.link.number {
            let key = &before.key;
            warn!(%key, "removing an entry of ours that was made after it had been given up");
            if let Err(error) = self.line.remove(&live.link, key).await {
                return Err(self.stop(error));
            }
            return Ok(None);
        }
        // Told again only if it turns out to be no contender.
        let standing = Standing::Behind(Ahead {
            key: Arc::clone(&before.key),
            foreign: stat.ephemeral_owner == 0,
        });
        self.at = At::Behind(before, ahead);
        Ok(Some(standing))
    }

    async fn wait_behind(&mut self, before: Before, mut ahead: Watch) -> Result<Option<Standing>, Stop> {
        let Some(own) = &mut self.own else {
            self.at = match ahead.await {
                News::Over => return Err(Stop::Over),
                News::Changed => At::After(before),
                News::Gone { .. } if before.leads => At::Next,
                News::Gone { .. } => At::Unknown,
            };
            return Ok(None);
        };
        let (news, of_own) = tokio::select! {
            biased;
            news = &mut *own => (news, true),
            news = &mut ahead => (news, false),
        };
        if of_own {
            return self.news_of_own(news).map(|()| {
                self.at = At::After(before);
                None
            });
        }
        match news {
            News::Over => return Err(Stop::Over),
            News::Changed => self.at = At::After(before),
            // What is told as it happens is told in order: had the own entry gone before, we would know.
            News::Gone { live: true } if before.leads => match own.news_by_now() {
                None => return Ok(Some(self.first())),
                Some(news) => self.news_of_own(news).map(|()| self.at = At::Next)?,
            },
            News::Gone { .. } if before.leads => self.at = At::Next,
            News::Gone { .. } => self.at = At::Unknown,
        }
        Ok(None)
    }

    async fn wait_first(&mut self) -> Result<Option<Standing>, Stop> {
        self.at = At::First;
        self.watch_own().await?;
        let live = self.live()?;
        let Some(own) = &mut self.own else {
            return Ok(None);
        };
        let news = if self.line.docker_leader && !self.told_docker {
            tokio::select! {
                biased;
                news = own => news,
                () = tell_docker(&self.line, &live, &self.place) => {
                    self.told_docker = true;
                    return Ok(None);
                }
            }
        } else {
            own.await
        };
        self.news_of_own(news).map(|()| None)
    }

    /// The watch on the own entry has fired; if that says nothing, it is set anew.
    fn news_of_own(&mut self, news: News) -> Result<(), Stop> {
        self.own = None;
        match news {
            News::Gone { .. } | News::Over => Err(Stop::Over),
            News::Changed => Ok(()),
        }
    }

    /// Watches the own entry, which must be there and ours.
    async fn watch_own(&mut self) -> Result<(), Stop> {
        if self.own.is_some() {
            return Ok(());
        }
        let live = self.live()?;
        let watching = ask(&self.place.key, async {
            let client = live.link.client().await?;
            live.link.ask(end_of(&live.link, &client, &self.place.key)).await
        });
        match watching.await?.flatten() {
            Some((stat, own)) if stat.ephemeral_owner == live.link.number => {
                self.own = Some(own);
                Ok(())
            }
            _ => Err(Stop::Over),
        }
    }

    fn stop(&self, error: ZkError) -> Stop {
        if error::is_ended(&error) {
            Stop::Over
        } else {
            Stop::Failed(error::failed("standing", &self.place.key, Effect::Read, &error))
        }
    }

    fn live(&self) -> Result<Arc<Live>, Stop> {
        self.live.clone().ok_or(Stop::Over)
    }
}

/// An answer in time; `None` for a node that is not there. `key` is what the error names.
async fn ask<T>(key: &str, request: impl Future<Output = Result<T, ZkError>>) -> Result<Option<T>, Stop> {
    let mut over = false;
    let answer = async {
        match request.await {
            Ok(answer) => Ok(Some(answer)),
            Err(ZkError::NoNode) => Ok(None),
            Err(error) => {
                over = error::is_ended(&error);
                Err(error::failed("standing", key, Effect::Read, &error))
            }
        }
    };
    // Boxed, or every stream would be as large as a request even while it only waits.
    match Box::pin(within("standing", REQUEST_LIMIT, answer)).await {
        Err(_) if over => Err(Stop::Over),
        answer => answer.map_err(Stop::Failed),
    }
}

/// Writes the value of our entry on the election's node, and tries again until that is done.
async fn tell_docker(line: &Line, live: &Live, place: &Place) {
    loop {
        let told = async {
            let client = live.link.client().await?;
            let (value, stat) = live.link.ask(client.get_data(&place.key)).await?;
            line.tell_docker(&live.link, &place.key, &value, stat.version)
                .await
        };
        match told.await {
            Ok(()) => return,
            // Proclaimed anew in between.
            Err(ZkError::BadVersion) => continue,
            Err(error) => {
                warn!(key = %place.key, %error, "cannot write the leader's value for docker/leadership; trying again");
            }
        }
        tokio::time::sleep(TELL_AGAIN).await;
    }
}
