//! How the parts of the model act on each other: the machines' outputs, the wire, the store.

use std::time::Duration;

use leadership_core::election::{ElectionAction, ElectionEvent, ElectionReply};
use leadership_core::session::{SessionAction, SessionEvent, SessionReply};
use leadership_core::{Session, SessionId, Timestamp};

use super::world::{Body, Lane, Message, Node, World};
use super::{Fault, Rules, TICK};

impl Rules {
    pub(super) fn at(&self, ticks: u32) -> Timestamp {
        // Not at zero, so that "before the start" exists.
        Timestamp::new(TICK * (ticks + 1))
    }

    /// Whether a node believes itself leader at this instant.
    pub(super) fn believes(&self, world: &World, node: &Node) -> bool {
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
    pub(super) fn pump(&self, world: &mut World, index: usize) {
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
                    SessionEvent::TooShort(_) | SessionEvent::Failed | SessionEvent::Closed => {}
                }
            } else if let Some(event) = node.election.poll_event() {
                match event {
                    ElectionEvent::Elected(token) => {
                        node.terms = (node.terms + 1).min(2);
                        world.out_of_order |= token.0 <= world.highest;
                        world.highest = world.highest.max(token.0);
                    }
                    ElectionEvent::SessionGone(id) => node.session.handle_gone(now, &id),
                    ElectionEvent::GivenUp(id) => node.session.handle_given_up(now, &id),
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

    pub(super) fn deliver(&self, world: &mut World, message: Message) {
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

    pub(super) fn apply(&self, world: &mut World, index: usize) {
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
    pub(super) fn renumber(&self, world: &mut World) {
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
    pub(super) fn pump_all(&self, world: &mut World) {
        for index in 0..world.nodes.len() {
            self.pump(world, index);
        }
    }
}
