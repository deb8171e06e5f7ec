//! `leadership run` on a real etcd: the command runs only while leading, whatever happens to whom.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use leadership_testkit::cluster::EtcdCluster;
use rustix::process::{Pid, Signal, kill_process};
use support::{Journal, Process, group_of, is_alive, leadership, line_length, within};

const TTL: Duration = Duration::from_secs(3);
/// For what takes no time but that of a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// For another to take over from one that died: its ttl, and what etcd adds.
const FAILOVER: Duration = Duration::from_secs(20);

/// Writes "start id token pid", and before it "overlap pid" for each process of an earlier start that can still
/// do something.
const START: &str = r#"
    for pid in $(sed -n 's/^\(start .*\|child\) //p' "$JOURNAL"); do
        grep -q '^State:[^ZX]*$' /proc/$pid/status 2>/dev/null && echo "overlap $pid" >> "$JOURNAL"
    done
    echo "start $LEADERSHIP_ID $LEADERSHIP_TOKEN $$" >> "$JOURNAL"
"#;
/// Goes on for ever and has a child that does, too; neither listens to TERM.
const STUBBORN: &str = r#"
    trap "" TERM
    sh -c 'while :; do sleep 1000; done' & echo "child $!" >> "$JOURNAL"
    while :; do wait; sleep 0.1; done
"#;
const QUIET: &str = "exec sleep 1000";

/// A test's cluster, election and journal.
struct Stage {
    cluster: EtcdCluster,
    url: String,
    journal: Journal,
}

impl Stage {
    async fn set(test: &str) -> Result<Self> {
        let cluster = EtcdCluster::start(1).await?;
        let url = cluster.url("cli");
        let journal = Journal::new(test)?;
        Ok(Self {
            cluster,
            url,
            journal,
        })
    }

    fn command(&self, id: &str, options: &[&str], script: &str) -> Command {
        let ttl = format!("{}ms", TTL.as_millis());
        let args = [
            "run",
            "--store",
            &self.url,
            "--election",
            "jobs",
            "--id",
            id,
            "--ttl",
            &ttl,
        ];
        let script = format!("{START}{script}");
        let mut command = leadership(&[&args[..], options, &["--", "sh", "-c", &script]].concat());
        command.env("JOURNAL", self.journal.path());
        command
    }

    fn run(&self, id: &str, script: &str) -> Result<Process> {
        Process::start(&mut self.command(id, &[], script))
    }

    /// Waits for start number `count`: who, with which token, and the command's process id.
    fn started(&self, count: usize, limit: Duration) -> Result<(String, u64, u32)> {
        let words = self.journal.wait_for(limit, "start", count)?;
        let [id, token, pid] = words.as_slice() else {
            panic!("not a start: {words:?}");
        };
        Ok((id.clone(), token.parse()?, pid.parse()?))
    }

    fn child(&self, count: usize) -> Result<u32> {
        Ok(self.journal.wait_for(SOON, "child", count)?[0].parse()?)
    }

    fn wait_for_line(&self, length: usize) -> Result<()> {
        within(SOON, &format!("{length} in line"), || {
            Ok((line_length(&self.url, "jobs")? == length).then_some(()))
        })
    }

    fn assert_no_overlap(&self) -> Result<()> {
        assert!(!self.journal.has("overlap")?, "{:?}", self.journal.lines()?);
        Ok(())
    }
}

