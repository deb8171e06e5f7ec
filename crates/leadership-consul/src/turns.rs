//! The addresses of a Consul, and which of them is asked now: all requests begin there, and all blocking reads wait
//! there. An address is left when a path to it fails, and when it leaves requests unanswered that nobody waits for any
//! more, since core gives up long before we do.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::debug;

use crate::client::lock;
use crate::config::Address;

/// A request dropped unanswered after this long tells against its address.
const SUSPICIOUS: Duration = Duration::from_millis(300);
/// After this long it does if the one before was dropped unanswered as well; sooner it tells nothing.
const ODD: Duration = Duration::from_millis(50);
/// How soon requests move on again from an address that left one of them unanswered, and answered another meanwhile: it
/// has much to do, and every move has all that watch ask it anew. But a connection may hang while others do not.
const MOVE_AGAIN: Duration = Duration::from_secs(10);

/// What is known of the address that is asked now.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    answered: Option<Instant>,
    moved: Option<Instant>,
}

/// All addresses, and which of them is asked now.
pub(crate) struct Turns {
    addresses: Vec<Address>,
    /// Counts the changes of the address; it is asked that many places after the first one.
    turn: watch::Sender<usize>,
    /// Whether a request was dropped unanswered since the last answer.
    unanswered: AtomicBool,
    /// When the address that is asked now answered last, and when requests moved last.
    pulse: Mutex<Pulse>,
}

/// A request under way: dropped unanswered after a while, it tells against its address.
pub(crate) struct Pending<'a> {
    turns: &'a Turns,
    turn: usize,
    since: Instant,
    moves: bool,
}

impl Turns {
    /// Begins at any of the addresses, of which there has to be one.
    pub(crate) fn new(addresses: Vec<Address>) -> Self {
        // Not at the first one always, lest every process of a fleet ask the same server.
        let start = RandomState::new().hash_one(Instant::now()) as usize % addresses.len();
        Self {
            addresses,
            turn: watch::Sender::new(start),
            unanswered: AtomicBool::new(false),
            pulse: Mutex::default(),
        }
    }

    /// How many addresses there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.addresses.len()).unwrap_or(u32::MAX)
    }

    /// All addresses, as in the URL.
    pub(crate) fn all(&self) -> String {
        let shown: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        shown.join(", ")
    }

    /// Whose turn it is.
    pub(crate) fn now(&self) -> usize {
        *self.turn.borrow()
    }

    /// Tells when requests begin at another address, or on another connection.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.turn.subscribe()
    }

    /// The address of a turn, and its place among all.
    pub(crate) fn address(&self, turn: usize) -> (usize, &Address) {
        let place = turn % self.addresses.len();
        (place, &self.addresses[place])
    }

    /// The address of a turn, as in the URL.
    pub(crate) fn shown(&self, turn: usize) -> String {
        self.address(turn).1.to_string()
    }

    /// A request is sent; `moves`: whether the next one may go elsewhere because of it.
    pub(crate) fn ask(&self, turn: usize, moves: bool) -> Pending<'_> {
        Pending {
            turns: self,
            turn,
            since: Instant::now(),
            moves,
        }
    }

    /// The address of this turn has answered.
    pub(crate) fn answered(&self, turn: usize) {
        if self.now() == turn {
            lock(&self.pulse).answered = Some(Instant::now());
        }
    }

    /// Moves on from an address, unless another request did already. With a single address the blocking reads
    /// still move, to a connection that does not hang.
    pub(crate) fn leave(&self, from: usize) {
        let moved = self.turn.send_if_modified(|turn| {
            let moves = *turn == from;
            if moves {
                *turn = turn.wrapping_add(1);
            }
            moves
        });
        if !moved {
            return;
        }
        *lock(&self.pulse) = Pulse {
            answered: None,
            moved: Some(Instant::now()),
        };
        if self.addresses.len() > 1 {
            debug!(
                from = self.shown(from),
                to = self.shown(from.wrapping_add(1)),
                "going to another address"
            );
        }
    }

    /// Moves on from an address that left a request of `since` unanswered.
    pub(crate) fn leave_silent(&self, turn: usize, since: Instant) {
        let pulse = *lock(&self.pulse);
        let alive = pulse.answered.is_some_and(|answered| answered >= since);
        let moved = pulse.moved.is_some_and(|moved| moved.elapsed() < MOVE_AGAIN);
        if !(alive && moved) {
            self.leave(turn);
        }
    }
}

impl Pending<'_> {
    /// It was answered, or failed.
    pub(crate) fn answered(self) {
        self.turns.unanswered.store(false, Ordering::Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.moves {
            return;
        }
        let (turns, waited) = (self.turns, self.since.elapsed());
        let again = waited >= ODD && turns.unanswered.swap(true, Ordering::Relaxed);
        if again || waited >= SUSPICIOUS {
            turns.unanswered.store(false, Ordering::Relaxed);
            turns.leave_silent(self.turn, self.since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConsulConfig;

    #[test]
    fn an_address_that_answers_others_is_left_once_for_one_that_it_did_not_answer() {
        let config = ConsulConfig::new(["a:1", "b:1"]).expect("accepted");
        let turns = Turns::new(config.addresses);
        let silent = |since| {
            let before = turns.now();
            turns.leave_silent(before, since);
            turns.now() != before
        };
        let since = Instant::now();
        assert!(silent(since), "nothing was answered");
        assert!(silent(since), "nothing was answered there either");
        let since = Instant::now();
        turns.answered(turns.now());
        assert!(!silent(since), "it is alive, and requests have just moved");
        assert!(silent(Instant::now()), "not since then");
        let since = Instant::now();
        turns.answered(turns.now().wrapping_sub(1));
        assert!(silent(since), "another one has answered");
        *lock(&turns.pulse) = Pulse {
            answered: Some(Instant::now()),
            moved: Instant::now().checked_sub(MOVE_AGAIN),
        };
        assert!(silent(since), "it is alive, but this connection may not be");
    }
}
