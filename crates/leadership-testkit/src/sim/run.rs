//! One run: the processes come and the incidents befall them; its end is in [`healing`](super::healing).

use std::sync::Arc;
use std::time::Duration;

use leadership_core::{DynStore, ElectionName, MemoryStore, Token, TokioClock};
use tokio::time::{Instant, sleep_until};

use super::checker::{Checker, NOTICE, Promise, Violation};
use super::healing::Healed;
use super::member::{ELECTION, Member};
use super::plan::{Incident, Kind, Plan, Whom};

/// How long between looks where nothing tells that there is something to see.
pub(super) const LOOK: Duration = Duration::from_millis(50);

enum Edge {
    Candidate(usize),
    Follower(usize),
    Begins(usize),
    Ends(usize),
    Over(usize),
    Look,
}

pub(super) struct Run<'a> {
    plan: &'a Plan,
    start: Instant,
    store: DynStore,
    pub(super) memory: MemoryStore,
    pub(super) checker: Arc<Checker>,
    pub(super) candidates: Vec<Option<Member>>,
    followers: Vec<Option<(Member, usize)>>,
    /// By incident: whether it goes on, and whether it has effects.
    going_on: Vec<(bool, bool)>,
    lives: u64,
}

impl<'a> Run<'a> {
    /// `store` is given the memory store, and may put something before it.
    pub(super) fn new(
        plan: &'a Plan,
        store: &dyn Fn(MemoryStore) -> DynStore,
    ) -> Result<Self, leadership_core::Error> {
        let memory = MemoryStore::with_clock(TokioClock::shared());
        let checker = Checker::new(memory.clone(), ElectionName::new(ELECTION)?);
        Ok(Self {
            plan,
            start: Instant::now(),
            store: store(memory.clone()),
            memory,
            checker: Arc::new(checker),
            candidates: plan.candidates.iter().map(|_| None).collect(),
            followers: plan.followers.iter().map(|_| None).collect(),
            going_on: vec![(false, false); plan.incidents.len()],
            lives: 0,
        })
    }

    pub(super) async fn go(mut self) -> Result<Healed, Violation> {
        self.befall().await?;
        let healed = self.heal().await?;
        self.end().await?;
        self.sound()?;
        Ok(healed)
    }

    pub(super) fn sound(&self) -> Result<(), Violation> {
        self.checker.violation().map_or(Ok(()), Err)
    }

    /// Everything in the order of the plan, up to when it has healed.
    async fn befall(&mut self) -> Result<(), Violation> {
        let plan = self.plan;
        let mut edges: Vec<(Duration, Edge)> = Vec::new();
        for (index, process) in plan.candidates.iter().enumerate() {
            edges.push((process.starts, Edge::Candidate(index)));
        }
        for (index, process) in plan.followers.iter().enumerate() {
            edges.push((process.starts, Edge::Follower(index)));
        }
        for (index, incident) in plan.incidents.iter().enumerate() {
            edges.push((incident.at, Edge::Begins(index)));
            edges.push((incident.at + incident.lasts, Edge::Ends(index)));
            edges.push((incident.over(), Edge::Over(index)));
        }
        if plan.asked_often {
            let looks = plan.healed().as_millis() / LOOK.as_millis();
            edges.extend((1..looks as u32).map(|count| (LOOK * count, Edge::Look)));
        }
        // Stable: what begins at one time begins in the order above.
        edges.sort_by_key(|(at, _)| *at);
        for (at, edge) in edges {
            sleep_until(self.start + at).await;
            match edge {
                Edge::Candidate(index) => self.come(index)?,
                Edge::Follower(index) => self.follow(index)?,
                Edge::Begins(index) => {
                    self.checker
                        .note(&"".into(), format!("begins: {}", plan.incidents[index]));
                    self.going_on[index] = (true, true);
                    self.feel(plan.incidents[index].whom);
                    self.strike(&plan.incidents[index])?;
                }
                Edge::Ends(index) => {
                    self.going_on[index].0 = false;
                    self.feel(plan.incidents[index].whom);
                }
                Edge::Over(index) => {
                    self.going_on[index] = (false, false);
                    self.feel(plan.incidents[index].whom);
                }
                Edge::Look => {}
            }
            self.checker.look();
            self.sound()?;
        }
        Ok(())
    }

    /// A process that stands comes, for the first time or in place of one that died.
    fn come(&mut self, index: usize) -> Result<(), Violation> {
        self.lives += 1;
        let process = self.plan.candidates[index].clone();
        let name = match &self.candidates[index] {
            Some(before) => format!("{}'", before.name),
            None => format!("n{index}"),
        };
        let seed = self.plan.seed.wrapping_add(self.lives);
        let mut member = Member::new(process, &name, seed, self.store.clone(), &self.checker)
            .map_err(|error| self.checker.broken(Promise::OrdersEnd, error.to_string()))?;
        member.feel(&self.incidents_on(Whom::Candidate(index)), &self.checker);
        member.stand(&self.checker);
        if let Some(before) = self.candidates[index].replace(member) {
            before.die(&self.checker);
        }
        Ok(())
    }

