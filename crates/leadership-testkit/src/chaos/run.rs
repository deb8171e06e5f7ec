//! One run: servers, candidates and followers start, one fault follows the other, everything heals, all are
//! stopped.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::Options;
use super::faults::{Faults, Kind, Next};
use super::history::{Change, Fault, History};
use super::processes::{Candidate, Follower, Notes, Program};
use super::resource::Resource;
use super::servers::{Head, Servers, start};
use crate::cluster::Proxy;

/// The election that everybody stands in.
const ELECTION: &str = "chaos/jobs";
/// How many candidates stand.
pub(super) const CANDIDATES: usize = 4;
/// How long the first leader may take, and what waits for a sign of life otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that does not tell.
const LOOK: Duration = Duration::from_millis(20);

/// The names of the candidates.
pub(super) fn names() -> Vec<String> {
    (1..=CANDIDATES).map(|number| format!("n{number}")).collect()
}

pub(super) struct Run {
    ttl: Duration,
    servers: Box<dyn Servers>,
    program: Program,
    /// The store's URL with its real addresses.
    url: String,
    resource: Resource,
    notes: Notes,
    candidates: Vec<Candidate>,
    /// The ways of each candidate to the servers.
    ways: Vec<Vec<Proxy>>,
    followers: Vec<Follower>,
    faults: Vec<Fault>,
    progress: fn(&str),
}

impl Run {
    /// Has everybody started, and somebody lead.
    pub(super) async fn start(options: &Options) -> Result<Self> {
        let servers = start(&options.store, CANDIDATES).await?;
        let notes = Notes::new();
        let resource = Resource::start(notes.start()).await?;
        let program = Program {
            leadership: options.leadership.clone(),
            election: ELECTION.to_owned(),
            ttl: options.ttl,
            resource: resource.environment(),
        };
        let addresses = servers.addresses()?;
        let mut run = Self {
            ttl: options.ttl,
            url: url(&options.store, addresses.iter().copied()),
            servers,
            program,
            resource,
            notes,
            candidates: Vec::new(),
            ways: Vec::new(),
            followers: Vec::new(),
            faults: Vec::new(),
            progress: options.progress,
        };
        for number in 1..=2 {
            let name = format!("f{number}");
            let follower = Follower::start(&run.program, &run.url, &name, run.notes.clone())?;
            run.followers.push(follower);
        }
        for (number, id) in names().into_iter().enumerate() {
            let mut ways = Vec::new();
            for address in run.servers.addresses_for(number)? {
                ways.push(Proxy::start(address).await?);
            }
            let url = url(&options.store, ways.iter().map(Proxy::addr));
            run.candidates
                .push(Candidate::start(run.program.clone(), url, id, run.notes.clone())?);
            run.ways.push(ways);
        }
        run.wait_for("somebody to work", PATIENCE, async |run| Ok(run.works()))
            .await?;
        run.wait_for("all to be in line", PATIENCE, Self::is_whole)
            .await?;
        Ok(run)
    }

