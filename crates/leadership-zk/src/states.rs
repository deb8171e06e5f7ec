//! A session's states for any number of waiters. Those of zookeeper-client wait in a list of asyncs-sync (0.4), which
//! breaks when many are woken while some of them leave: it panics with its lock held, and whoever comes after waits for
//! ever. So only one task waits there, and all others on what that tells.

use std::future::pending;

use tokio::runtime::Handle;
use tokio::sync::watch;
use zookeeper_client::{SessionState, StateWatcher};

/// The states of a session, as zookeeper-client tells them.
#[derive(Clone)]
pub(crate) struct States {
    present: StateWatcher,
    changes: watch::Receiver<()>,
}

impl States {
    /// Begins to pass changes on, until the session is over or nobody listens any more.
    pub(crate) fn new(present: StateWatcher, runtime: &Handle) -> Self {
        let (told, changes) = watch::channel(());
        let mut states = present.clone();
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    // Nothing else may look at them, or a change would be taken for told.
                    state = states.changed() => {
                        told.send_replace(());
                        if state.is_terminated() {
                            return;
                        }
                    }
                    // A client whose task was ended tells nothing more.
                    () = told.closed() => return,
                }
            }
        });
        Self { present, changes }
    }

    /// The present one; [`changed`](Self::changed) tells of later ones.
    pub(crate) fn state(&mut self) -> SessionState {
        self.changes.borrow_and_update();
        self.present.peek_state()
    }

    /// The present one.
    pub(crate) fn peek_state(&self) -> SessionState {
        self.present.peek_state()
    }

    /// Waits for another state than the one that was looked at last. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        // None follows the last one.
        if self.changes.changed().await.is_err() {
            pending().await
        }
    }
}
