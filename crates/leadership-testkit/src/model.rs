//! A model of whole elections for stateright: the real machines, an abstract store, and a network that delays,
//! reorders, repeats and loses.
//!
//! What is real: [`SessionMachine`] and [`ElectionMachine`], wired as the drivers wire them. What is abstract:
//! time (ticks), the store (a session table and lines), and the wire between them. A node may be woken late or
//! never, which is a pause; its clock may differ from the store's. A request that was given up stays on the wire
//! and may still be applied.
//!
//! [`Rules`] says what may happen, and how far it is explored. It also carries deliberate faults. The test that
//! runs the model runs those too and demands that they are found: a checker that finds nothing anywhere proves
//! nothing.

mod fair;
mod report;
mod rules;
mod wiring;
mod world;

use std::time::Duration;

use leadership_core::election::{ElectionMachine, ElectionReply};
use leadership_core::session::{Failure, SessionMachine, SessionReply};
use leadership_core::{Place, SessionId, Standing, Timestamp};
use stateright::{Model, Property};

pub use report::{Report, explore, look_for};
pub use rules::{Fault, Rules};
pub use world::World;

use world::{Body, Breach, Lane, Message, Node, Stand, Store};

/// One unit of the model's time.
const TICK: Duration = Duration::from_secs(1);

/// What can happen next. A number is that of a node, then that of an election, or that of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Time goes on: the store's clock ticks, and every other if clocks do not differ.
    Tick,
    /// A node's clock follows the store's.
    Follow(usize),
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
    Notice(usize, usize),
    /// Somebody asks the leader to resign.
    Resign(usize, usize),
    /// Somebody changes the value of a candidate.
    Proclaim(usize, usize),
    /// Somebody stops a candidate.
    Stop(usize, usize),
    /// Somebody removes the entry of this election with this fence from the store.
    RemoveEntry(usize, u64),
    /// Somebody removes a session from the store.
    RemoveSession(SessionId),
}

impl Rules {
    /// What may happen to one node's part in one election.
    fn stand_actions(&self, world: &World, index: usize, election: usize, steps: &mut Vec<Step>) {
        let stand = &world.nodes[index].stands[election];
        if stand.election.leading().is_some() && stand.resignations < self.resignations {
            steps.push(Step::Resign(index, election));
        }
        if self.stops && !stand.stopped {
            steps.push(Step::Stop(index, election));
        }
        let Some((place, known)) = stand.election.watching() else {
            return;
        };
        if world.wire.len() >= self.wire {
            return;
        }
        if stand.proclaims < self.proclaims {
            steps.push(Step::Proclaim(index, election));
        }
        let under_way =
            |m: &Message| m.node == index && matches!(m.body, Body::Standing(e, ..) if e == election);
        if self.tells(world, election, place) != known
            && !self.has(Fault::SilentWatch)
            && !world.wire.iter().any(under_way)
        {
            steps.push(Step::Notice(index, election));
        }
    }

    fn tells(&self, world: &World, election: usize, place: &Place) -> Standing {
        world.store.standing(election, place, self.has(Fault::BlindWatch))
    }

    /// What may happen to one message.
    fn message_actions(&self, world: &World, index: usize, steps: &mut Vec<Step>) {
        let message = &world.wire[index];
        match &message.body {
            Body::AskSession(_) | Body::AskElection(..) | Body::AskProclaim(..) => {
                steps.push(Step::Apply(index));
                match message.lane {
                    Lane::Orphan => steps.push(Step::Lose(index)),
                    _ if world.losses < self.losses => steps.push(Step::GiveUp(index)),
                    _ => {}
                }
            }
            Body::Standing(..) => steps.push(Step::Deliver(index)),
            Body::TellSession(_) | Body::TellElection(..) => {
                steps.push(Step::Deliver(index));
                if world.losses < self.losses {
                    steps.push(Step::GiveUp(index));
                }
            }
        }
    }

