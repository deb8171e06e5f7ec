//! One-shot watches, which ZooKeeper keeps across a reconnection: what happened meanwhile is told then. (The
//! client's persistent watches lose that.) Dropping one takes it back.
//!
//! An entry's end is watched by its *children*: an ephemeral node has none, so that this watch fires when the
//! node goes and, unlike the others, not when its value changes; and for a node that is not there it leaves no
//! watch behind.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select};
use zookeeper_client::{Client, Error as ZkError, EventType, OneshotWatcher, Stat, WatchedEvent};

use crate::client::Link;

/// What a watch has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The node is gone.
    Gone {
        /// Whether this was told as it happened. After a reconnection the server tells all at once, in no order.
        live: bool,
    },
    /// Something changed; look.
    Changed,
    /// The session is over.
    Over,
}

/// A watch that has not fired.
pub(crate) struct Watch(BoxFuture<'static, WatchedEvent>);

impl Watch {
    fn new(link: &Link, path: &str, watcher: OneshotWatcher) -> Self {
        let counted = link.watching(path);
        let changed = async move {
            let event = watcher.changed().await;
            drop(counted);
            event
        };
        Self(changed.boxed())
    }

    /// A watch that fires when one of the two does.
    pub(crate) fn or(self, other: Self) -> Self {
        let first = select(self.0, other.0).map(|fired| fired.factor_first().0);
        Self(first.boxed())
    }

    /// What it has told by now, if anything.
    pub(crate) fn news_by_now(&mut self) -> Option<News> {
        self.now_or_never()
    }
}

impl Future for Watch {
    type Output = News;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<News> {
        self.0.poll_unpin(context).map(|event| match event.event_type {
            // Servers before 3.9 never say when it was (ZOOKEEPER-4655).
            EventType::NodeDeleted => News::Gone {
                live: event.zxid != WatchedEvent::NO_ZXID,
            },
            EventType::Session => News::Over,
            _ => News::Changed,
        })
    }
}

/// Watches for the end of an entry. `None` if it is not there.
pub(crate) async fn end_of(
    link: &Link,
    client: &Client,
    key: &str,
) -> Result<Option<(Stat, Watch)>, ZkError> {
    match client.get_and_watch_children(key).await {
        Ok((_, stat, watcher)) => Ok(Some((stat, Watch::new(link, key, watcher)))),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads an entry and watches for its next value and its end. `None` if it is not there.
pub(crate) async fn value_of(
    link: &Link,
    client: &Client,
    key: &str,
) -> Result<Option<(Vec<u8>, Stat, Watch)>, ZkError> {
    match client.get_and_watch_data(key).await {
        Ok((value, stat, watcher)) => Ok(Some((value, stat, Watch::new(link, key, watcher)))),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the children of a node and watches for others. `None` if there is no such node; then the watch is for
/// its creation.
pub(crate) async fn children_of(
    link: &Link,
    client: &Client,
    node: &str,
) -> Result<(Option<Vec<String>>, Watch), ZkError> {
    loop {
        match client.list_and_watch_children(node).await {
            Ok((children, watcher)) => return Ok((Some(children), Watch::new(link, node, watcher))),
            Err(ZkError::NoNode) => {}
            Err(error) => return Err(error),
        }
        let (stat, watch) = exists(link, client, node).await?;
        // If it was created in between, this watch is not for its children.
        if stat.is_none() {
            return Ok((None, watch));
        }
    }
}

/// Looks whether a node is there, and watches for its next change or its creation.
pub(crate) async fn exists(
    link: &Link,
    client: &Client,
    path: &str,
) -> Result<(Option<Stat>, Watch), ZkError> {
    let (stat, watcher) = client.check_and_watch_stat(path).await?;
    Ok((stat, Watch::new(link, path, watcher)))
}
