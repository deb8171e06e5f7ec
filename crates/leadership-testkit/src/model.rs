//! A model of whole elections for stateright: the real machines, an abstract store, and a network that delays,
//! reorders, repeats and loses.
//!
//! What is real: [`SessionMachine`] and [`ElectionMachine`], wired as the drivers wire them. What is abstract:
//! time (ticks), the store (a session table and a line), and the wire between them. A node may be woken late or
//! never, which is a pause. A request that was given up stays on the wire and may still be applied.
//!
//! `Rules` also carries deliberate faults. The test that runs the model runs those too and demands that they
//! are found: a checker that finds nothing anywhere proves nothing.

mod wiring;
mod world;

use std::time::Duration;

use leadership_core::election::{ElectionMachine, ElectionReply};
use leadership_core::session::{Failure, SessionMachine, SessionReply, Timing};
use leadership_core::{Backoff, SessionId, Timestamp};
use stateright::{Model, Property};

pub use world::World;

use world::{Body, Lane, Message, Node, Store};

/// One unit of the model's time.
const TICK: Duration = Duration::from_secs(1);

/// A fault put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Terms are believed one tick longer than the deadline.
    LateDeadline,
    /// The store removes whatever entry the session has, not the very one that is named.
    UnfencedLeave,
    /// The deadline counts from when the acknowledgement came, not from when the renewal was sent.
    CountedFromReceipt,
}

/// Bounds of the exploration, and what may happen in it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How many candidates stand.
    pub nodes: usize,
    /// The TTL, in ticks.
    pub ttl: u32,
    /// Time goes no further than this many ticks.
    pub ticks: u32,
    /// At most this many messages are under way.
    pub wire: usize,
    /// How often each candidate may resign.
    pub resignations: u8,
    /// Whether candidates may be stopped.
    pub stops: bool,
    /// How many requests and replies may be given up. What was given up may still be applied, or be lost.
    pub losses: u8,
    /// A fault to be found.
    pub fault: Option<Fault>,
}

impl Rules {
    /// Sessions: requests are given up and applied late, sessions expire, leaders are paused.
    pub fn sessions() -> Self {
        Self {
            nodes: 2,
            ttl: 3,
            ticks: 3,
            wire: 2,
            resignations: 0,
            stops: false,
            losses: u8::MAX,
            fault: None,
        }
    }

    /// Renewals: a TTL so short that sessions are renewed, run out and are replaced within the bounds, with any
    /// delay, but nothing given up.
    pub fn renewals() -> Self {
        Self {
            ttl: 2,
            losses: 0,
            ..Self::sessions()
        }
    }

    /// Places: leaders resign, and requests to enter and to leave are repeated and applied late. The TTL is so
    /// long that no renewal is due.
    pub fn places() -> Self {
        Self {
            ttl: 9,
            ticks: 2,
            wire: 3,
            resignations: 2,
            ..Self::sessions()
        }
    }

    /// As `places`, with candidates that are stopped.
    pub fn stops() -> Self {
        Self {
            stops: true,
            resignations: 1,
            ..Self::places()
        }
    }

