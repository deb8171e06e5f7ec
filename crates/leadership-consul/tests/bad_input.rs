//! Inputs that cannot work: each is refused with an error that names it and the remedy, nothing panics,
//! nothing is left at the store, and no token is shown anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

#[path = "bad_input/addresses.rs"]
mod addresses;
#[path = "bad_input/agents.rs"]
mod agents;
#[path = "bad_input/between.rs"]
mod between;
#[path = "bad_input/entries.rs"]
mod entries;
#[path = "bad_input/foreign.rs"]
mod foreign;
#[path = "bad_input/tokens.rs"]
mod tokens;

use std::fmt::{Debug, Display};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use addresses::*;
use agents::*;
use entries::*;
use foreign::*;
use futures_util::Stream;
use leadership_consul::{ConsulConfig, ConsulStore};
use leadership_core::{Candidate, Config, DynStore, Elections, Error, ErrorKind, Event, Outcome, StoreError};
use leadership_testkit::cluster::ConsulCluster;
use leadership_testkit::secrets::Traced;
use support::{Shared, cases, keys, next, soon};
use tokens::*;
use tokio::net::TcpListener;

/// At a local agent.
pub(crate) const TTL: Duration = Duration::from_secs(4);
/// The least with sessions of their own.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// What must be seen nowhere: the right token, others that may do less, and a wrong one.
pub(crate) const TOKEN: &str = "5ec2e751-0000-4000-8000-000000000001";
pub(crate) const LESS: &str = "5ec2e752-0000-4000-8000-00000000000";
pub(crate) const WRONG: &str = "tr0ub4dor-and-3";
pub(crate) static TRACED: Traced = Traced::new(&[TOKEN, LESS, WRONG]);

#[derive(Default)]
pub(crate) struct World {
    plain: Shared,
    guarded: Shared,
}

impl World {
    pub(crate) async fn plain(&self) -> &ConsulCluster {
        support::plain(&self.plain).await
    }

    /// With access rules, and a token that may do what the documentation asks for.
    pub(crate) async fn guarded(&self) -> &ConsulCluster {
        self.guarded.started(guarded()).await
    }
}

fn main() {
    let everything = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(|| &TRACED);
    everything.init();
    support::main::<World>(cases![
        the_right_token_is_accepted_and_never_shown,
        a_token_in_a_file_is_read,
        servers_that_were_silent_are_heard_again_with_access_rules,
        a_wrong_token_is_refused_by_name,
        a_missing_token_is_asked_for,
        a_campaign_with_a_wrong_token_stops_with_the_reason,
        an_agent_that_cannot_ask_the_servers_about_a_token_ends_no_campaign,
        a_token_that_is_revoked_ends_the_campaign_in_the_end,
        a_token_that_may_not_write_is_told_which_permission_is_missing,
        a_token_that_may_open_no_session_leaves_no_check,
        a_token_that_may_register_no_check_works_with_sessions,
        an_agent_that_takes_no_registrations_is_named_with_the_remedy,
        a_check_that_the_servers_do_not_know_is_named_with_the_remedy,
        a_datacenter_that_is_not_there_is_named,
        a_namespace_that_consul_has_not_is_refused_by_name,
        a_partition_that_consul_has_not_is_refused_by_name,
        addresses_that_cannot_be_reached_are_all_named,
        addresses_that_hang_are_all_named,
        an_address_that_is_no_consul_is_named,
        an_answer_that_is_not_consuls_neither_renews_nor_ends_a_session,
        an_agent_that_is_cut_off_is_passed_over_with_its_check,
        a_dead_address_among_others_is_passed_over,
        a_hanging_address_among_others_is_passed_over_by_a_campaign,
        a_hanging_address_among_others_is_passed_over_when_connecting,
        a_leader_stays_when_the_address_that_it_asks_dies,
        a_unix_socket_works,
        a_unix_socket_that_is_not_there_is_named,
        a_url_that_cannot_be_understood_shows_no_token,
        names_that_consul_cannot_hold_are_refused_with_the_rule,
        names_that_have_to_be_escaped_work,
        an_empty_or_too_long_name_is_refused,
        a_value_over_the_limit_is_refused_and_the_term_goes_on,
        values_at_the_limit_fit_every_transaction,
        a_failure_after_the_entry_was_made_does_not_deny_it,
        a_ttl_that_consul_cannot_grant_is_refused,
        a_ttl_under_the_least_of_a_session_names_the_check,
        a_ttl_that_the_servers_refuse_is_named_with_the_remedy,
        a_foreign_key_is_waited_behind_and_named_with_the_remedy,
        a_key_held_with_other_flags_is_waited_behind_and_not_overwritten,
        a_semaphore_of_consul_lock_is_waited_behind_and_not_overwritten,
        foreign_keys_in_the_line_are_passed_over,
        the_entries_of_a_nested_election_are_no_entries_of_the_outer_one,
        a_session_of_another_store_is_refused_by_every_request,
        a_check_of_another_store_is_not_taken_for_renewed,
        a_session_that_vanished_is_named_by_every_request,
    ]);
}

