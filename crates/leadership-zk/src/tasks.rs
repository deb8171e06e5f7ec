//! The task of a zookeeper-client, which it starts by itself and which no call of its own ends: caught when it is
//! started, so that it can be ended.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use spawns_core::{Spawn, Task, enter};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::client::lock;

/// The tasks of one client.
#[derive(Clone)]
pub(crate) struct Tasks {
    runtime: Handle,
    running: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Tasks {
    /// None yet; they will run in the present runtime.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            running: Arc::default(),
        }
    }

    /// Catches what a future starts while it is polled.
    pub(crate) async fn of<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _scope = enter(self);
            future.as_mut().poll(context)
        })
        .await
    }

    /// Ends them all wherever they are: their connections close, and nothing is sent any more.
    pub(crate) fn abort(&self) {
        lock(&self.running).drain(..).for_each(|task| task.abort());
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Spawn for Tasks {
    fn spawn(&self, task: Task) {
        let running = self.runtime.spawn(Box::into_pin(task.future));
        lock(&self.running).push(running.abort_handle());
    }
}
