//! Streams on a faulty way: late, stalled with states skipped, broken.

use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use leadership_core::{Outcome, StoreError};
use tokio::time::{Instant, sleep_until};

use super::store::{Passing, Way, error};

type Items<T> = BoxStream<'static, Result<T, StoreError>>;

struct Passage<T> {
    way: Arc<Way>,
    operation: &'static str,
    /// How often the way's streams had been broken when this one began.
    broken: u64,
    source: Source<T>,
    /// An item under way, and when it arrives.
    item: Option<(Instant, Result<T, StoreError>)>,
}

enum Source<T> {
    /// Until the request for it arrives at the store.
    Asked(Instant, Box<dyn FnOnce() -> Items<T> + Send>),
    Open(Items<T>),
    Ended,
}

/// What `open` tells, as it arrives at the other end of the way.
pub(super) fn pass_on<T>(
    way: Arc<Way>,
    operation: &'static str,
    open: impl FnOnce() -> Items<T> + Send + 'static,
) -> Items<T>
where
    T: fmt::Debug + Send + 'static,
{
    let arrives = Instant::now() + way.delay(way.conditions().there);
    let passage = Passage {
        broken: way.broken(),
        source: Source::Asked(arrives, Box::new(open)),
        way,
        operation,
        item: None,
    };
    stream::unfold(passage, |mut passage| async move {
        let item = passage.next().await?;
        Some((item, passage))
    })
    .boxed()
}

impl<T: fmt::Debug> Passage<T> {
    async fn next(&mut self) -> Option<Result<T, StoreError>> {
        let way = self.way.clone();
        loop {
            // Before the look, so that no change is missed after it.
            let changed = way.changed.notified();
            let present = way.conditions();
            if present.paused {
                changed.await;
                continue;
            }
            if matches!(self.source, Source::Ended) && self.item.is_none() {
                return None;
            }
            if self.broken != way.broken() || present.refused {
                self.source = Source::Ended;
                self.item = None;
                way.tell(|| Passing::Failed(self.operation));
                return Some(Err(error(self.operation, Outcome::NotApplied)));
            }
            if present.streams_stalled || present.requests_lost || present.replies_lost {
                changed.await;
                continue;
            }
            let now = Instant::now();
            if let Some((arrives, item)) = self.item.take() {
                if now >= arrives {
                    way.tell(|| told(self.operation, &item));
                    return Some(item);
                }
                self.item = Some((arrives, item));
                tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(arrives) => {}
                }
                continue;
            }
            self.source = match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Asked(arrives, open) if now < arrives => {
                    self.source = Source::Asked(arrives, open);
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = sleep_until(arrives) => {}
                    }
                    continue;
                }
                Source::Asked(_, open) => Source::Open(open()),
                other => other,
            };
            if let Source::Open(items) = &mut self.source {
                let item = tokio::select! {
                    biased;
                    () = changed => continue,
                    item = items.next() => item,
                };
                match item {
                    Some(item) => self.item = Some((Instant::now() + way.delay(present.back), item)),
                    None => self.source = Source::Ended,
                }
            }
        }
    }
}

fn told<T: fmt::Debug>(operation: &'static str, item: &Result<T, StoreError>) -> Passing {
    let item = match item {
        Ok(item) => format!("{item:?}"),
        Err(error) => error.to_string(),
    };
    Passing::Told { operation, item }
}