/// No token in what was traced until now, nor in these.
#[track_caller]
pub(crate) fn nothing_secret(shown: &[&dyn Debug]) {
    TRACED.nothing_secret(shown);
}

/// The error's text has all these parts, and no secret.
#[track_caller]
pub(crate) fn says(error: &(impl Display + Debug), parts: &[&str]) {
    TRACED.says(error, parts);
}

/// The error is of this kind, certainly changed nothing, and has all these parts.
#[track_caller]
pub(crate) fn refuses(error: &StoreError, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(
        (error.kind(), error.outcome()),
        (kind, Outcome::NotApplied),
        "{error}"
    );
    says(error, parts);
}

pub(crate) fn address(cluster: &ConsulCluster) -> String {
    cluster.addr(0).unwrap().to_string()
}

pub(crate) fn config(cluster: &ConsulCluster) -> ConsulConfig {
    ConsulConfig::new([address(cluster)]).unwrap()
}

pub(crate) fn lazy(config: ConsulConfig) -> DynStore {
    Arc::new(ConsulStore::new(config).unwrap())
}

pub(crate) fn elections(config: ConsulConfig, ttl: Duration) -> Elections {
    Elections::new(lazy(config), Config::with_ttl(ttl)).unwrap()
}

pub(crate) async fn refused(config: ConsulConfig) -> StoreError {
    let error = soon("refused", ConsulStore::connect(config))
        .await
        .expect_err("refused");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    error
}

/// An address at which nobody listens.
pub(crate) async fn dead() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The next error that the candidate reports and that is of this kind.
pub(crate) async fn reported(
    events: &mut (impl Stream<Item = Event> + Unpin),
    kind: ErrorKind,
) -> StoreError {
    let error = |event: &Event| match event {
        Event::Error(error) if error.kind() == kind => Some(error.clone()),
        _ => None,
    };
    next(&format!("{kind:?}"), events, error).await
}

/// Why a candidate has stopped.
pub(crate) async fn stopped(candidate: &Candidate) -> StoreError {
    match soon("stopped", candidate.elected()).await {
        Err(Error::Stopped(Some(error))) => error,
        other => panic!("{other:?}"),
    }
}

/// Nothing under an election: neither the lock nor a line.
pub(crate) async fn nothing_left(cluster: &ConsulCluster, election: &str) {
    assert_eq!(keys(cluster, election).await, Vec::<String>::new());
}

/// A file or socket that is removed again.
pub(crate) struct Temporary(pub(crate) PathBuf);

pub(crate) fn temporary(what: &str) -> Temporary {
    Temporary(std::env::temp_dir().join(format!("leadership-{what}-{}", std::process::id())))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = std::fs::remove_file(&self.0);
    }
}
