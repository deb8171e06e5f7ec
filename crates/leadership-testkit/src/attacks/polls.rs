//! What becomes of a candidate when a future of its handle is dropped after any number of polls.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use leadership_core::{Candidate, Config, Elections, MemoryStore, State};
use tokio::time::sleep;

use super::apart;
use super::steps::{Stepping, Steps};
use crate::conformance::MemoryHarness;
use crate::trials::{Case, cases, elected, election, eventually, soon};

const TTL: Duration = Duration::from_secs(2);

pub(super) fn on_memory() -> Vec<Case<MemoryHarness>> {
    cases![a_future_that_is_dropped_after_any_poll_breaks_nothing]
}

type Run = for<'a> fn(&'a Elections, &'a Candidate) -> LocalBoxFuture<'a, ()>;

/// All that can be awaited of a process and its candidate.
fn operations() -> [(&'static str, Run); 7] {
    macro_rules! operation {
        ($name:literal, |$elections:ident, $candidate:ident| $what:expr) => {
            ($name, |$elections, $candidate| {
                let _ = ($elections, $candidate);
                Box::pin(async move {
                    let _ = $what.await;
                })
            })
        };
    }
    [
        operation!("elected", |elections, candidate| candidate.elected()),
        operation!("lead", |elections, candidate| candidate.lead(|term| async move {
            sleep(Duration::from_millis(5)).await;
            term.token()
        })),
        operation!("proclaim", |elections, candidate| candidate.proclaim("new")),
        operation!("resign", |elections, candidate| async {
            candidate.elected().await?;
            candidate.resign().await
        }),
        operation!("follow", |elections, candidate| async {
            let follower = elections.follow(candidate.election())?;
            follower.led().await?;
            follower.contenders().await
        }),
        operation!("stop", |elections, candidate| candidate.stop()),
        operation!("close", |elections, candidate| elections.close()),
    ]
}

async fn a_future_that_is_dropped_after_any_poll_breaks_nothing(_: Arc<MemoryHarness>) {
    apart(|| async {
        for (name, operation) in operations() {
            // Before it is elected, and after.
            for leads in [false, true] {
                let mut polls = 0;
                while !dropped_after(polls, name, operation, leads).await {
                    polls += 1;
                    assert!(polls < 100, "{name} is polled again and again");
                }
                println!(
                    "{name}, {}: {polls} polls",
                    if leads { "leading" } else { "standing" }
                );
            }
        }
    })
    .await;
}

/// Whether it was done with fewer polls.
async fn dropped_after(polls: usize, name: &str, operation: Run, leads: bool) -> bool {
    let store = MemoryStore::new();
    let stepping = Stepping {
        store: store.shared(),
        steps: Steps::held_at(usize::MAX),
    };
    let elections = Elections::new(Arc::new(stepping), Config::with_ttl(TTL)).unwrap();
    let election = election("polls");
    let candidate = elections.stand(&*election, "a").unwrap();
    if leads {
        elected(&candidate).await;
    }
    let done = polled(polls, operation(&elections, &candidate)).await;
    // Whatever it was, it goes on in the background or was never asked for.
    match name {
        "stop" | "close" if polls > 0 => {
            let stopped = async || matches!(candidate.state(), State::Stopped(None));
            eventually(name, stopped).await;
        }
        _ => drop(elected(&candidate).await),
    }
    let later = Elections::new(store.shared(), Config::with_ttl(TTL)).unwrap();
    let after = later.stand(&*election, "b").unwrap();
    drop((candidate, elections));
    elected(&after).await;
    soon("closed", later.close()).await;
    eventually("no session is left", async || store.sessions() == 0).await;
    done
}

/// Polls a future so often and drops it; whether it was done.
async fn polled(mut polls: usize, future: impl Future<Output = ()>) -> bool {
    let mut future = pin!(future);
    poll_fn(|context| {
        if polls == 0 {
            return Poll::Ready(false);
        }
        polls -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            // Dropped at once, and not only when it is woken again.
            Poll::Pending if polls == 0 => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
