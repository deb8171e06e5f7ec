//! Others in the same elections as ours: the real `consul lock`, and sessions that take the key over HTTP as Go's
//! `api.Lock` and docker/leadership do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use leadership_testkit::cluster::ConsulCluster;
use leadership_testkit::interop::{Meeting, Stranger};
use support::{
    Shared, call, cases, connect, elected, election, eventually, holder, key, process, soon, waiting,
};

const TTL: Duration = Duration::from_secs(4);
/// `LockFlagValue` of Consul's api/lock.go.
const GO_FLAGS: &str = "3304740253564472344";

fn main() -> Result<()> {
    if leadership_testkit::worker::serve(connect)? {
        return Ok(());
    }
    support::main::<Shared>(cases![
        consul_lock_leaves_and_we_lead,
        consul_lock_is_killed_and_we_lead,
        we_resign_and_consul_lock_leads,
        we_are_killed_and_consul_lock_leads,
        a_go_session_leads_and_we_wait_until_it_unlocks,
        a_go_session_waits_until_we_stop,
        a_go_session_that_overtakes_breaks_no_line,
        the_key_has_the_flags_that_go_demands_in_every_state,
        an_old_value_without_a_session_is_no_leader,
    ]);
    Ok(())
}

/// `consul lock` in an election, and ours.
async fn meeting(world: &Shared) -> Meeting<impl AsyncFn() -> Result<Box<dyn Stranger>>> {
    let cluster = support::plain(world).await;
    let election = election("consul-lock");
    let prefix = election.clone();
    Meeting {
        url: format!("{}?layout=lock-command", cluster.url("")),
        election,
        stranger: async move || {
            let command = ["lock", prefix.as_str(), "echo leading; sleep 1000"];
            Ok(Box::new(cluster.spawn_consul(&command).await?) as Box<dyn Stranger>)
        },
    }
}

async fn consul_lock_leaves_and_we_lead(world: Arc<Shared>) {
    meeting(&world).await.they_leave_and_we_lead().await.unwrap();
}

async fn consul_lock_is_killed_and_we_lead(world: Arc<Shared>) {
    meeting(&world).await.they_are_killed_and_we_lead().await.unwrap();
}

async fn we_resign_and_consul_lock_leads(world: Arc<Shared>) {
    meeting(&world).await.we_resign_and_they_lead().await.unwrap();
}

async fn we_are_killed_and_consul_lock_leads(world: Arc<Shared>) {
    meeting(&world).await.we_are_killed_and_they_lead().await.unwrap();
}

/// A session as Go's `api.Lock` makes it, and what it writes.
struct Go<'a> {
    cluster: &'a ConsulCluster,
    election: String,
    session: String,
}

impl<'a> Go<'a> {
    async fn new(cluster: &'a ConsulCluster, election: &str) -> Self {
        // No lock-delay, as docker/leadership has it: these cases are about who may lead, not for how long.
        let asked = r#"{"Name":"Consul API Lock","TTL":"15s","Behavior":"release","LockDelay":"1ms","NodeChecks":[]}"#;
        let made = call(cluster, "PUT", "/v1/session/create", asked).await;
        Self {
            cluster,
            election: election.to_owned(),
            session: made["ID"].as_str().unwrap().to_owned(),
        }
    }

    async fn write(&self, how: &str) -> bool {
        let path = format!("/v1/kv/{}?{how}={}&flags={GO_FLAGS}", self.election, self.session);
        call(self.cluster, "PUT", &path, "theirs")
            .await
            .as_bool()
            .unwrap()
    }

    async fn acquire(&self) -> bool {
        self.write("acquire").await
    }

    async fn unlock(&self) {
        assert!(self.write("release").await, "it held the lock");
    }
}

async fn a_go_session_leads_and_we_wait_until_it_unlocks(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let election = election("go-leads");
    let go = Go::new(cluster, &election).await;
    assert!(go.acquire().await);
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    waiting(&ours).await;
    let leader = elections.follow(&election).unwrap();
    eventually("we see who leads", async || {
        leader.leader().is_some_and(|leader| leader.name() == "theirs")
    })
    .await;
    support::always("it holds the lock", Duration::from_millis(500), || {
        !ours.is_leader()
    })
    .await;
    let index = key(cluster, &election).await.unwrap()["ModifyIndex"]
        .as_u64()
        .unwrap();
    go.unlock().await;
    let term = elected(&ours).await;
    assert!(term.token().0 > index, "tokens grow past what it had");
    assert!(!go.acquire().await, "two at once");
    elections.close().await;
    assert!(go.acquire().await, "we left it free");
}