fn dead(id: u32, limit: Duration) -> Result<()> {
    within(limit, &format!("the end of process {id}"), || {
        Ok((!is_alive(id)).then_some(()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_runs_only_while_leading_and_its_end_hands_over_at_once() -> Result<()> {
    let stage = Stage::set("handover").await?;
    let mut first = stage.run("first", "trap 'exit 7' USR1; while :; do sleep 0.02; done")?;
    let (id, token, _) = stage.started(1, SOON)?;
    assert_eq!(id, "first");
    let mut second = stage.run("second", "exit 5")?;
    stage.wait_for_line(2)?;
    assert!(
        second.is_running()? && stage.journal.lines()?.len() == 1,
        "only the leader runs its command"
    );

    first.signal(Signal::USR1)?;
    let begin = Instant::now();
    let (id, later, _) = stage.started(2, SOON)?;
    let took = begin.elapsed();
    assert_eq!(id, "second");
    assert!(took < Duration::from_secs(1), "handed over in {took:?}");
    assert!(later > token);
    assert_eq!(first.exit_code(SOON)?, 7);
    assert_eq!(second.exit_code(SOON)?, 5);
    stage.assert_no_overlap()?;
    assert_eq!(
        line_length(&stage.url, "jobs")?,
        0,
        "nothing is left at the store"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_leadership_is_killed_its_command_and_grandchild_are_dead_before_the_next_starts() -> Result<()>
{
    let stage = Stage::set("killed").await?;
    let first = stage.run("first", STUBBORN)?;
    let (_, token, pid) = stage.started(1, SOON)?;
    let child = stage.child(1)?;
    let _second = stage.run("second", QUIET)?;
    stage.wait_for_line(2)?;

    first.signal(Signal::KILL)?;
    let (id, later, _) = stage.started(2, FAILOVER)?;
    assert_eq!(id, "second");
    assert!(later > token);
    stage.assert_no_overlap()?;
    assert!(!is_alive(pid) && !is_alive(child));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_leadership_is_stopped_the_guard_kills_its_command_by_the_deadline() -> Result<()> {
    let stage = Stage::set("stopped").await?;
    let mut first = stage.run("first", STUBBORN)?;
    let (_, token, pid) = stage.started(1, SOON)?;
    let child = stage.child(1)?;
    let mut second = stage.run("second", QUIET)?;
    stage.wait_for_line(2)?;

    let begin = Instant::now();
    first.signal(Signal::STOP)?;
    dead(pid, TTL)?;
    dead(child, TTL)?;
    let took = begin.elapsed();
    assert!(
        took < TTL,
        "the deadline was before {TTL:?}, and it took {took:?}"
    );

    let (id, later, pid) = stage.started(2, FAILOVER)?;
    assert!(id == "second" && later > token);
    // It goes on, finds that its term is over, and stands again.
    first.signal(Signal::CONT)?;
    stage.wait_for_line(2)?;
    assert!(first.is_running()? && is_alive(pid));
    second.signal(Signal::TERM)?;
    assert_eq!(second.exit_code(SOON)?, 128 + 15);
    let (id, last, _) = stage.started(3, SOON)?;
    assert!(id == "first" && last > later);
    stage.assert_no_overlap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_guard_has_ended_has_not_ended_by_itself() -> Result<()> {
    let stage = Stage::set("guard-acted").await?;
    let mut first = stage.run("first", QUIET)?;
    let (_, _, pid) = stage.started(1, SOON)?;
    first.signal(Signal::STOP)?;
    dead(pid, TTL)?;
    first.signal(Signal::CONT)?;
    stage.started(2, FAILOVER)?;
    assert!(first.is_running()?);
    stage.assert_no_overlap()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_passed_on_and_the_commands_code_is_ours() -> Result<()> {
    let stage = Stage::set("signals").await?;
    let script = r#"
        for name in HUP INT QUIT USR1 USR2; do trap "echo got $name >> '$JOURNAL'" $name; done
        trap 'exit 9' TERM
        echo ready now >> "$JOURNAL"
        while :; do sleep 0.02; done
    "#;
    let mut first = stage.run("first", script)?;
    stage.journal.wait_for(SOON, "ready", 1)?;
    let signals = [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ];
    for (count, (signal, name)) in (1..).zip(signals) {
        first.signal(signal)?;
        assert_eq!(stage.journal.wait_for(SOON, "got", count)?, [name]);
    }
    first.signal(Signal::TERM)?;
    assert_eq!(first.exit_code(SOON)?, 9);
    stage.wait_for_line(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_waiting_leaves_the_line() -> Result<()> {
    let stage = Stage::set("waiting").await?;
    let _first = stage.run("first", QUIET)?;
    stage.started(1, SOON)?;
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut second = stage.run("second", QUIET)?;
        stage.wait_for_line(2)?;
        // There is nobody to pass it on to.
        second.signal(Signal::USR1)?;
        second.signal(signal)?;
        assert_eq!(second.exit_code(SOON)?, code);
        assert_eq!(line_length(&stage.url, "jobs")?, 1);
    }
    assert_eq!(stage.journal.lines()?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_leaves_behind_is_ended_before_anybody_else_leads() -> Result<()> {
    let stage = Stage::set("leftovers").await?;
    let leaves = r#"(trap "" TERM; while :; do sleep 1000; done) & echo "child $!" >> "$JOURNAL"; exit 3"#;
    let mut first = stage.run("first", leaves)?;
    let child = stage.child(1)?;
    assert_eq!(first.exit_code(SOON)?, 3);
    assert!(!is_alive(child));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_store_is_lost_the_command_is_dead_by_the_deadline() -> Result<()> {
    let stage = Stage::set("store-lost").await?;
    let mut first = Process::start(&mut stage.command("first", &["--once"], STUBBORN))?;
    let (_, _, pid) = stage.started(1, SOON)?;
    let child = stage.child(1)?;
    let begin = Instant::now();
    stage.cluster.pause(0).await?;
    dead(pid, TTL)?;
    dead(child, TTL)?;
    assert!(
        begin.elapsed() < TTL + Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(first.exit_code(SOON)?, 75);
    stage.cluster.unpause(0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_guard_is_killed_the_command_does_not_go_on_without_one() -> Result<()> {
    let stage = Stage::set("guard").await?;
    let first = stage.run("first", QUIET)?;
    let (_, token, pid) = stage.started(1, SOON)?;
    let guard = group_of(pid)?;
    assert_ne!(guard, pid, "the guard is the first of the group");
    let id = Pid::from_raw(i32::try_from(guard)?).expect("a process id");
    kill_process(id, Signal::KILL)?;
    let (_, again, later) = stage.started(2, SOON)?;
    assert_eq!(again, token, "the term goes on");
    assert!(!is_alive(pid) && group_of(later)? != guard);
    stage.assert_no_overlap()?;
    drop(first);
    dead(later, SOON)
}