    /// The sender of a message no longer waits: it learns that the outcome is unknown.
    fn give_up(&self, world: &mut World, index: usize) {
        // Without a bound on losses they need not be told apart.
        world.losses += u8::from(self.losses < u8::MAX);
        let Message { node, lane, body } = world.wire[index].clone();
        if matches!(body, Body::AskSession(_) | Body::AskElection(..)) {
            world.wire[index].lane = Lane::Orphan;
        } else {
            world.wire.remove(index);
        }
        let body = match body {
            Body::AskElection(election, _) | Body::TellElection(election, _) => {
                Body::TellElection(election, ElectionReply::Failed(Failure::Unknown))
            }
            _ => Body::TellSession(SessionReply::Failed(Failure::Unknown)),
        };
        self.deliver(world, Message { node, lane, body });
        self.pump_all(world);
    }

    /// Those who believe that they lead an election: their tokens, in order.
    fn believers(&self, world: &World, election: usize) -> Vec<u64> {
        let all = 0..world.nodes.len();
        let mut tokens: Vec<u64> = all
            .filter_map(|index| self.believes(world, index, election))
            .collect();
        tokens.sort_unstable();
        tokens
    }

    fn everywhere(&self, holds: impl Fn(usize, u64) -> bool, world: &World) -> bool {
        (0..self.elections).all(|e| self.believers(world, e).into_iter().all(|token| holds(e, token)))
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let timing = self.timing();
        let stand = Stand {
            election: ElectionMachine::new(timing),
            resignations: 0,
            proclaims: 0,
            stopped: false,
            released: false,
            terms: 0,
            last: 0,
            believed: None,
            over: 0,
        };
        let mut session = SessionMachine::new(timing);
        session.open(self.at(0));
        let node = Node {
            session,
            stands: vec![stand; self.elections],
            behind: 0,
        };
        let mut world = World {
            now: 0,
            nodes: vec![node; self.nodes],
            store: Store::new(self.elections),
            wire: Vec::new(),
            losses: 0,
            removals: 0,
            highest: vec![0; self.elections],
            breach: None,
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
        self.look(&mut world);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.now < self.ticks
            && (self.drift == 0 || world.nodes.iter().all(|node| node.behind < self.drift))
        {
            steps.push(Step::Tick);
        }
        for (index, node) in world.nodes.iter().enumerate() {
            if node.behind > 0 {
                steps.push(Step::Follow(index));
            }
            let now = self.local(world, index);
            let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
            if due(node.session.poll_timeout())
                || node.stands.iter().any(|stand| due(stand.election.poll_timeout()))
            {
                steps.push(Step::Wake(index));
            }
            for election in 0..self.elections {
                self.stand_actions(world, index, election, steps);
            }
        }
        for (index, message) in world.wire.iter().enumerate() {
            // The same message twice leads to the same worlds.
            if !world.wire[..index].contains(message) {
                self.message_actions(world, index, steps);
            }
        }
        for (id, lease) in &world.store.sessions {
            if world.now >= lease.expires {
                steps.push(Step::Expire(id.clone()));
            }
        }
        if world.removals < self.removals {
            steps.extend(world.store.sessions.keys().cloned().map(Step::RemoveSession));
            for (election, line) in world.store.lines.iter().enumerate() {
                steps.extend(line.keys().map(|fence| Step::RemoveEntry(election, *fence)));
            }
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick => {
                world.now += 1;
                if self.drift > 0 {
                    world.nodes.iter_mut().for_each(|node| node.behind += 1);
                }
            }
            Step::Follow(index) => world.nodes[index].behind -= 1,
            Step::Wake(index) => {
                // The session's task is no faster than the election's: both orders are tried, because a
                // wake-up that finds nothing due changes nothing.
                let now = self.local(&world, index);
                world.nodes[index].session.handle_timeout(now);
                self.pump(&mut world, index);
                for election in 0..self.elections {
                    world.nodes[index].stands[election].election.handle_timeout(now);
                    self.pump(&mut world, index);
                }
            }
            Step::Apply(index) => self.apply(&mut world, index),
            Step::Deliver(index) => {
                let message = world.wire.remove(index);
                self.deliver(&mut world, message);
                self.pump_all(&mut world);
            }
            Step::GiveUp(index) => self.give_up(&mut world, index),
            Step::Lose(index) => {
                world.wire.remove(index);
                self.pump_all(&mut world);
            }
            Step::Expire(id) => world.store.end(&id),
            Step::Notice(node, election) => {
                let (place, _) = world.nodes[node].stands[election].election.watching()?;
                let standing = self.tells(&world, election, place);
                let body = Body::Standing(election, place.clone(), standing);
                let lane = Lane::Orphan;
                world.wire.push(Message { node, lane, body });
            }
            Step::Resign(index, election) => {
                let now = self.local(&world, index);
                let stand = &mut world.nodes[index].stands[election];
                stand.resignations += 1;
                stand.election.resign(now, stand.election.leading()?);
                self.pump(&mut world, index);
            }
            Step::Proclaim(node, election) => {
                let stand = &mut world.nodes[node].stands[election];
                stand.proclaims += 1;
                let (place, _) = stand.election.watching()?;
                let body = Body::AskProclaim(election, place.clone());
                let lane = Lane::Orphan;
                world.wire.push(Message { node, lane, body });
            }
            Step::Stop(index, election) => {
                let now = self.local(&world, index);
                let stand = &mut world.nodes[index].stands[election];
                stand.stopped = true;
                stand.election.stop(now);
                self.pump(&mut world, index);
            }
            Step::RemoveEntry(election, fence) => {
                world.removals += 1;
                world.store.remove_entry(election, fence);
            }
            Step::RemoveSession(id) => {
                world.removals += 1;
                world.store.remove_session(&id);
            }
        }
        self.look(&mut world);
        self.renumber(&mut world);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            // Where entries are removed by hand, only the order of tokens holds until the watch tells.
            Property::always("at most one valid term", |rules: &Self, world: &World| {
                (0..rules.elections).all(|election| {
                    let tokens = rules.believers(world, election);
                    tokens
                        .windows(2)
                        .all(|two| two[0] < two[1] && world.store.removed.contains(&two[0]))
                })
            }),
            Property::always("tokens grow from term to term", |_, world: &World| {
                world.breach != Some(Breach::TokenOrder)
            }),
            Property::always("an ended term stays ended", |_, world: &World| {
                world.breach != Some(Breach::Revived)
            }),
            Property::always(
                "a term ends when its entry is told to be gone",
                |_, world: &World| world.breach != Some(Breach::Deaf),
            ),
            Property::always(
                "a valid term has an entry and a session",
                |rules: &Self, world: &World| {
                    let stands = |election, token| {
                        world.store.removed.contains(&token) || world.store.stands(election, token)
                    };
                    rules.everywhere(stands, world)
                },
            ),
            Property::always("a stopped candidate leaves nothing", |_, world: &World| {
                world.nodes.iter().all(|node| {
                    node.stands.iter().enumerate().all(|(election, stand)| {
                        let current = node.session.current();
                        !stand.stopped
                            || !stand.election.is_finished()
                            || current.is_none_or(|(s, _)| world.store.find(election, &s.id).is_none())
                    })
                })
            }),
            Property::always("once faults stop, everybody in line leads", Self::all_are_reached),
            Property::sometimes("somebody leads", |rules: &Self, world: &World| {
                !rules.believers(world, 0).is_empty()
            }),
        ];
        properties.push(Property::sometimes(
            "leadership changes hands",
            |_, world: &World| {
                let led = |node: &&Node| node.stands[0].terms > 0;
                world.nodes.iter().filter(led).count() > 1
            },
        ));
        properties
    }
}
