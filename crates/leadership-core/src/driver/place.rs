//! What the election's driver does about the place it has in line: follows where it stands, and sees to it that
//! the entry there has the value that is wished for.

use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt;
use tracing::{debug, warn};

use super::election::Driver;
use super::{failure, in_time, sleep_until};
use crate::candidate::Event;
use crate::error::StoreError;
use crate::session::Failure;
use crate::store::{Place, Standing};
use crate::time::{Clock, Timestamp};

type StandingStream = BoxStream<'static, Result<Standing, StoreError>>;

/// The stream that follows a place, or the time at which it is opened again.
pub(super) struct Watch {
    place: Place,
    stream: Result<StandingStream, Timestamp>,
    opened: Timestamp,
}

impl Driver {
    /// Opens, keeps or drops the stream of our place, as the machine wishes.
    pub(super) fn follow_place(&mut self) {
        let Some((place, standing)) = self.machine.watching() else {
            self.watch = None;
            self.proclaiming = None;
            return;
        };
        let now = self.clock.now();
        match &mut self.watch {
            Some(watch) if watch.place == *place => {
                if matches!(watch.stream, Err(at) if now >= at) {
                    watch.stream = Ok(self.store.standing(place, None));
                    watch.opened = now;
                }
            }
            _ => {
                self.failures = 0;
                let stream = Ok(self.store.standing(place, Some(standing)));
                self.watch = Some(Watch {
                    place: place.clone(),
                    stream,
                    opened: now,
                });
            }
        }
    }

    /// Sees to it that our entry has the value that is wished for.
    pub(super) fn proclaim(&mut self) {
        let Some((place, _)) = self.machine.watching() else {
            return;
        };
        self.post.publish(self.entered_with, None);
        let (version, value) = self.post.value();
        if version <= self.entered_with || self.proclaiming.is_some() || self.clock.now() < self.proclaim_at {
            return;
        }
        let (store, limit) = (self.store.clone(), self.timing.request_timeout);
        let place = place.clone();
        let request = async move {
            (
                version,
                in_time(limit, &store, "proclaim", store.proclaim(&place, &value)).await,
            )
        };
        self.proclaiming = Some(request.boxed());
    }

    pub(super) fn handle_proclaimed(&mut self, version: u64, result: Result<(), StoreError>) {
        self.proclaiming = None;
        match result {
            Ok(()) => self.entered_with = version,
            Err(error) if failure(&error).is_some_and(Failure::is_permanent) => {
                self.entered_with = version;
                self.post.publish(version, Some(error.clone()));
                self.post.tell(Event::Error(error));
            }
            Err(error) => {
                warn!(election = %self.election, %error, "proclaiming failed");
                // Our place may be gone: its stream will tell. Else we try again.
                self.proclaim_at = self.clock.now() + self.timing.backoff.greatest;
                self.post.tell(Event::Error(error));
            }
        }
    }

    pub(super) fn handle_item(&mut self, item: Option<Result<Standing, StoreError>>) {
        let now = self.clock.now();
        self.learn_session();
        let Some(watch) = &mut self.watch else { return };
        match item {
            Some(Ok(standing)) => {
                let place = watch.place.clone();
                self.machine.handle_standing(self.clock.now(), &place, standing);
            }
            Some(Err(error)) => {
                // A stream that tells the present and fails right after has not recovered.
                if now.saturating_since(watch.opened) > self.timing.backoff.greatest {
                    self.failures = 0;
                }
                self.failures += 1;
                watch.stream = Err(now + self.timing.backoff.delay(self.failures));
                debug!(election = %self.election, %error, "lost sight of the place; looking again");
                self.post.tell(Event::Error(error.clone()));
                if failure(&error).is_some_and(Failure::is_permanent) {
                    self.failed = Some(error);
                    self.machine.stop(now);
                }
            }
            // Either the pause before opening it again is over, or the stream ended without an error.
            None if watch.stream.is_ok() => {
                self.failures += 1;
                watch.stream = Err(now + self.timing.backoff.delay(self.failures));
            }
            None => {}
        }
    }
}

/// The future's output, or never if there is none.
pub(super) async fn pending<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

pub(super) async fn next_standing(
    watch: &mut Option<Watch>,
    clock: &dyn Clock,
) -> Option<Result<Standing, StoreError>> {
    match watch {
        Some(Watch {
            stream: Ok(stream), ..
        }) => stream.next().await,
        Some(Watch { stream: Err(at), .. }) => {
            sleep_until(clock, Some(*at), None).await;
            None
        }
        None => std::future::pending().await,
    }
}
