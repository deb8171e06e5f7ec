//! Blocking reads: a request that Consul answers when a key changes
//! (<https://developer.hashicorp.com/consul/api-docs/features/blocking>). Each watch has one connection while it
//! waits, and asks anew at another address, or on another connection, as soon as a request elsewhere found a path bad.

use std::time::Duration;

use leadership_core::StoreError;
use tokio::sync::watch;

use crate::line::{Line, one};
use crate::wire::Pair;

/// The operation that errors of watches name.
pub(crate) const OPERATION: &str = "watch";
/// How much later than expected an answer may come: at most, and no later than half of the wait.
const GRACE: Duration = Duration::from_secs(5);

/// What a look at a key told.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The key as it is now, which may be as it was.
    Changed(Option<Pair>),
    /// Nothing happened for the whole wait.
    Same,
}

/// Follows one key.
#[derive(Debug)]
pub(crate) struct Watch {
    key: String,
    /// How long Consul may hold a request back.
    wait: Duration,
    /// Consul's index of the last answer; 0 for an answer at once.
    index: u64,
    turns: watch::Receiver<usize>,
}

impl Watch {
    /// A watch whose first look is at the present.
    pub(crate) fn new(line: &Line, key: impl Into<String>, wait: Duration) -> Self {
        Self {
            key: key.into(),
            wait,
            index: 0,
            turns: line.api.turns().changes(),
        }
    }

    /// A watch that tells what changes after `index`.
    pub(crate) fn since(mut self, index: u64) -> Self {
        self.index = index;
        self
    }

    /// The next look.
    ///
    /// # Cancel safety
    /// Dropped, the request ends at once, and the next call asks again.
    pub(crate) async fn look(&mut self, line: &Line) -> Result<Seen, StoreError> {
        loop {
            let query = match self.index {
                0 => String::new(),
                index => format!("&index={index}&wait={}s", self.wait.as_secs()),
            };
            let mut ask = line.read_request(OPERATION, &self.key, &query);
            if self.index > 0 {
                // Held back on purpose; Consul adds up to a sixteenth, so that not all come back at once.
                ask.limit = self.wait + self.wait / 16 + GRACE.min(self.wait / 2);
            }
            self.turns.borrow_and_update();
            let answer = if self.index == 0 {
                // It tries all addresses by itself.
                line.api.ask(&ask).await?
            } else {
                tokio::select! {
                    answer = line.api.ask_blocking(&ask) => answer?,
                    moved = self.turns.changed() => match moved {
                        Ok(()) => continue,
                        // Its sender lives as long as the line that we were given.
                        Err(_) => std::future::pending().await,
                    },
                }
            };
            let before = std::mem::replace(&mut self.index, answer.index.max(1));
            // A restored store may count anew; the documentation asks to begin again then.
            if answer.index < before {
                self.index = 0;
            }
            if before > 0 && answer.index == before {
                return Ok(Seen::Same);
            }
            return Ok(Seen::Changed(one(OPERATION, &answer)?));
        }
    }
}
