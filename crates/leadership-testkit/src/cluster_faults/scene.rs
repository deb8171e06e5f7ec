//! Three candidates in line, each a process with ways of its own to the store that can be broken, and a follower that
//! sees them by another path.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use leadership_core::{Change, Config, ElectionName, Elections, Follower, Limits, Place, Session, Timestamp};
use tokio::task::JoinHandle;

use super::ground::{CANDIDATES, Ground};
use crate::cluster::{Cluster, Proxy, Server};
use crate::trials::{close, election, eventually, eventually_within, now};
use crate::witness::{Doing, Testimony, Witness};

/// What candidates are called, in the order of the line.
const NAMES: [&str; CANDIDATES] = ["a", "b", "c"];

/// How long it may take until everybody leads or waits again. Whether the first of them led in time is looked at later.
const SETTLED: Duration = Duration::from_secs(50);

/// An election, and everybody in it.
pub(super) struct Scene {
    pub(super) election: String,
    pub(super) ttl: Duration,
    /// The first one leads when the fault comes.
    pub(super) members: Vec<Member>,
    /// The follower's.
    elections: Elections,
    pub(super) limits: Limits,
    pub(super) follower: Follower,
    pub(super) told: Told,
}

/// One candidate.
pub(super) struct Member {
    pub(super) name: &'static str,
    /// Through which it reaches the store: one to each of its doors.
    ways: Vec<Proxy>,
    pub(super) witness: Witness,
    /// When it was killed; it can believe nothing from then on.
    pub(super) killed: Option<Timestamp>,
}

/// What the follower was told, and when.
pub(super) struct Told {
    changes: Arc<Mutex<Vec<(Timestamp, Change)>>>,
    listening: JoinHandle<()>,
}

impl Scene {
    /// Has three candidates stand one after the other, and waits until everybody sees it.
    pub(super) async fn set<G: Ground>(cluster: &Cluster<G::Server>, what: &str, ttl: Duration) -> Self {
        Self::set_at::<G>(cluster, what, ttl, |candidate| G::doors(cluster, candidate)).await
    }

    /// The same with candidates that find the store elsewhere.
    pub(super) async fn set_at<G: Ground>(
        cluster: &Cluster<G::Server>,
        what: &str,
        ttl: Duration,
        doors: impl Fn(usize) -> anyhow::Result<Vec<SocketAddr>>,
    ) -> Self {
        let election = election(what);
        let store = (G::CONNECT)(&cluster.url("")).unwrap();
        // It opens no session; what it asks for has only to be one that the store grants.
        let config = Config::with_ttl(ttl.max(store.limits().ttl_min));
        let elections = Elections::new(store, config).unwrap();
        let follower = elections.follow(&*election).unwrap();
        let told = Told::listen(&follower);
        let limits = elections.store().limits();
        let mut scene = Self {
            election,
            ttl,
            members: Vec::new(),
            elections,
            limits,
            follower,
            told,
        };
        for (i, name) in NAMES.into_iter().enumerate() {
            let doing = if i == 0 { Doing::Leading } else { Doing::Waiting };
            scene.join::<G>(name, &doors(i).unwrap(), doing).await;
        }
        scene.is_followed(0).await;
        scene
    }

    /// Has one more stand, and waits until it leads or is in line.
    pub(super) async fn join<G: Ground>(&mut self, name: &'static str, doors: &[SocketAddr], doing: Doing) {
        let member = Member::stand::<G>(self, doors, name).await;
        let what = format!("{name} is {doing:?}");
        eventually_within(SETTLED, &what, async || {
            let record = member.witness.record();
            record.doing == doing && (doing != Doing::Leading || record.leads().is_some())
        })
        .await;
        self.members.push(member);
    }

    /// The first candidate, which leads until something is broken.
    pub(super) fn leader(&mut self) -> &mut Member {
        &mut self.members[0]
    }

    /// Waits until a term has begun since then that is not one of the first candidate.
    pub(super) async fn succeeded(&self, since: Timestamp) {
        eventually("another leads", async || {
            let others = self.members[1..].iter();
            others
                .flat_map(|member| member.witness.record().terms)
                .any(|term| term.first > since)
        })
        .await;
    }

    /// Waits until one leads with a session renewed since then, and all others that live wait in line. Returns which.
    pub(super) async fn settled(&self, since: Timestamp) -> usize {
        let mut leading = None;
        let what = "one leads with a session renewed, and all others wait";
        eventually_within(SETTLED, what, async || {
            leading = self.leading(since);
            leading.is_some()
        })
        .await;
        leading.unwrap()
    }