    fn follow(&mut self, index: usize) -> Result<(), Violation> {
        self.lives += 1;
        let process = self.plan.followers[index].clone();
        let name = format!("f{index}");
        let seed = self.plan.seed.wrapping_add(self.lives);
        let refused =
            |error: leadership_core::Error| self.checker.broken(Promise::OrdersEnd, error.to_string());
        let mut member =
            Member::new(process, &name, seed, self.store.clone(), &self.checker).map_err(refused)?;
        member.feel(&self.incidents_on(Whom::Follower(index)), &self.checker);
        let follower = member.elections.follow(ELECTION).map_err(refused)?;
        let number = self.checker.follow(member.name.clone(), follower);
        self.followers[index] = Some((member, number));
        self.feel(Whom::Follower(index));
        Ok(())
    }

    /// The incidents that go on and befall this process.
    fn incidents_on(&self, whom: Whom) -> Vec<&'a Incident> {
        let all = self.plan.incidents.iter().zip(&self.going_on);
        all.filter(|(incident, (going_on, _))| *going_on && touches(incident, whom))
            .map(|(incident, _)| incident)
            .collect()
    }

    /// Whether something that has befallen this process still has effects.
    fn disturbed(&self, whom: Whom) -> bool {
        let mut all = self.plan.incidents.iter().zip(&self.going_on);
        all.any(|(incident, (_, effects))| *effects && touches(incident, whom))
    }

    /// Tells the ways and clocks of those whom an incident befalls that it began or ended.
    fn feel(&mut self, whom: Whom) {
        for index in 0..self.candidates.len() {
            let own = Whom::Candidate(index);
            if whom == own || whom == Whom::All {
                let incidents = self.incidents_on(own);
                if let Some(member) = &mut self.candidates[index] {
                    member.feel(&incidents, &self.checker);
                }
            }
        }
        for index in 0..self.followers.len() {
            let own = Whom::Follower(index);
            if whom == own || whom == Whom::All {
                let (incidents, disturbed) = (self.incidents_on(own), self.disturbed(own));
                if let Some((member, number)) = &mut self.followers[index] {
                    member.feel(&incidents, &self.checker);
                    self.checker.set_sound(*number, !disturbed);
                }
            }
        }
    }

    /// What an incident does at its beginning.
    fn strike(&mut self, incident: &Incident) -> Result<(), Violation> {
        let (all, index) = match incident.whom {
            Whom::Candidate(index) => (false, Some(index)),
            Whom::Follower(_) => (false, None),
            Whom::All => (true, None),
        };
        match incident.kind {
            Kind::StreamsBroken => {
                let candidates = self.candidates.iter().enumerate().filter_map(|(index, member)| {
                    let befallen = touches(incident, Whom::Candidate(index));
                    member.as_ref().filter(|_| befallen)
                });
                let followers = self.followers.iter().enumerate().filter_map(|(index, member)| {
                    let befallen = touches(incident, Whom::Follower(index));
                    member.as_ref().map(|(member, _)| member).filter(|_| befallen)
                });
                candidates
                    .chain(followers)
                    .for_each(|member| member.way.break_streams());
            }
            Kind::HeadRemoved => {
                self.excuse_head(None);
                if let Ok(election) = ElectionName::new(ELECTION) {
                    self.memory.remove_head(&election);
                }
            }
            Kind::SessionRemoved => {
                let name = index
                    .and_then(|index| self.candidates[index].as_ref())
                    .map(|member| member.name.clone());
                let line = self.checker.line();
                let entry = line
                    .iter()
                    .find(|entry| name.as_deref() == Some(owner(&entry.name())));
                if let (Some(session), Some(name)) = (entry.and_then(|entry| entry.session.as_ref()), name) {
                    self.excuse_head(Some(&name));
                    self.memory.expire(session);
                }
            }
            Kind::Dies => {
                if let Some(index) = index.filter(|index| self.candidates[*index].is_some()) {
                    self.come(index)?;
                }
            }
            // Nobody acts in a paused process.
            kind => {
                for (own, member) in self.candidates.iter_mut().enumerate() {
                    let Some(member) = member.as_mut().filter(|member| !member.paused) else {
                        continue;
                    };
                    if all || index == Some(own) {
                        match kind {
                            Kind::Resigns => member.resign(&self.checker),
                            Kind::StopsAndStands => member.stop_and_stand(&self.checker),
                            Kind::Proclaims => member.proclaim(incident.at, &self.checker),
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The term of the head, if it is this process's, may go on until the news of its end can be there.
    fn excuse_head(&self, of: Option<&str>) {
        let Some(head) = self.checker.line().into_iter().next() else {
            return;
        };
        let name = head.name().into_owned();
        if of.is_some_and(|of| of != owner(&name)) {
            return;
        }
        let now = Instant::now();
        let index = self
            .candidates
            .iter()
            .position(|member| member.as_ref().is_some_and(|m| &*m.name == owner(&name)));
        let elapsed = self.start.elapsed();
        let disturbs = |incident: &Incident| {
            // A process that died is told nothing, and is over at its deadline.
            index.is_none_or(|index| touches(incident, Whom::Candidate(index)))
                && incident.at < elapsed + NOTICE
                && elapsed < incident.over() + NOTICE
                && incident.over() > incident.at
        };
        let until = if self.plan.incidents.iter().any(disturbs) || index.is_none() {
            self.start + self.plan.healed() + NOTICE
        } else {
            now + NOTICE
        };
        self.checker.excuse(Token(head.order), until);
    }
}

/// The process whose value this is: it may have proclaimed something after its name.
pub(super) fn owner(value: &str) -> &str {
    value.split('.').next().unwrap_or(value)
}

fn touches(incident: &Incident, whom: Whom) -> bool {
    incident.whom == whom || incident.whom == Whom::All
}
