//! The watch hub: all watches of a store on one gRPC stream, so that a thousand elections cost etcd one.
//! [`watch_task`](crate::watch_task) serves that stream. Each watch has a cell for its latest news, so that a
//! consumer that stalls delays nobody. A stream that fails fails all its watches: whoever waits must learn that
//! the store is out of sight.

use std::sync::{Arc, Mutex};

use etcd_client::KeyValue;
use leadership_core::{ErrorKind, Outcome, StoreError};
use tokio::sync::{mpsc, watch};

use crate::client::{Endpoints, lock};
use crate::error::STORE;
use crate::watch_task::WatchTask;

/// The operation that errors of watches name.
pub(crate) const OPERATION: &str = "watch";

/// What to watch.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The key, or what the keys begin with.
    pub(crate) key: Vec<u8>,
    pub(crate) prefix: bool,
    pub(crate) puts: bool,
    pub(crate) deletes: bool,
    /// The first revision of interest.
    pub(crate) from: i64,
}

/// What a watch has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    /// The latest put, if any.
    pub(crate) put: Option<KeyValue>,
    /// The revision of the latest deletion, if any.
    pub(crate) deleted: Option<i64>,
    /// Why there will be no more news.
    pub(crate) end: Option<End>,
}

/// Why a watch ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Its history is compacted: read the present, and watch from there.
    Compacted,
    /// The store is out of sight, or refuses.
    Failed(StoreError),
}

/// A watch; dropping it ends it at the store.
#[derive(Debug)]
pub(crate) struct Watch {
    id: i64,
    news: watch::Receiver<News>,
    hub: mpsc::UnboundedSender<Command>,
}

impl Watch {
    /// Waits for news and tells all that was seen so far. Cancel safe.
    pub(crate) async fn news(&mut self) -> News {
        if self.news.changed().await.is_err() {
            let mut news = self.news.borrow().clone();
            news.end
                .get_or_insert_with(|| End::Failed(gone("the runtime that watched has ended")));
            return news;
        }
        self.news.borrow_and_update().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // If the hub's task has ended, so have its watches.
        let _ = self.hub.send(Command::Remove(self.id));
    }
}

/// What the hub and its watches tell the task.
#[derive(Debug)]
pub(crate) enum Command {
    Add(i64, Spec, watch::Sender<News>),
    Remove(i64),
}

/// Hands out watches. Its task ends when the hub and all watches are dropped, and holds a stream only while
/// something is watched.
pub(crate) struct Hub {
    endpoints: Arc<Endpoints>,
    task: Mutex<Task>,
}

#[derive(Default)]
struct Task {
    commands: Option<mpsc::UnboundedSender<Command>>,
    last_id: i64,
}

impl Hub {
    pub(crate) fn new(endpoints: Arc<Endpoints>) -> Self {
        Self {
            endpoints,
            task: Mutex::default(),
        }
    }

    /// Begins a watch, without waiting for the store. Must be called within a tokio runtime.
    pub(crate) fn watch(&self, spec: Spec) -> Watch {
        let (cell, news) = watch::channel(News::default());
        let mut task = lock(&self.task);
        // etcd takes 0 as a request for an id of its own choice. No id is used again on any stream, so a
        // late answer for an ended watch meets nobody.
        task.last_id += 1;
        let id = task.last_id;
        // Closed if the runtime that the task ran on is gone; another one may be here now.
        let hub = match task.commands.take().filter(|commands| !commands.is_closed()) {
            Some(commands) => commands,
            None => {
                let (commands, inbox) = mpsc::unbounded_channel();
                let served = WatchTask::new(Arc::clone(&self.endpoints), inbox);
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(served.run());
                }
                commands
            }
        };
        let _ = hub.send(Command::Add(id, spec, cell));
        task.commands = Some(hub.clone());
        Watch { id, news, hub }
    }
}

pub(crate) fn gone(text: &str) -> StoreError {
    StoreError::new(
        STORE,
        OPERATION,
        ErrorKind::Unavailable,
        Outcome::NotApplied,
        text,
    )
}
