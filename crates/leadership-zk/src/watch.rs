//! One-shot watches, which ZooKeeper keeps across a reconnection: what happened meanwhile is told then. (The
//! client's persistent watches lose that.) Dropping one takes it back.
//!
//! An entry's end is watched by its *children*: an ephemeral node has none, so that this watch fires when the
//! node goes and, unlike the others, not when its value changes; and for a node that is not there it leaves no
//! watch behind.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select};
use tokio::task::unconstrained;
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

impl From<&WatchedEvent> for News {
    fn from(event: &WatchedEvent) -> Self {
        match event.event_type {
            // Servers before 3.9 never say when it was (ZOOKEEPER-4655).
            EventType::NodeDeleted => Self::Gone {
                live: event.zxid != WatchedEvent::NO_ZXID,
            },
            EventType::Session => Self::Over,
            _ => Self::Changed,
        }
    }
}

/// A watch that has not fired.
pub(crate) struct Watch(BoxFuture<'static, News>);

impl Watch {
    fn new(link: &Link, watcher: OneshotWatcher) -> Self {
        Self::of(link.ended(), watcher.changed())
    }

    /// What the client tells of a watch, until its link has ended: then its task may be gone, and with that what
    /// `changed` waits for, which panics. So it does when the task has died by itself.
    fn of(
        ended: impl Future<Output = ()> + Send + 'static,
        changed: impl Future<Output = WatchedEvent> + Send + 'static,
    ) -> Self {
        let changed = AssertUnwindSafe(changed).catch_unwind();
        let news = async move {
            tokio::select! {
                biased;
                () = ended => News::Over,
                told = changed => told.map_or(News::Over, |event| News::from(&event)),
            }
        };
        // Whatever else the task has done: what was told by now must be seen at once.
        Self(unconstrained(news).boxed())
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
        self.0.poll_unpin(context)
    }
}

/// Watches for the end of an entry. `None` if it is not there.
pub(crate) async fn end_of(
    link: &Link,
    client: &Client,
    key: &str,
) -> Result<Option<(Stat, Watch)>, ZkError> {
    match client.get_and_watch_children(key).await {
        Ok((_, stat, watcher)) => Ok(Some((stat, Watch::new(link, watcher)))),
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
        Ok((value, stat, watcher)) => Ok(Some((value, stat, Watch::new(link, watcher)))),
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
            Ok((children, watcher)) => return Ok((Some(children), Watch::new(link, watcher))),
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
    Ok((stat, Watch::new(link, watcher)))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn a_watch_of_a_client_whose_task_has_died_is_over_and_no_panic() {
        let mut watch = Watch::of(pending(), async { panic!("as zookeeper-client does") });
        assert_eq!(watch.news_by_now(), Some(News::Over));
    }

    #[test]
    fn what_a_client_would_tell_after_its_end_is_not_looked_at() {
        let mut watch = Watch::of(ready(()), async { panic!("looked at") });
        assert_eq!(watch.news_by_now(), Some(News::Over));
        let mut watch = Watch::of(pending(), pending());
        assert_eq!(watch.news_by_now(), None);
    }
}