async fn a_go_session_waits_until_we_stop(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let election = election("go-waits");
    let elections = process(cluster, TTL);
    let ours = elections.stand(&election, "ours").unwrap();
    let term = elected(&ours).await;
    let go = Go::new(cluster, &election).await;
    assert!(!go.acquire().await, "two at once");
    soon("stopped", ours.stop()).await;
    assert!(!term.is_valid());
    assert!(go.acquire().await, "nothing keeps it out");
    let index = key(cluster, &election).await.unwrap()["ModifyIndex"]
        .as_u64()
        .unwrap();
    assert!(index > term.token().0);
    elections.close().await;
}

/// The leader's session ends, and Go, which knows no line, is faster than the next in line.
async fn a_go_session_that_overtakes_breaks_no_line(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let election = election("go-overtakes");
    let go = Go::new(cluster, &election).await;
    assert!(go.acquire().await);
    let processes = [
        process(cluster, TTL),
        process(cluster, TTL),
        process(cluster, TTL),
    ];
    let mut line = Vec::new();
    for (i, process) in processes.iter().enumerate() {
        let candidate = process.stand(&election, format!("n{i}")).unwrap();
        waiting(&candidate).await;
        line.push(candidate);
    }
    let other = Go::new(cluster, &election).await;
    // One transaction, in which the lock is free for no time: as if the other had been the fastest.
    let moved = format!(
        r#"[{{"KV":{{"Verb":"unlock","Key":"{election}","Session":"{}","Flags":{GO_FLAGS}}}}},
            {{"KV":{{"Verb":"lock","Key":"{election}","Session":"{}","Flags":{GO_FLAGS}}}}}]"#,
        go.session, other.session
    );
    call(cluster, "PUT", "/v1/txn", &moved).await;
    support::always("another of theirs holds it", Duration::from_millis(500), || {
        line.iter().all(|candidate| !candidate.is_leader())
    })
    .await;
    other.unlock().await;
    let mut last = None;
    for candidate in &line {
        let term = elected(candidate).await;
        assert!(Some(term.token()) > last, "in order of arrival");
        last = Some(term.token());
        soon("stopped", candidate.stop()).await;
    }
    for process in processes {
        process.close().await;
    }
}

async fn the_key_has_the_flags_that_go_demands_in_every_state(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let election = election("flags");
    let (a, b) = (process(cluster, TTL), process(cluster, TTL));
    let first = a.stand(&election, "a").unwrap();
    elected(&first).await;
    let flags = async || {
        key(cluster, &election).await.unwrap()["Flags"]
            .as_u64()
            .unwrap()
            .to_string()
    };
    assert_eq!(flags().await, GO_FLAGS, "taken");
    soon("proclaimed", first.proclaim("a2")).await.unwrap();
    assert_eq!(flags().await, GO_FLAGS, "proclaimed");
    let second = b.stand(&election, "b").unwrap();
    waiting(&second).await;
    soon("stopped", first.stop()).await;
    elected(&second).await;
    assert_eq!(flags().await, GO_FLAGS, "handed over");
    for process in [a, b] {
        process.close().await;
    }
    assert!(key(cluster, &election).await.is_none(), "nothing is left");
}

/// What docker/leadership's followers take for a leader.
async fn an_old_value_without_a_session_is_no_leader(world: Arc<Shared>) {
    let cluster = support::plain(&world).await;
    let election = election("old-value");
    let go = Go::new(cluster, &election).await;
    assert!(go.acquire().await);
    go.unlock().await;
    assert!(
        holder(cluster, &election).await.is_none(),
        "its value is left, and no session"
    );
    let elections = process(cluster, TTL);
    let follower = elections.follow(&election).unwrap();
    assert!(soon("read", follower.contenders()).await.unwrap().is_empty());
    assert!(follower.leader().is_none());
    let ours = elections.stand(&election, "ours").unwrap();
    elected(&ours).await;
    elections.close().await;
}
