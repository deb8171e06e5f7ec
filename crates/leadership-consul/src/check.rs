//! TTL checks at a local agent, which sessions are bound to: the agent ends the session, through the servers, when it
//! has not been told for the TTL that we live.
//!
//! A check belongs to a service, because only those are removed by Consul itself when their process is dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::StatusCode;
use leadership_core::StoreError;
use uuid::Uuid;

use crate::client::{Api, escape, lock};
use crate::error::odd;
use crate::session::{NAME, expect_ok, go_duration, heard, put};
use crate::wire::{NewCheck, NewService};

/// How agents say that they know no such check: of several versions, with access rules and without.
pub(crate) const UNKNOWN_CHECK: [&str; 2] = ["does not have associated TTL", "Unknown check"];

/// A TTL check of ours.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The service it belongs to.
    service: String,
    /// The address of the agent that has it.
    pub(crate) agent: usize,
    ttl: Duration,
}

impl Check {
    /// How agents name the only check of a service (agent/structs/structs.go, `CheckType`).
    pub(crate) fn id(&self) -> String {
        format!("service:{}", self.service)
    }
}

/// The checks of a store.
pub(crate) struct Checks {
    api: Arc<Api>,
    /// A check whose session was not made: for the next try, or each would leave one at the agent.
    spare: Mutex<Option<Check>>,
    /// Whether agents left the last update unanswered.
    silent: AtomicBool,
}

/// A check that no session is bound to yet; kept for the next try when it is dropped.
pub(crate) struct Spare<'a> {
    check: Check,
    of: Option<&'a Checks>,
}

impl Spare<'_> {
    pub(crate) fn check(&self) -> &Check {
        &self.check
    }

    /// A session is bound to it.
    pub(crate) fn used(mut self) {
        self.of = None;
    }

    /// Its session was not made: removed, or else kept for the next try.
    pub(crate) async fn give_back(mut self) {
        if let Some(checks) = self.of
            && checks.deregister(&self.check).await.is_ok()
        {
            self.of = None;
        }
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        if let Some(checks) = self.of {
            *lock(&checks.spare) = Some(self.check.clone());
        }
    }
}

impl Checks {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self {
            api,
            spare: Mutex::default(),
            silent: AtomicBool::new(false),
        }
    }

    /// A check that passes: that of an earlier try whose session was not made, or a new one.
    pub(crate) async fn take(&self, ttl: Duration) -> Result<Spare<'_>, StoreError> {
        const OPEN: &str = "open";
        let turns = self.api.turns();
        // Of another agent it is let go, or no session were made while that one is cut off.
        let (agent, _) = turns.address(turns.now());
        let spare = lock(&self.spare).take();
        if let Some(check) = spare.filter(|check| check.ttl == ttl && check.agent == agent) {
            let of = Some(self);
            let kept = Spare { check, of };
            match self.touch(OPEN, kept.check()).await {
                Ok(true) => return Ok(kept),
                Ok(false) => kept.used(),
                // A new one goes to whichever agent answers.
                Err(_) if turns.count() > 1 => kept.used(),
                Err(error) => return Err(error),
            }
        }
        Ok(Spare {
            check: self.register(OPEN, ttl).await?,
            of: Some(self),
        })
    }

    /// Registers a service with a TTL check that passes, at the agent that is asked now.
    async fn register(&self, operation: &'static str, ttl: Duration) -> Result<Check, StoreError> {
        let service = format!("{NAME}-{}", Uuid::new_v4());
        let registration = NewService {
            id: &service,
            name: NAME,
            check: NewCheck {
                name: "a process that stands in elections",
                ttl: go_duration(ttl),
                status: "passing",
                deregister_critical_service_after: "1m",
            },
        };
        let body = serde_json::to_vec(&registration).map_err(|error| odd(operation, error.to_string()))?;
        let answer = self
            .api
            .ask(&put(operation, "/v1/agent/service/register", body))
            .await?;
        expect_ok(operation, &answer)?;
        Ok(Check {
            service,
            agent: answer.from,
            ttl,
        })
    }

    /// Whether no agent was heard of at the last update, so that nobody knows whether the next ones arrive.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Updates a check; whether the agent knows it.
    pub(crate) async fn touch(&self, operation: &'static str, check: &Check) -> Result<bool, StoreError> {
        let path = format!("/v1/agent/check/pass/{}", escape(&check.id()));
        let ask = put(operation, &path, Vec::new());
        let answer = heard(&self.silent, self.api.ask_only(check.agent, &ask)).await;
        let unknown = match &answer {
            Ok(answer) => answer.status == StatusCode::NOT_FOUND,
            Err(error) => UNKNOWN_CHECK.iter().any(|text| error.to_string().contains(text)),
        };
        if unknown {
            return Ok(false);
        }
        expect_ok(operation, &answer?).map(|()| true)
    }

    pub(crate) async fn deregister(&self, check: &Check) -> Result<(), StoreError> {
        let path = format!("/v1/agent/service/deregister/{}", escape(&check.service));
        let answer = self
            .api
            .ask_only(check.agent, &put("close", &path, Vec::new()))
            .await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            _ => expect_ok("close", &answer),
        }
    }
}
