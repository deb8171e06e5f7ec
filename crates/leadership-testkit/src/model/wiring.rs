//! How the parts of the model act on each other: the machines' outputs, the wire, the store.

use std::time::Duration;

use leadership_core::election::{ElectionAction, ElectionEvent, ElectionReply};
use leadership_core::session::{SessionAction, SessionEvent, SessionReply};
use leadership_core::{Place, Session, SessionId, Standing, Timestamp, Token};

use super::world::{Body, Breach, Lane, Lease, Message, World};
use super::{Fault, Rules, TICK};

impl Rules {
    /// What a clock shows after so many ticks.
    pub(super) fn at(&self, ticks: u32) -> Timestamp {
        // Not at zero, so that "before the start" exists.
        Timestamp::new(TICK * (ticks + 1))
    }

    /// What a node's clock shows.
    pub(super) fn local(&self, world: &World, index: usize) -> Timestamp {
        self.at(world.now - world.nodes[index].behind)
    }

    /// The term in which a node believes itself leader at this instant.
    pub(super) fn believes(&self, world: &World, index: usize, election: usize) -> Option<u64> {
        let late = if self.has(Fault::LateDeadline) {
            TICK
        } else {
            Duration::ZERO
        };
        let machine = &world.nodes[index].stands[election].election;
        let valid = self.local(world, index) < machine.deadline()? + late;
        valid.then_some(machine.leading()?.0)
    }

    /// Passes on what the machines put out, as the drivers do.
    pub(super) fn pump(&self, world: &mut World, index: usize) {
        while self.pass_event(world, index) || self.pass_action(world, index) {}
    }

    fn pass_event(&self, world: &mut World, index: usize) -> bool {
        let now = self.local(world, index);
        let node = &mut world.nodes[index];
        if let Some(event) = node.session.poll_event() {
            let current = node.session.current().map(|(session, _)| session.clone());
            for election in node.stands.iter_mut().map(|stand| &mut stand.election) {
                match (&event, &current) {
                    (SessionEvent::Opened { session, deadline }, _)
                    | (SessionEvent::Extended { deadline }, Some(session)) => {
                        election.handle_session(now, session, *deadline);
                    }
                    (SessionEvent::Lost { id, reason }, _) => election.handle_session_lost(now, id, *reason),
                    (SessionEvent::Ended(id), _) => election.handle_session_ended(now, id),
                    _ => {}
                }
            }
            return true;
        }
        for election in 0..self.elections {
            let node = &mut world.nodes[index];
            let Some(event) = node.stands[election].election.poll_event() else {
                continue;
            };
            match event {
                ElectionEvent::Elected(token) => self.elected(world, index, election, token.0),
                ElectionEvent::SessionGone(id) => node.session.handle_gone(now, &id),
                ElectionEvent::GivenUp(id) => node.session.handle_given_up(now, &id),
                ElectionEvent::Stopped => {
                    node.stands[election].released = true;
                    // The last candidate to stop lets go of the session.
                    if node.stands.iter().all(|stand| stand.released) {
                        node.session.close(now);
                    }
                }
                _ => {}
            }
            return true;
        }
        false
    }

    fn pass_action(&self, world: &mut World, node: usize) -> bool {
        if world.wire.len() >= self.wire {
            return false;
        }
        let machines = &mut world.nodes[node];
        if let Some((ticket, action)) = machines.session.poll_action() {
            let (lane, body) = (Lane::Session(ticket), Body::AskSession(action));
            world.wire.push(Message { node, lane, body });
            return true;
        }
        for (index, stand) in machines.stands.iter_mut().enumerate() {
            if let Some((ticket, action)) = stand.election.poll_action() {
                let (lane, body) = (Lane::Election(ticket), Body::AskElection(index, action));
                world.wire.push(Message { node, lane, body });
                return true;
            }
        }
        false
    }

    fn elected(&self, world: &mut World, index: usize, election: usize, token: u64) {
        let stand = &mut world.nodes[index].stands[election];
        stand.terms = (stand.terms + 1).min(2);
        // A node that does not know that its entry was removed may begin its term after the next one did.
        let before = if world.store.removed.contains(&token) {
            stand.last
        } else {
            std::mem::replace(&mut world.highest[election], token).max(stand.last)
        };
        stand.last = token;
        if token <= before {
            world.breach = Some(Breach::TokenOrder);
        }
    }

    pub(super) fn deliver(&self, world: &mut World, message: Message) {
        let index = message.node;
        let now = self.local(world, index);
        let node = &mut world.nodes[index];
        match (message.lane, message.body) {
            (Lane::Session(ticket), Body::TellSession(mut reply)) => {
                let mut now = now;
                match &mut reply {
                    // As much more as the renewal was under way at most.
                    SessionReply::Renewed(granted) if self.has(Fault::CountedFromReceipt) => *granted += TICK,
                    SessionReply::Renewed(_) if self.has(Fault::LateAcknowledgement) => now = now - TICK,
                    _ => {}
                }
                node.session.handle_reply(now, ticket, reply);
            }
            (Lane::Election(ticket), Body::TellElection(election, reply)) => {
                node.stands[election].election.handle_reply(now, ticket, reply);
            }
            (_, Body::Standing(election, place, standing)) => {
                let machine = &mut node.stands[election].election;
                machine.handle_standing(now, &place, standing.clone());
                if standing == Standing::Gone && machine.leading() == Some(Token(place.fence)) {
                    world.breach = Some(Breach::Deaf);
                }
            }
            _ => {}
        }
        self.pump(world, index);
    }