    fn timing(&self) -> Timing {
        Timing {
            ttl: TICK * self.ttl,
            renew_every: TICK * self.ttl / 3,
            request_timeout: TICK,
            margin: Duration::ZERO,
            drain: Duration::ZERO,
            backoff: Backoff {
                least: TICK,
                greatest: TICK,
                spread: 0,
            },
            certain_percent: 100,
            overdue: Duration::ZERO,
        }
    }
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time goes on.
    Tick,
    /// A node's timer fires, now or late.
    Wake(usize),
    /// The store applies a request.
    Apply(usize),
    /// A reply arrives.
    Deliver(usize),
    /// A node gives a request up. It stays on the wire.
    GiveUp(usize),
    /// A message is lost.
    Lose(usize),
    /// The store ends a session whose TTL has passed.
    Expire(SessionId),
    /// The store tells a node where it stands.
    Notice(usize),
    /// Somebody asks the leader to resign.
    Resign(usize),
    /// Somebody stops a candidate.
    Stop(usize),
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let timing = self.timing();
        let now = self.at(0);
        let nodes = (0..self.nodes)
            .map(|_| {
                let mut session = SessionMachine::new(timing);
                session.open(now);
                let election = ElectionMachine::new(timing);
                Node {
                    session,
                    election,
                    resignations: 0,
                    stopped: false,
                    terms: 0,
                }
            })
            .collect();
        let store = Store::default();
        let mut world = World {
            now: 0,
            nodes,
            store,
            wire: Vec::new(),
            losses: 0,
            highest: 0,
            out_of_order: false,
        };
        self.pump_all(&mut world);
        // From here every order is explored; up to here only the one in which nothing goes wrong, which leaves
        // the first node leading and the others in line behind it.
        while !world.wire.is_empty() {
            self.apply(&mut world, 0);
            let reply = world.wire.remove(0);
            self.deliver(&mut world, reply);
            self.pump_all(&mut world);
        }
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.now < self.ticks {
            steps.push(Step::Tick);
        }
        let now = self.at(world.now);
        for (index, node) in world.nodes.iter().enumerate() {
            let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
            if due(node.session.poll_timeout()) || due(node.election.poll_timeout()) {
                steps.push(Step::Wake(index));
            }
            if node.election.leading().is_some() && node.resignations < self.resignations {
                steps.push(Step::Resign(index));
            }
            if self.stops && !node.stopped {
                steps.push(Step::Stop(index));
            }
            if let Some((place, known)) = node.election.watching()
                && world.wire.len() < self.wire
                && world.store.standing(place) != known
                && !world
                    .wire
                    .iter()
                    .any(|m| m.node == index && matches!(m.body, Body::Standing(..)))
            {
                steps.push(Step::Notice(index));
            }
        }
        for (index, message) in world.wire.iter().enumerate() {
            // The same message twice leads to the same worlds.
            if world.wire[..index].contains(message) {
                continue;
            }
            match &message.body {
                Body::AskSession(_) | Body::AskElection(_) => {
                    steps.push(Step::Apply(index));
                    match message.lane {
                        Lane::Orphan => steps.push(Step::Lose(index)),
                        _ if world.losses < self.losses => steps.push(Step::GiveUp(index)),
                        _ => {}
                    }
                }
                Body::Standing(..) => steps.push(Step::Deliver(index)),
                Body::TellSession(_) | Body::TellElection(_) => {
                    steps.push(Step::Deliver(index));
                    if world.losses < self.losses {
                        steps.push(Step::GiveUp(index));
                    }
                }
            }
        }
        for (id, expires) in &world.store.sessions {
            if world.now >= *expires {
                steps.push(Step::Expire(id.clone()));
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        let now = self.at(world.now);
        match step {
            Step::Tick => world.now += 1,
            Step::Wake(index) => {
                // The session's task is no faster than the election's: both orders are tried, because a
                // wake-up that finds nothing due changes nothing.
                let node = &mut world.nodes[index];
                node.session.handle_timeout(now);
                self.pump(&mut world, index);
                world.nodes[index].election.handle_timeout(now);
                self.pump(&mut world, index);
            }
            Step::Apply(index) => self.apply(&mut world, index),
            Step::Deliver(index) => {
                let message = world.wire.remove(index);
                self.deliver(&mut world, message);
                self.pump_all(&mut world);
            }
            Step::GiveUp(index) => {
                // Without a bound on losses they need not be told apart.
                world.losses += u8::from(self.losses < u8::MAX);
                let mut message = world.wire[index].clone();
                let (lane, node) = (message.lane.clone(), message.node);
                match message.body {
                    Body::AskSession(_) | Body::AskElection(_) => world.wire[index].lane = Lane::Orphan,
                    _ => {
                        world.wire.remove(index);
                    }
                }
                message.body = match lane {
                    Lane::Session(_) => Body::TellSession(SessionReply::Failed(Failure::Unknown)),
                    _ => Body::TellElection(ElectionReply::Failed(Failure::Unknown)),
                };
                self.deliver(
                    &mut world,
                    Message {
                        node,
                        lane,
                        body: message.body,
                    },
                );
                self.pump_all(&mut world);
            }
            Step::Lose(index) => {
                world.wire.remove(index);
                self.pump_all(&mut world);
            }
            Step::Expire(id) => world.store.end(&id),
            Step::Notice(index) => {
                let node = &world.nodes[index];
                let (place, _) = node.election.watching()?;
                let body = Body::Standing(place.clone(), world.store.standing(place));
                world.wire.push(Message {
                    node: index,
                    lane: Lane::Orphan,
                    body,
                });
            }
            Step::Resign(index) => {
                let node = &mut world.nodes[index];
                node.resignations += 1;
                node.election.resign(now, node.election.leading()?);
                self.pump(&mut world, index);
            }
            Step::Stop(index) => {
                let node = &mut world.nodes[index];
                node.stopped = true;
                node.election.stop(now);
                self.pump(&mut world, index);
            }
        }
        self.renumber(&mut world);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one valid term", |rules: &Self, world: &World| {
                world
                    .nodes
                    .iter()
                    .filter(|node| rules.believes(world, node))
                    .count()
                    <= 1
            }),
            Property::always("tokens grow from term to term", |_, world: &World| {
                !world.out_of_order
            }),
            Property::always("a stopped candidate leaves nothing", |_, world: &World| {
                world.nodes.iter().all(|node| {
                    !node.stopped
                        || !node.election.is_finished()
                        || node
                            .session
                            .current()
                            .is_none_or(|(s, _)| world.store.find(&s.id).is_none())
                })
            }),
            Property::sometimes("somebody leads", |rules: &Self, world: &World| {
                world.nodes.iter().any(|node| rules.believes(world, node))
            }),
            Property::sometimes("leadership changes hands", |_, world: &World| {
                world.nodes.iter().filter(|node| node.terms > 0).count() > 1
            }),
        ]
    }
}
