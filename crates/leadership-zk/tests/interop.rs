//! Others in the same elections as ours: the real Curator with its `LeaderLatch` and its `LeaderSelector`, and the
//! real kazoo with its `Election`. Their programs are in the folder beside this file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use leadership_core::{Config, Elections};
use leadership_testkit::cluster::ZkCluster;
use leadership_testkit::interop::{Meeting, Program, Stranger};
use leadership_testkit::worker::{self, Worker};
use support::{Case, Shared, connect, elected, election, eventually, line, names, operator, soon};
use tokio::process::Command;
use tokio::time::timeout;
use zookeeper_client::Client;

/// Theirs have sessions as long.
const TTL: Duration = Duration::from_secs(4);
/// Long enough for whoever would lead wrongly to do so.
const WRONGLY: Duration = Duration::from_millis(500);

/// What strangers stand with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Theirs {
    LeaderLatch,
    LeaderSelector,
    KazooElection,
}

/// Every case, with one of them.
macro_rules! with {
    ($theirs:ident) => {
        with!($theirs:
            they_leave_and_we_lead,
            they_are_killed_and_we_lead,
            we_resign_and_they_lead,
            we_are_killed_and_they_lead,
            all_lead_in_order_of_arrival,
            the_killed_in_line_hold_up_nobody,
            each_sees_the_other_lead,
            a_proclamation_leaves_nobody_waiting_for_good,
        )
    };
    ($theirs:ident: $($case:ident),+ $(,)?) => {{
        let cases: Vec<Case<Shared>> = vec![$((
            concat!(stringify!($theirs), "::", stringify!($case)),
            |world| Box::pin($case(world, Theirs::$theirs)),
        )),+];
        cases
    }};
}
fn main() -> Result<()> {
    if worker::serve(connect)? {
        return Ok(());
    }
    let cases = [with!(LeaderLatch), with!(LeaderSelector), with!(KazooElection)];
    support::main::<Shared>(cases.concat());
    Ok(())
}

impl Theirs {
    /// The store's URL, for ours in their elections.
    fn url(self, cluster: &ZkCluster) -> String {
        let layout = match self {
            Self::LeaderLatch => "latch",
            Self::LeaderSelector => "lock",
            Self::KazooElection => "kazoo",
        };
        format!("{}?layout={layout}", cluster.url(""))
    }

    /// A process of ours in their elections.
    fn ours(self, cluster: &ZkCluster) -> Elections {
        Elections::new(connect(&self.url(cluster)).unwrap(), Config::with_ttl(TTL)).unwrap()
    }

    /// Whether they see what a leader of ours proclaims later.
    fn sees_new_values(self) -> bool {
        self != Self::LeaderLatch
    }

    /// A process of theirs that stands in an election.
    fn stand(self, cluster: &ZkCluster, election: &str, name: &str) -> Result<Program> {
        let mut command = match self {
            Self::LeaderLatch => curator("latch")?,
            Self::LeaderSelector => curator("selector")?,
            Self::KazooElection => kazoo()?,
        };
        let server = cluster.addr(0)?.to_string();
        command.args([&server, &format!("/{election}"), name]);
        Program::start(command)
    }
}

fn curator(recipe: &str) -> Result<Command> {
    let mut java = Command::new("java");
    // Many start at the same time, and none lives for long.
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx64m"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-classpath")
        .arg(provided("LEADERSHIP_CURATOR")?)
        .args(["CuratorContender", recipe]);
    Ok(java)
}

fn kazoo() -> Result<Command> {
    let mut python = Command::new("python3");
    python
        .env("PYTHONPATH", provided("LEADERSHIP_KAZOO")?)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/interop/kazoo_contender.py"
        ));
    Ok(python)
}

/// What xtask says in an environment variable.
fn provided(variable: &str) -> Result<OsString> {
    std::env::var_os(variable).with_context(|| {
        format!("{variable} is not set: xtask makes what this test meets, so run it by `cargo xtask test --test interop`")
    })
}

