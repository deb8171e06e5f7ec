//! A model of whole elections for stateright: the real machines, an abstract store, and a network that delays,
//! reorders, repeats and loses.
//!
//! What is real: [`SessionMachine`] and [`ElectionMachine`], wired as the drivers wire them. What is abstract:
//! time (ticks), the store (a session table and a line), and the wire between them. A node may be woken late or
//! never, which is a pause. A request that was given up stays on the wire and may still be applied.
//!
//! `Rules` also carries deliberate faults. The test that runs the model runs those too and demands that they
//! are found: a checker that finds nothing anywhere proves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use leadership_core::election::{ElectionAction, ElectionEvent, ElectionMachine, ElectionReply};
use leadership_core::session::{
    Failure, SessionAction, SessionEvent, SessionMachine, SessionReply, Ticket, Timing,
};
use leadership_core::{Ahead, Backoff, ElectionName, Place, Session, SessionId, Standing, Timestamp, Token};
use stateright::{Model, Property};

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
    /// Whether requests and replies may be given up, lost and applied late.
    pub losses: bool,
    /// A fault to be found.
    pub fault: Option<Fault>,
}

impl Rules {
    /// Sessions: renewals are delayed and lost, sessions expire, leaders are paused.
    pub fn sessions() -> Self {
        Self {
            nodes: 2,
            ttl: 3,
            ticks: 3,
            wire: 2,
            resignations: 0,
            stops: false,
            losses: true,
            fault: None,
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

/// Everything there is at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    now: u32,
    nodes: Vec<Node>,
    store: Store,
    wire: Vec<Message>,
    highest: u64,
    out_of_order: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    session: SessionMachine,
    election: ElectionMachine,
    resignations: u8,
    stopped: bool,
    terms: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Store {
    revision: u64,
    opened: u64,
    /// When each session may be expired.
    sessions: BTreeMap<SessionId, u32>,
    /// The line: fence and session of each entry.
    line: BTreeMap<u64, SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Lane {
    Session(Ticket),
    Election(Ticket),
    /// Given up by its sender; nobody waits for the reply.
    Orphan,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Message {
    node: usize,
    lane: Lane,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Body {
    AskSession(SessionAction),
    AskElection(ElectionAction),
    TellSession(SessionReply),
    TellElection(ElectionReply),
    Standing(Place, Standing),
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

impl Rules {
    fn at(&self, ticks: u32) -> Timestamp {
        // Not at zero, so that "before the start" exists.
        Timestamp::new(TICK * (ticks + 1))
    }

    /// Whether a node believes itself leader at this instant.
    fn believes(&self, world: &World, node: &Node) -> bool {
        let late = if self.fault == Some(Fault::LateDeadline) {
            TICK
        } else {
            Duration::ZERO
        };
        node.election
            .deadline()
            .is_some_and(|deadline| self.at(world.now) < deadline + late)
    }

    /// Passes on what the machines put out, as the drivers do.
    fn pump(&self, world: &mut World, index: usize) {
        let now = self.at(world.now);
        loop {
            let node = &mut world.nodes[index];
            if let Some(event) = node.session.poll_event() {
                match event {
                    SessionEvent::Opened { session, deadline } => {
                        node.election.handle_session(now, &session, deadline);
                    }
                    SessionEvent::Extended { deadline } => {
                        let session = node.session.current().map(|(session, _)| session.clone());
                        if let Some(session) = session {
                            node.election.handle_session(now, &session, deadline);
                        }
                    }
                    SessionEvent::Lost { id, reason } => node.election.handle_session_lost(now, &id, reason),
                    SessionEvent::Ended(id) => node.election.handle_session_ended(now, &id),
                    SessionEvent::Failed | SessionEvent::Closed => {}
                }
            } else if let Some(event) = node.election.poll_event() {
                match event {
                    ElectionEvent::Elected(token) => {
                        node.terms = (node.terms + 1).min(2);
                        world.out_of_order |= token.0 <= world.highest;
                        world.highest = world.highest.max(token.0);
                    }
                    ElectionEvent::SessionGone(id) => node.session.handle_gone(now, &id),
                    _ => {}
                }
            } else if world.wire.len() < self.wire {
                if let Some((ticket, action)) = node.session.poll_action() {
                    let body = Body::AskSession(action);
                    world.wire.push(Message {
                        node: index,
                        lane: Lane::Session(ticket),
                        body,
                    });
                } else if let Some((ticket, action)) = node.election.poll_action() {
                    let body = Body::AskElection(action);
                    world.wire.push(Message {
                        node: index,
                        lane: Lane::Election(ticket),
                        body,
                    });
                } else {
                    return;
                }
            } else {
                return;
            }
        }
    }

    fn deliver(&self, world: &mut World, message: Message) {
        let now = self.at(world.now);
        let node = &mut world.nodes[message.node];
        match (message.lane, message.body) {
            (Lane::Session(ticket), Body::TellSession(mut reply)) => {
                if self.fault == Some(Fault::CountedFromReceipt)
                    && let SessionReply::Renewed(granted) = &mut reply
                {
                    // As much more as the renewal was under way at most.
                    *granted += TICK;
                }
                node.session.handle_reply(now, ticket, reply);
            }
            (Lane::Election(ticket), Body::TellElection(reply)) => {
                node.election.handle_reply(now, ticket, reply);
            }
            (_, Body::Standing(place, standing)) => node.election.handle_standing(now, &place, standing),
            _ => {}
        }
        self.pump(world, message.node);
    }

    fn apply(&self, world: &mut World, index: usize) {
        let message = world.wire[index].clone();
        let ttl = TICK * self.ttl;
        let store = &mut world.store;
        let reply = match message.body {
            Body::AskSession(action) => Body::TellSession(match action {
                SessionAction::Open => {
                    store.opened += 1;
                    let id = SessionId::new(store.opened.to_string());
                    store.sessions.insert(id.clone(), world.now + self.ttl);
                    SessionReply::Opened(Session { id, ttl })
                }
                SessionAction::Renew(session) => match store.sessions.get_mut(&session.id) {
                    Some(expires) => {
                        *expires = world.now + self.ttl;
                        SessionReply::Renewed(ttl)
                    }
                    None => SessionReply::Gone,
                },
                SessionAction::Close(session) => {
                    store.end(&session.id);
                    SessionReply::Closed
                }
            }),
            Body::AskElection(action) => Body::TellElection(match action {
                ElectionAction::Enter(session) => store.enter(&session.id),
                ElectionAction::Find(session) => ElectionReply::Found(store.find(&session.id)),
                ElectionAction::Leave(place) => {
                    if self.fault == Some(Fault::UnfencedLeave) {
                        store.line.retain(|_, session| *session != place.session);
                    } else {
                        store.line.remove(&place.fence);
                    }
                    ElectionReply::Left
                }
            }),
            _ => return,
        };
        if message.lane == Lane::Orphan {
            world.wire.remove(index);
            self.pump_all(world);
        } else {
            world.wire[index].body = reply;
        }
    }

    /// Worlds that differ in the numbers of their tickets only are the same.
    fn renumber(&self, world: &mut World) {
        const LAST: u64 = 100;
        for (index, node) in world.nodes.iter_mut().enumerate() {
            let (session, election) = (node.session.renumber(LAST), node.election.renumber(LAST));
            for message in world.wire.iter_mut().filter(|message| message.node == index) {
                match &mut message.lane {
                    Lane::Session(ticket) => ticket.0 -= session,
                    Lane::Election(ticket) => ticket.0 -= election,
                    Lane::Orphan => {}
                }
            }
        }
    }

    /// Room on the wire: whoever waits for it goes on.
    fn pump_all(&self, world: &mut World) {
        for index in 0..world.nodes.len() {
            self.pump(world, index);
        }
    }
}

impl Store {
    fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    fn end(&mut self, id: &SessionId) {
        self.sessions.remove(id);
        self.line.retain(|_, session| session != id);
    }

    fn find(&self, id: &SessionId) -> Option<Place> {
        let (fence, _) = self.line.iter().find(|(_, session)| *session == id)?;
        let election = ElectionName::new("e").ok()?;
        Some(Place {
            election,
            session: id.clone(),
            key: "".into(),
            fence: *fence,
        })
    }

    fn enter(&mut self, id: &SessionId) -> ElectionReply {
        if !self.sessions.contains_key(id) {
            return ElectionReply::SessionGone;
        }
        if self.find(id).is_none() {
            let fence = self.next();
            self.line.insert(fence, id.clone());
        }
        match self.find(id) {
            Some(place) => {
                let standing = self.standing(&place);
                ElectionReply::Entered(place, standing)
            }
            None => ElectionReply::SessionGone,
        }
    }

    fn standing(&self, place: &Place) -> Standing {
        if !self.line.contains_key(&place.fence) {
            Standing::Gone
        } else if self.line.range(..place.fence).next().is_some() {
            Standing::Behind(Ahead {
                key: "".into(),
                foreign: false,
            })
        } else {
            Standing::First(Token(place.fence))
        }
    }
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
                        _ if self.losses => steps.push(Step::GiveUp(index)),
                        _ => {}
                    }
                }
                Body::Standing(..) => {
                    steps.push(Step::Deliver(index));
                    if self.losses {
                        steps.push(Step::Lose(index));
                    }
                }
                Body::TellSession(_) | Body::TellElection(_) => {
                    steps.push(Step::Deliver(index));
                    if self.losses {
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
