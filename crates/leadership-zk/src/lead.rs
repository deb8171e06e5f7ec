//! Who leads an election, as a stream: watches the head of the line only, or an empty line for its first entry.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::stream::unfold;
use leadership_core::{ElectionName, ErrorKind, Leader, StoreError, Token};
use zookeeper_client::Error as ZkError;

use crate::client::within;
use crate::error::{self, Effect};
use crate::follow::REQUEST_LIMIT;
use crate::layout::NAME_BYTES;
use crate::line::{Line, owner_of};
use crate::reader::Room;
use crate::value::Valued;
use crate::watch::{News, Watch, children_of};

/// The operation that errors of this stream name.
const OPERATION: &str = "leader";

/// Follows who leads an election.
pub(crate) fn leader(
    line: Arc<Line>,
    election: &ElectionName,
) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
    let node = line.node(OPERATION, election);
    let follow = FollowHead {
        line,
        node,
        last: None,
        at: At::Begin,
    };
    Box::pin(unfold(follow, FollowHead::next))
}

struct FollowHead {
    line: Arc<Line>,
    node: Result<String, StoreError>,
    /// Who was told to lead last.
    last: Option<Option<Leader>>,
    at: At,
}

/// What a leader's stream is about to do.
enum At {
    /// Connect, and see that what is read is not of the past.
    Begin,
    /// Look who is at the head.
    Unknown(Room),
    /// Read and watch this one, which was at the head.
    Head(Room, String),
    /// Wait for news of the head, or of an empty line.
    Watched {
        link: Room,
        /// None while nobody leads.
        head: Option<String>,
        watch: Watch,
    },
    /// The error was told.
    Failed,
}

impl FollowHead {
    async fn next(mut self) -> Option<(Result<Option<Leader>, StoreError>, Self)> {
        loop {
            let at = std::mem::replace(&mut self.at, At::Failed);
            if matches!(at, At::Failed) {
                return None;
            }
            let told = match self.step(at).await {
                Ok(Some(leader)) => Ok(leader),
                Ok(None) => continue,
                Err(error) => {
                    self.at = At::Failed;
                    Err(error)
                }
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

    async fn step(&mut self, at: At) -> Result<Option<Option<Leader>>, StoreError> {
        let node = self.node.clone()?;
        match at {
            At::Begin => {
                let bytes = self.line.watched_bytes(node.len() + NAME_BYTES);
                let room = self.line.reader.room(OPERATION, bytes);
                let link = Box::pin(within(OPERATION, REQUEST_LIMIT, room)).await?;
                let synced = ask(&node, async {
                    let client = link.client().await?;
                    link.ask(client.sync(&node)).await
                });
                if let Err(error) = synced.await {
                    // It says that it is connected and answers nothing, as zookeeper-client does while it cannot set
                    // its watches anew.
                    if error.kind() == ErrorKind::Timeout {
                        link.end();
                    }
                    return Err(error);
                }
                self.at = At::Unknown(link);
                Ok(None)
            }
            At::Unknown(link) => {
                let (children, watch) = ask(&node, async {
                    let client = link.client().await?;
                    link.ask(children_of(&link, &client, &node)).await
                })
                .await?;
                let children = children.unwrap_or_default();
                match self.line.in_order(&node, &children).first() {
                    Some((_, head)) => {
                        self.at = At::Head(link, format!("{node}/{head}"));
                        Ok(None)
                    }
                    None => {
                        self.at = At::Watched {
                            link,
                            head: None,
                            watch,
                        };
                        Ok(Some(None))
                    }
                }
            }
            At::Head(mut link, key) => {
                // A name that others have made may be longer than ours.
                link.widen(self.line.watched_bytes(key.len()));
                let read = ask(&key, async {
                    let client = link.client().await?;
                    link.ask(self.line.read(&link, &client, &key)).await
                })
                .await?;
                let Some(Valued { value, stat, watch }) = read else {
                    self.at = At::Unknown(link);
                    return Ok(None);
                };
                // A node that no session's end removes is no contender's: while it is first, nobody leads.
                let leader = owner_of(&stat).map(|_| Leader {
                    value,
                    token: Some(Token(stat.czxid.unsigned_abs())),
                    key: key.as_str().into(),
                });
                self.at = At::Watched {
                    link,
                    head: Some(key),
                    watch,
                };
                Ok(Some(leader))
            }
            At::Watched {
                link,
                head,
                mut watch,
            } => {
                let news = tokio::select! {
                    biased;
                    news = &mut watch => news,
                    // The watch would live on, but meanwhile what was told last may not be so any more.
                    () = link.interrupted() => {
                        return Err(error::unavailable(OPERATION, "the connection to ZooKeeper was lost"));
                    }
                };
                self.at = match (news, head) {
                    (News::Over, _) => {
                        return Err(error::unavailable(OPERATION, "the reader's session has ended"));
                    }
                    (News::Changed, Some(head)) => At::Head(link, head),
                    (News::Changed, None) | (News::Gone { .. }, _) => At::Unknown(link),
                };
                Ok(None)
            }
            At::Failed => Ok(None),
        }
    }
}

/// An answer in time. That the reader's session has ended is nobody's loss.
async fn ask<T>(path: &str, request: impl Future<Output = Result<T, ZkError>>) -> Result<T, StoreError> {
    let answer = async {
        request
            .await
            .map_err(|error| error::of_reader(OPERATION, path, Effect::Read, &error))
    };
    // Boxed, or every stream would be as large as a request even while it only waits.
    Box::pin(within(OPERATION, REQUEST_LIMIT, answer)).await
}
