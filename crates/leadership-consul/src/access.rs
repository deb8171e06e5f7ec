//! Whether a refusal is one for good. An agent asks the servers what a token may do: while it cannot, it refuses a
//! token that is right, and some versions do for half a minute longer (agent/consul/acl.go, `ACLTokenTTL`). Whoever took
//! such a refusal for the last word would stand in no election any more, because an agent was restarted.
//!
//! So what was accepted before, a token or a certificate, is refused for good only when it has been refused for a while;
//! and so is what an agent was asked for that was cut off from the servers a while ago.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::Method;
use leadership_core::ErrorKind;

use crate::answer::Answer;
use crate::client::{Ask, lock};
use crate::error::{Failure, Next};

/// How long a refusal has to go on: twice what agents and servers keep of a token by default.
const FOR_GOOD: Duration = Duration::from_secs(60);
/// What an agent answers by itself.
const AGENT: &str = "/v1/agent/";

/// What has become of requests, as far as access goes.
#[derive(Default)]
pub(crate) struct Access(Mutex<Known>);

#[derive(Default)]
struct Known {
    agents: Past,
    servers: Past,
    /// The last time that the servers did not answer a request to change something.
    unheard: Option<Instant>,
}

#[derive(Default)]
struct Past {
    /// Whether a request was ever accepted.
    accepted: bool,
    /// The first refusal since.
    refused: Option<Instant>,
}

impl Known {
    fn of(&mut self, is_agents: bool) -> &mut Past {
        if is_agents {
            &mut self.agents
        } else {
            &mut self.servers
        }
    }

    /// A request was refused: whether another one may not be.
    fn may_pass(&mut self, is_agents: bool, kind: ErrorKind, now: Instant) -> bool {
        use ErrorKind::{PermissionDenied, Unauthenticated};
        let lately = |then: Instant| now.saturating_duration_since(then) < FOR_GOOD;
        let was_cut_off = self.unheard.is_some_and(lately);
        let may_pass = match (kind, is_agents) {
            (Unauthenticated, false) => self.servers.accepted,
            // It knows of no token what the servers do not.
            (Unauthenticated, true) => self.agents.accepted || self.servers.accepted || was_cut_off,
            (PermissionDenied, true) => self.agents.accepted || was_cut_off,
            // What servers permit is another thing for every key.
            _ => return false,
        };
        let refused = *self.of(is_agents).refused.get_or_insert(now);
        // While the servers are silent an agent is not asked, and it goes on refusing for a while afterwards.
        let unheard = self.unheard.filter(|_| is_agents);
        may_pass && lately(unheard.map_or(refused, |unheard| unheard.max(refused)))
    }
}

impl Access {
    /// A request is about to be sent.
    pub(crate) fn ask(&self, ask: &Ask) -> Asked<'_> {
        let is_agents = ask.path.starts_with(AGENT);
        Asked {
            access: self,
            is_agents,
            // One that reads is held back, and dropped when another address is asked.
            counts: !is_agents && ask.method != Method::GET,
        }
    }
}

/// A request under way; dropped, it was not answered.
pub(crate) struct Asked<'a> {
    access: &'a Access,
    is_agents: bool,
    /// Whether it tells of silent servers if it is not answered.
    counts: bool,
}

impl Asked<'_> {
    /// The answer as it is to be taken: a refusal that may not be for good is a failure that may pass.
    pub(crate) fn answered(mut self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        let mut known = lock(&self.access.0);
        match answer {
            Ok(answer) => {
                self.counts = false;
                let past = known.of(self.is_agents);
                (past.accepted, past.refused) = (true, None);
                Ok(answer)
            }
            Err(mut failure) => {
                self.counts &= matches!(failure.kind, ErrorKind::Unavailable | ErrorKind::Timeout);
                if known.may_pass(self.is_agents, failure.kind, Instant::now()) {
                    failure.kind = ErrorKind::Unavailable;
                    // Another address may not refuse it.
                    failure.next = Next::Rotate;
                    failure.text = format!("{} (tried again for {FOR_GOOD:?}, as it may pass)", failure.text);
                }
                drop(known);
                Err(failure)
            }
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.counts {
            lock(&self.access.0).unheard = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use ErrorKind::{PermissionDenied, Unauthenticated};

    use super::*;

    const AGENTS: bool = true;
    const SERVERS: bool = false;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_never_accepted_is_refused_for_good_at_once() {
        let (mut known, now) = (Known::default(), Instant::now());
        for is_agents in [AGENTS, SERVERS] {
            for kind in [PermissionDenied, Unauthenticated] {
                assert!(!known.may_pass(is_agents, kind, now));
            }
        }
        known.servers.accepted = true;
        assert!(
            !known.may_pass(AGENTS, PermissionDenied, now),
            "servers permit what they are asked for, not what agents are"
        );
        assert!(!known.may_pass(SERVERS, PermissionDenied, now));
    }

    #[test]
    fn what_was_accepted_is_refused_for_good_after_a_while_only() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.servers.accepted = true;
        known.agents.accepted = true;
        for (is_agents, kind) in [
            (SERVERS, Unauthenticated),
            (AGENTS, Unauthenticated),
            (AGENTS, PermissionDenied),
        ] {
            known.of(is_agents).refused = None;
            for (seconds, passes) in [(0, true), (59, true), (60, false), (90, false)] {
                let may_pass = known.may_pass(is_agents, kind, after(start, seconds));
                assert_eq!(may_pass, passes, "{is_agents} {kind:?} {seconds}");
            }
        }
    }

    #[test]
    fn an_agent_that_was_cut_off_a_while_ago_may_not_know_the_token_yet() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.unheard = Some(start);
        assert!(known.may_pass(AGENTS, PermissionDenied, after(start, 59)));
        assert!(!known.may_pass(SERVERS, Unauthenticated, after(start, 59)));
        assert!(!known.may_pass(AGENTS, PermissionDenied, after(start, 60)));
    }

    #[test]
    fn the_time_that_servers_are_silent_is_none_of_refusals() {
        let (mut known, start) = (Known::default(), Instant::now());
        known.agents.accepted = true;
        assert!(known.may_pass(AGENTS, Unauthenticated, start));
        known.unheard = Some(after(start, 300));
        assert!(known.may_pass(AGENTS, Unauthenticated, after(start, 359)));
        assert!(!known.may_pass(AGENTS, Unauthenticated, after(start, 360)));
    }
}