    /// Hurts it for so long, lets it heal, and stops it.
    pub(super) async fn go(mut self, seed: u64, lasts: Duration) -> Result<History> {
        let impossible = self.servers.impossible();
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| !impossible.contains(kind))
            .collect();
        let mut faults = Faults::new(seed, kinds, self.ttl, CANDIDATES);
        sleep(self.ttl).await;
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            let Some(next) = faults.next() else { break };
            self.befall(next).await?;
            sleep(next.calm).await;
        }
        (self.progress)("all faults are over");
        // What is not so by then is for the checker.
        let bound = self.ttl * 2 + Duration::from_secs(5);
        let whole = async |run: &Self| Ok(run.works() && run.is_whole().await?);
        let _ = self.wait_for("all to be well", bound, whole).await;
        sleep(self.ttl).await;
        let line = self.line().await?.into_iter().map(|head| head.name).collect();
        let over = self.notes.elapsed();
        for candidate in &mut self.candidates {
            candidate.stop().await?;
        }
        let left = self.line().await?.into_iter().map(|head| head.name).collect();
        let history = History {
            entries: std::mem::take(&mut *self.notes.entries()),
            works: self.resource.works(),
            faults: std::mem::take(&mut self.faults),
            line,
            left,
            over,
            took: self.notes.elapsed(),
        };
        drop(self.followers);
        self.servers.remove().await?;
        Ok(history)
    }

    async fn befall(&mut self, next: Next) -> Result<()> {
        let candidate = self.whom(next).await?;
        let index = self.faults.len();
        let lasts = next.lasts;
        let what = match (next.kind, candidate) {
            (kind, Some(candidate)) => {
                let name = &self.candidates[candidate].id;
                let leads = if self.leader() == Some(candidate) {
                    " (leads)"
                } else {
                    ""
                };
                format!("{name}{leads}: {}{}", kind.name(), span(kind, lasts))
            }
            (kind, None) => format!("{}{}", kind.name(), span(kind, lasts)),
        };
        (self.progress)(&format!("{:>7.1} s  {what}", self.notes.elapsed().as_secs_f64()));
        let fault = Fault {
            kind: next.kind,
            candidate: candidate.map(|candidate| self.candidates[candidate].id.clone()),
            what,
            began: self.notes.elapsed(),
            over: None,
        };
        self.faults.push(fault);
        self.notes.note(Change::FaultBegan(index));
        match candidate {
            Some(candidate) => self.hurt(next.kind, candidate, lasts).await?,
            None => self.hurt_store(next.kind, lasts).await?,
        }
        self.faults[index].over = Some(self.notes.elapsed());
        self.notes.note(Change::FaultOver(index));
        Ok(())
    }

    /// The candidate that a fault befalls.
    async fn whom(&self, next: Next) -> Result<Option<usize>> {
        if !next.kind.befalls_a_candidate() {
            return Ok(None);
        }
        let leader = self.leader().filter(|_| next.leader);
        let whom = leader.unwrap_or(next.candidate);
        self.candidates[whom].running().await?;
        Ok(Some(whom))
    }

    async fn hurt(&self, kind: Kind, index: usize, lasts: Duration) -> Result<()> {
        let (candidate, ways) = (&self.candidates[index], &self.ways[index]);
        match kind {
            Kind::Killed => candidate.signal(Signal::KILL),
            Kind::Crashed => candidate.signal_all(Signal::KILL)?,
            Kind::Ended => candidate.signal(Signal::TERM),
            Kind::Stopped => {
                candidate.signal(Signal::STOP);
                sleep(lasts).await;
                candidate.signal(Signal::CONT);
            }
            Kind::Frozen => {
                candidate.signal_all(Signal::STOP)?;
                sleep(lasts).await;
                candidate.thaw().await?;
            }
            Kind::EntryRemoved | Kind::SessionEnded => {
                if let Some(head) = self.line().await?.into_iter().next() {
                    if kind == Kind::EntryRemoved {
                        self.servers.remove_entry(ELECTION, &head).await?;
                    } else {
                        self.servers.end_session(&head).await?;
                    }
                }
            }
            Kind::Silent | Kind::SilentThere | Kind::SilentBack | Kind::Refused => {
                for way in ways {
                    match kind {
                        Kind::SilentThere => way.stall_requests(),
                        Kind::SilentBack => way.stall_replies(),
                        Kind::Refused => way.cut().await,
                        _ => way.stall(),
                    }
                }
                sleep(lasts).await;
                for way in ways {
                    way.resume().await?;
                }
            }
            other => bail!("{other:?} befalls the store"),
        }
        Ok(())
    }

    async fn hurt_store(&self, kind: Kind, lasts: Duration) -> Result<()> {
        let servers = &self.servers;
        match kind {
            Kind::ServerKilled => {
                let leader = servers.leader().await?;
                servers.kill(leader).await?;
                sleep(lasts).await;
                servers.start(leader).await?;
            }
            Kind::ServerPaused => {
                let leader = servers.leader().await?;
                servers.pause(leader).await?;
                sleep(lasts).await;
                servers.unpause(leader).await?;
            }
            Kind::ServerPartitioned => {
                let leader = servers.leader().await?;
                servers.partition(leader).await?;
                sleep(lasts).await;
                servers.heal(leader).await?;
            }
            Kind::RollingRestart => {
                for node in 0..servers.addresses()?.len() {
                    servers.stop(node).await?;
                    servers.start(node).await?;
                    servers.healthy().await?;
                }
            }
            Kind::StoreDown => {
                let nodes = 0..servers.addresses()?.len();
                for node in nodes.clone() {
                    servers.kill(node).await?;
                }
                sleep(lasts).await;
                for node in nodes {
                    servers.start(node).await?;
                }
            }
            Kind::Compacted => servers.compact().await?,
            other => bail!("{other:?} befalls a candidate"),
        }
        servers.healthy().await
    }

    /// Who has worked last, if that was a moment ago.
    fn leader(&self) -> Option<usize> {
        let (name, _, last) = self.resource.latest()?;
        let recent = self.notes.elapsed().saturating_sub(last) < Duration::from_millis(500);
        let index = self.candidates.iter().position(|candidate| candidate.id == name);
        index.filter(|_| recent)
    }

    fn works(&self) -> bool {
        self.leader().is_some()
    }

    async fn is_whole(&self) -> Result<bool> {
        let line = self.line().await?;
        let stands = |name: &String| line.iter().any(|head| head.name == *name);
        Ok(names().iter().all(stands))
    }

    /// Everybody in line, first come first.
    async fn line(&self) -> Result<Vec<Head>> {
        let arguments = ["status", "--store", &self.url, "--election", ELECTION, "--json"];
        let mut command = self.program.call(&arguments);
        let output = command.args(["--connect-timeout", "30s"]).output().await?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`leadership status`: {}", String::from_utf8_lossy(&output.stderr)))?;
        let text =
            |entry: &serde_json::Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let line = status["line"].as_array().context("no line")?;
        let head = |entry| Head {
            name: text(entry, "value"),
            key: text(entry, "key"),
            session: text(entry, "session"),
        };
        Ok(line.iter().map(head).collect())
    }

    async fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        is_so: impl AsyncFn(&Self) -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + patience;
        while !is_so(self).await? {
            if Instant::now() > end {
                let history = History {
                    entries: self.notes.entries().clone(),
                    works: self.resource.works(),
                    faults: self.faults.clone(),
                    ..History::default()
                };
                let lines = history.lines();
                let last = lines[lines.len().saturating_sub(20)..].join("\n");
                bail!("waited {patience:?} for {what}:\n{last}");
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn url(scheme: &str, addresses: impl Iterator<Item = SocketAddr>) -> String {
    let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
    format!("{scheme}://{}", addresses.join(","))
}

/// How long a fault lasts, if it is of a kind for which that is chosen.
fn span(kind: Kind, lasts: Duration) -> String {
    match kind {
        Kind::Killed
        | Kind::Crashed
        | Kind::Ended
        | Kind::EntryRemoved
        | Kind::SessionEnded
        | Kind::Compacted
        | Kind::RollingRestart => String::new(),
        _ => format!(" for {:.1} s", lasts.as_secs_f64()),
    }
}