/// A stranger that is started is in line.
async fn meeting(world: &Shared, theirs: Theirs) -> Meeting<impl AsyncFn() -> Result<Box<dyn Stranger>>> {
    let cluster = support::plain(world).await;
    let (client, election) = (operator(cluster).await, election("meeting"));
    let path = election.clone();
    Meeting {
        url: theirs.url(cluster),
        election,
        stranger: async move || {
            let before = line(&client, &path).await.len();
            let stranger = theirs.stand(cluster, &path, "theirs")?;
            arrived(&client, &path, before + 1).await;
            Ok(Box::new(stranger) as Box<dyn Stranger>)
        },
    }
}

async fn they_leave_and_we_lead(world: Arc<Shared>, theirs: Theirs) {
    let meeting = meeting(&world, theirs).await;
    meeting.they_leave_and_we_lead().await.unwrap();
}

async fn they_are_killed_and_we_lead(world: Arc<Shared>, theirs: Theirs) {
    let meeting = meeting(&world, theirs).await;
    meeting.they_are_killed_and_we_lead().await.unwrap();
}

async fn we_resign_and_they_lead(world: Arc<Shared>, theirs: Theirs) {
    let meeting = meeting(&world, theirs).await;
    meeting.we_resign_and_they_lead().await.unwrap();
}

async fn we_are_killed_and_they_lead(world: Arc<Shared>, theirs: Theirs) {
    let meeting = meeting(&world, theirs).await;
    meeting.we_are_killed_and_they_lead().await.unwrap();
}

async fn all_lead_in_order_of_arrival(world: Arc<Shared>, theirs: Theirs) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("order"));
    let (a, b) = (theirs.ours(cluster), theirs.ours(cluster));
    let first = a.stand(&election, "first").unwrap();
    elected(&first).await;
    let mut second = theirs.stand(cluster, &election, "second").unwrap();
    arrived(&client, &election, 2).await;
    let third = b.stand(&election, "third").unwrap();
    arrived(&client, &election, 3).await;
    let mut fourth = theirs.stand(cluster, &election, "fourth").unwrap();
    arrived(&client, &election, 4).await;
    let entries = line(&client, &election).await;
    assert_eq!(
        names(&client, &election).await,
        ["first", "second", "third", "fourth"]
    );
    never_leads(&mut second).await;
    never_leads(&mut fourth).await;
    assert!(first.is_leader() && !third.is_leader());

    // Whoever resigns stands again, behind all others.
    soon("resigned", first.resign()).await.unwrap();
    prints(&mut second, "leading").await;
    arrived(&client, &election, 4).await;
    never_leads(&mut fourth).await;
    assert!(!first.is_leader() && !third.is_leader(), "two at once");
    assert_eq!(
        names(&client, &election).await,
        ["second", "third", "fourth", "first"]
    );

    second.interrupt().await.unwrap();
    let term = elected(&third).await;
    assert_eq!(
        term.token().0,
        entries[2].czxid,
        "with the entry that it arrived with"
    );
    assert_eq!(names(&client, &election).await, ["third", "fourth", "first"]);
    never_leads(&mut fourth).await;
    assert!(!first.is_leader(), "two at once");

    soon("stopped", third.stop()).await;
    prints(&mut fourth, "leading").await;
    assert_eq!(names(&client, &election).await, ["fourth", "first"]);
    assert!(!first.is_leader(), "two at once");

    fourth.interrupt().await.unwrap();
    let last = elected(&first).await;
    assert!(last.token() > term.token(), "tokens grow");
    assert_eq!(names(&client, &election).await, ["first"]);
    for process in [a, b] {
        process.close().await;
    }
}