    fn leading(&self, since: Timestamp) -> Option<usize> {
        // A renewal sent since then reaches further.
        let renewed = since + self.limits.certain(self.ttl) * 9 / 10;
        let mut leading = None;
        for (i, member) in self.living() {
            let record = member.witness.record();
            match (record.leads(), record.doing) {
                (Some(term), Doing::Leading) if term.deadline > renewed => leading = Some(i),
                (None, Doing::Waiting) => {}
                _ => return None,
            }
        }
        leading
    }

    /// Those that were not killed and have not stopped.
    pub(super) fn living(&self) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| member.killed.is_none() && member.witness.record().doing != Doing::Stopped)
    }

    /// All terms, in the order in which they began, each with its candidate.
    pub(super) fn terms(&self) -> Vec<(usize, Testimony)> {
        let members = self.members.iter().enumerate();
        let mut terms: Vec<_> = members
            .flat_map(|(i, member)| {
                member
                    .witness
                    .record()
                    .terms
                    .into_iter()
                    .map(move |term| (i, term))
            })
            .collect();
        terms.sort_by_key(|(_, term)| term.first);
        terms
    }

    /// Waits until the follower sees that this one leads, in the term that it has now.
    pub(super) async fn is_followed(&self, member: usize) {
        let member = &self.members[member];
        eventually(&format!("{} is followed", member.name), async || {
            let view = self.follower.view();
            let (Some(leader), Some(term)) = (&view.leader, member.witness.record().leads().cloned()) else {
                return false;
            };
            view.error.is_none()
                && leader.name() == member.name
                && leader.token.is_none_or(|token| token.0 == term.token)
        })
        .await;
    }

    /// What the first in line has at the store, as an operator finds it.
    pub(super) async fn head(&self) -> (Place, Session) {
        let line = self.follower.contenders().await.unwrap();
        let head = &line[0];
        assert_eq!(head.name(), self.members[0].name, "{line:?}");
        let session = head.session.clone().unwrap();
        let place = Place {
            election: ElectionName::new(&*self.election).unwrap(),
            session: session.clone(),
            key: head.key.clone(),
            fence: head.order,
        };
        (
            place,
            Session {
                id: session,
                ttl: self.ttl,
            },
        )
    }

    /// Ends all processes.
    pub(super) async fn clear(self) {
        for member in self.members {
            if member.killed.is_none() {
                member.witness.end().await;
            }
        }
        self.told.listening.abort();
        drop(self.follower);
        close([self.elections]).await;
    }
}

impl Member {
    async fn stand<G: Ground>(scene: &Scene, doors: &[SocketAddr], name: &'static str) -> Self {
        let mut ways = Vec::new();
        for door in doors {
            ways.push(Proxy::start(*door).await.unwrap());
        }
        let addresses: Vec<_> = ways.iter().map(|way| way.addr().to_string()).collect();
        let url = format!("{}://{}", G::Server::SCHEME, addresses.join(","));
        let witness = Witness::start(&url, &scene.election, name, scene.ttl);
        Self {
            name,
            ways,
            witness,
            killed: None,
        }
    }

    pub(super) async fn kill(&mut self) {
        self.killed = Some(now());
        self.witness.kill().await;
    }

    /// Does this to all of its ways to the store.
    pub(super) fn on_its_ways(&self, what: impl Fn(&Proxy)) {
        self.ways.iter().for_each(what);
    }

    /// Mends all of its ways to the store.
    pub(super) async fn resume_ways(&self) {
        for way in &self.ways {
            way.resume().await.unwrap();
        }
    }

    /// Has it leave, and waits until it has.
    pub(super) async fn stop(&mut self) {
        self.witness.stop().await;
        eventually("stopped", async || {
            let record = self.witness.record();
            record.doing == Doing::Stopped && record.leads().is_none()
        })
        .await;
    }
}

impl Told {
    fn listen(follower: &Follower) -> Self {
        let changes = Arc::<Mutex<Vec<_>>>::default();
        let (mut stream, heard) = (follower.changes(), changes.clone());
        let listening = tokio::spawn(async move {
            while let Some(change) = stream.next().await {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push((now(), change));
            }
        });
        Self { changes, listening }
    }

    /// When it was first told since then that this one leads.
    pub(super) fn of(&self, name: &str, since: Timestamp) -> Option<Timestamp> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let told = changes.iter().find(|(at, change)| {
            *at >= since && matches!(change, Change::Leader(leader) if leader.name() == name)
        });
        told.map(|(at, _)| *at)
    }
}