    pub(super) fn apply(&self, world: &mut World, index: usize) {
        let Message { node, lane, body } = world.wire[index].clone();
        let store = &mut world.store;
        let reply = match body {
            Body::AskSession(action) => Body::TellSession(self.apply_session(world, node, action)),
            Body::AskElection(election, action) => Body::TellElection(
                election,
                match action {
                    ElectionAction::Enter(session) => {
                        store.enter(election, &session.id, self.has(Fault::DeadSession))
                    }
                    ElectionAction::Find(session) => ElectionReply::Found(store.find(election, &session.id)),
                    ElectionAction::Leave(place) => {
                        if self.has(Fault::UnfencedLeave) {
                            store.lines[election].retain(|_, session| *session != place.session);
                        } else {
                            store.lines[election].remove(&place.fence);
                        }
                        ElectionReply::Left
                    }
                },
            ),
            Body::AskProclaim(election, place) => {
                self.apply_proclaim(world, node, election, &place);
                world.wire.remove(index);
                return self.pump_all(world);
            }
            Body::TellSession(_) | Body::TellElection(..) | Body::Standing(..) => return,
        };
        if lane == Lane::Orphan {
            world.wire.remove(index);
            self.pump_all(world);
        } else {
            world.wire[index].body = reply;
        }
    }

    fn apply_session(&self, world: &mut World, owner: usize, action: SessionAction) -> SessionReply {
        let ttl = TICK * self.ttl;
        let expires = world.now + self.ttl;
        let store = &mut world.store;
        match action {
            SessionAction::Open => {
                store.opened += 1;
                let id = SessionId::new(store.opened.to_string());
                store.sessions.insert(id.clone(), Lease { owner, expires });
                SessionReply::Opened(Session { id, ttl })
            }
            SessionAction::Renew(session) => match store.sessions.get_mut(&session.id) {
                Some(lease) => {
                    lease.expires = expires;
                    SessionReply::Renewed(ttl)
                }
                None => SessionReply::Gone,
            },
            SessionAction::Close(session) => {
                store.end(&session.id);
                SessionReply::Closed
            }
        }
    }

    /// The value itself is left out: the entry gets a new version, and keeps its fence.
    fn apply_proclaim(&self, world: &mut World, index: usize, election: usize, place: &Place) {
        if !world.store.lines[election].contains_key(&place.fence) {
            return;
        }
        let version = world.store.next();
        let leading = world.nodes[index].stands[election].election.leading();
        if self.has(Fault::TokenReread) && leading == Some(Token(place.fence)) {
            world.highest[election] = version;
        }
    }

    /// Looks at every term, as a reader might at any time, and notes what has ended.
    pub(super) fn look(&self, world: &mut World) {
        for index in 0..world.nodes.len() {
            for election in 0..self.elections {
                let believed = self.believes(world, index, election);
                let stand = &mut world.nodes[index].stands[election];
                if let Some(ended) = stand.believed
                    && believed != Some(ended)
                {
                    stand.over = stand.over.max(ended);
                }
                stand.believed = believed;
                if believed.is_some_and(|token| token <= stand.over) {
                    world.breach = Some(Breach::Revived);
                }
            }
        }
        // What no node relies on any more need not be remembered.
        let (nodes, wire) = (&world.nodes, &world.wire);
        world.store.removed.retain(|fence| {
            let stands = nodes.iter().flat_map(|node| &node.stands);
            let watched = stands.filter_map(|stand| stand.election.watching());
            let entered = wire.iter().filter_map(|message| match &message.body {
                Body::TellElection(_, ElectionReply::Entered(place, _)) => Some(place),
                _ => None,
            });
            let mut places = watched.map(|(place, _)| place).chain(entered);
            places.any(|place| place.fence == *fence)
        });
    }

    /// Worlds that differ in the numbers of their tickets only are the same.
    pub(super) fn renumber(&self, world: &mut World) {
        const LAST: u64 = 100;
        for (index, node) in world.nodes.iter_mut().enumerate() {
            let session = node.session.renumber(LAST);
            let stands = node.stands.iter_mut();
            let elections: Vec<u64> = stands.map(|stand| stand.election.renumber(LAST)).collect();
            for message in world.wire.iter_mut().filter(|message| message.node == index) {
                match (&mut message.lane, &message.body) {
                    (Lane::Session(ticket), _) => ticket.0 -= session,
                    (
                        Lane::Election(ticket),
                        Body::AskElection(election, _) | Body::TellElection(election, _),
                    ) => ticket.0 -= elections[*election],
                    _ => {}
                }
            }
        }
    }

    /// Room on the wire: whoever waits for it goes on.
    pub(super) fn pump_all(&self, world: &mut World) {
        for index in 0..world.nodes.len() {
            self.pump(world, index);
        }
    }
}