/// One of theirs dies ahead of one of ours, and one of ours ahead of one of theirs.
async fn the_killed_in_line_hold_up_nobody(world: Arc<Shared>, theirs: Theirs) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("killed"));
    let (a, b) = (theirs.ours(cluster), theirs.ours(cluster));
    let first = a.stand(&election, "first").unwrap();
    elected(&first).await;
    let mut their_dead = theirs.stand(cluster, &election, "their dead").unwrap();
    arrived(&client, &election, 2).await;
    let third = b.stand(&election, "third").unwrap();
    arrived(&client, &election, 3).await;
    let our_dead = Worker::start(&theirs.url(cluster), &election, TTL, 1).unwrap();
    arrived(&client, &election, 4).await;
    let mut fifth = theirs.stand(cluster, &election, "fifth").unwrap();
    arrived(&client, &election, 5).await;
    their_dead.kill().await.unwrap();
    our_dead.kill().await.unwrap();

    soon("stopped", first.stop()).await;
    elected(&third).await;
    assert_eq!(names(&client, &election).await[0], "third");
    never_leads(&mut fifth).await;
    soon("stopped", third.stop()).await;
    prints(&mut fifth, "leading").await;
    assert_eq!(names(&client, &election).await, ["fifth"]);
    for process in [a, b] {
        process.close().await;
    }
}

async fn each_sees_the_other_lead(world: Arc<Shared>, theirs: Theirs) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("seen"));
    let elections = theirs.ours(cluster);
    let follower = elections.follow(&election).unwrap();
    let ours = elections.stand(&election, "ours").unwrap();
    elected(&ours).await;
    let mut stranger = theirs.stand(cluster, &election, "theirs").unwrap();
    prints(&mut stranger, "leader ours").await;
    arrived(&client, &election, 2).await;

    soon("stopped", ours.stop()).await;
    prints(&mut stranger, "leading").await;
    eventually("we see who leads", async || {
        follower.leader().is_some_and(|leader| leader.name() == "theirs")
    })
    .await;
    stranger.interrupt().await.unwrap();
    eventually("we see that nobody leads", async || follower.leader().is_none()).await;
    elections.close().await;
}

/// Whoever watches the entry ahead is told of a new value too, once; then it has to watch again.
async fn a_proclamation_leaves_nobody_waiting_for_good(world: Arc<Shared>, theirs: Theirs) {
    let cluster = support::plain(&world).await;
    let (client, election) = (operator(cluster).await, election("proclaimed"));
    let elections = theirs.ours(cluster);
    let ours = elections.stand(&election, "ours").unwrap();
    elected(&ours).await;
    let mut stranger = theirs.stand(cluster, &election, "theirs").unwrap();
    arrived(&client, &election, 2).await;
    let entries = line(&client, &election).await;
    eventually("it watches ours", async || {
        watchers(cluster, &entries[0].path)
            .await
            .contains(&entries[1].owner)
    })
    .await;
    soon("proclaimed", ours.proclaim("ours, renamed")).await.unwrap();
    let follower = elections.follow(&election).unwrap();
    eventually("we see the new value", async || {
        follower
            .leader()
            .is_some_and(|leader| leader.name() == "ours, renamed")
    })
    .await;
    // A LeaderLatch goes on to see the first value, since it could not bear that this one changes.
    if theirs.sees_new_values() {
        prints(&mut stranger, "leader ours, renamed").await;
    }
    never_leads(&mut stranger).await;

    soon("stopped", ours.stop()).await;
    prints(&mut stranger, "leading").await;
    elections.close().await;
}

/// The sessions that watch a node, as ZooKeeper prints them below its path.
async fn watchers(cluster: &ZkCluster, path: &str) -> Vec<i64> {
    let watches = cluster.four_letters(0, "wchp").await.unwrap();
    let below = watches.lines().skip_while(|line| *line != path).skip(1);
    let sessions = below.map_while(|line| line.strip_prefix("\t0x"));
    sessions
        .map(|session| i64::from_str_radix(session, 16).unwrap())
        .collect()
}

/// Waits until so many are in line, theirs among them.
async fn arrived(client: &Client, election: &str, number: usize) {
    eventually("all in line", async || {
        line(client, election).await.len() == number
    })
    .await;
}

/// Waits until it prints this line.
async fn prints(theirs: &mut Program, wanted: &str) {
    let printed = async { while theirs.line().await.unwrap().expect("it has ended") != wanted {} };
    soon(wanted, printed).await;
}

async fn never_leads(theirs: &mut Program) {
    assert!(
        timeout(WRONGLY, prints(theirs, "leading")).await.is_err(),
        "two at once"
    );
}
