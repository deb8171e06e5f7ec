//! The programs in `examples`, each run as a process against all three stores.
#![allow(clippy::unwrap_used)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use leadership_testkit::cluster::{ConsulCluster, EtcdCluster, ZkCluster};
use leadership_testkit::trials::{self, cases};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// Nothing that must come takes longer, unless it is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running example.
struct Program {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(example: &str, args: &[&str]) -> Result<Self> {
        let deps = std::env::current_exe()?;
        let target = deps
            .parent()
            .and_then(|deps| deps.parent())
            .context("a target folder")?;
        let mut child = Command::new(target.join("examples").join(example))
            .args(args)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("the example {example} is built with the tests"))?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self {
            name: format!("{example} {args:?}"),
            child,
            lines,
        })
    }

    /// Reads on until a line has `part`.
    async fn says(&mut self, part: &str) -> Result<String> {
        let said = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(part) {
                    return Ok(line);
                }
            }
            bail!("it ended")
        };
        let said = tokio::time::timeout(PATIENCE, said).await;
        let what = || format!("waiting for {part:?} of {}", self.name);
        said.with_context(what)?.with_context(what)
    }

    fn interrupt(&self) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        rustix::process::kill_process(pid.context("it runs")?, rustix::process::Signal::INT)?;
        Ok(())
    }

    async fn ends_well(mut self) -> Result<()> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        anyhow::ensure!(status.success(), "{}: {status}", self.name);
        Ok(())
    }
}

/// The three programs of docker/leadership's README, in one election.
async fn the_programs_of_the_readme(url: String) -> Result<()> {
    let mut follower = Program::start("follower", &[&url])?;
    follower.says("nobody leads").await?;
    let mut first = Program::start("candidate", &[&url, "underwood"])?;
    let elected = first.says("underwood is elected, token ").await?;
    follower.says("underwood is now the leader").await?;
    let mut service = Program::start("fault_tolerant", &[&url, "dunbar"])?;
    first.says("underwood works: step 3").await?;
    first.says("underwood has resigned").await?;
    let led = service.says("leading with token ").await?;
    anyhow::ensure!(token(&led)? > token(&elected)?, "{led:?} after {elected:?}");
    follower.says("dunbar is now the leader").await?;
    first.ends_well().await?;

    // Killed, and nobody else there: its leadership ends by itself.
    drop(service);
    follower.says("nobody leads").await?;
    let mut service = Program::start("fault_tolerant", &[&url, "marsh"])?;
    service.says("leading with token ").await?;
    follower.says("marsh is now the leader").await?;
    service.interrupt()?;
    service.says("marsh has left").await?;
    service.ends_well().await?;
    follower.says("nobody leads").await?;
    Ok(())
}

fn token(line: &str) -> Result<u64> {
    Ok(line.rsplit(' ').next().context("a token")?.parse()?)
}

#[derive(Default)]
struct World;

async fn the_programs_of_the_readme_on_etcd(_: Arc<World>) {
    let cluster = EtcdCluster::start(1).await.unwrap();
    the_programs_of_the_readme(cluster.url("")).await.unwrap();
}

async fn the_programs_of_the_readme_on_consul(_: Arc<World>) {
    let cluster = ConsulCluster::start(1).await.unwrap();
    the_programs_of_the_readme(cluster.url("")).await.unwrap();
}

async fn the_programs_of_the_readme_on_zookeeper(_: Arc<World>) {
    let cluster = ZkCluster::start(1).await.unwrap();
    the_programs_of_the_readme(cluster.url("")).await.unwrap();
}

fn main() {
    trials::main::<World>(cases![
        the_programs_of_the_readme_on_etcd,
        the_programs_of_the_readme_on_consul,
        the_programs_of_the_readme_on_zookeeper,
    ]);
}
