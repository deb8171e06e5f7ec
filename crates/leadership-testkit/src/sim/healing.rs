//! The end of a run: everything heals, one resigns, and all go; after which nothing may be left.

use std::time::Duration;

use leadership_core::{State, Term};
use tokio::time::{Instant, sleep, timeout};

use super::checker::{NOTICE, Promise, Violation};
use super::plan::TTL;
use super::run::{LOOK, Run, owner};

/// Within this time after the last fault somebody has to lead, everybody to be in line, and followers to know:
/// a session that nobody renews any more ends, and so does one that takes its place.
pub const HEALING: Duration = Duration::from_secs(7);

/// What there is to tell of a run that went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Healed {
    /// From the end of the faults until somebody led.
    pub(super) leaderless: Duration,
    /// From the end of the faults until everybody was in line and every follower knew.
    pub(super) whole: Duration,
    /// From a resignation until another led.
    pub(super) handover: Duration,
}

impl Run<'_> {
    /// After the faults: somebody leads, all are in line, all followers know, and it stays so.
    pub(super) async fn heal(&mut self) -> Result<Healed, Violation> {
        let begin = self.checker.elapsed();
        self.checker.note(&"".into(), "everything is over");
        let mut healed = Healed::default();
        let (mut led, mut whole) = (false, None);
        let leader = loop {
            self.checker.look();
            self.sound()?;
            let since = self.checker.elapsed() - begin;
            let leader = self.leader();
            if leader.is_some() && !led {
                (led, healed.leaderless) = (true, since);
            }
            let wrong = self.not_in_line();
            let well = wrong.is_empty()
                && leader
                    .as_ref()
                    .is_some_and(|(_, term)| self.checker.all_see(term));
            whole = well.then(|| whole.unwrap_or(since));
            match (leader, whole) {
                // Renewals that were lost before may end a term up to a TTL later.
                (Some(leader), Some(whole)) if since >= TTL => {
                    healed.whole = whole;
                    break leader;
                }
                (None, _) if since > HEALING => {
                    let how = format!("nobody leads {since:?} after the faults were over");
                    return Err(self.checker.broken(Promise::SomebodyLeads, how));
                }
                _ if since > HEALING => {
                    let how = format!("{since:?} after the faults were over: {wrong}");
                    return Err(self.checker.broken(Promise::LineIsWhole, how));
                }
                _ => sleep(LOOK / 2).await,
            }
        };
        for _ in 0..(TTL.as_millis() / LOOK.as_millis()) {
            sleep(LOOK).await;
            self.checker.look();
            self.sound()?;
            if !leader.1.is_valid() {
                let how = format!("term {} ended without a fault", leader.1.token());
                return Err(self.checker.broken(Promise::LeadersStay, how));
            }
        }
        let start = Instant::now();
        if let Some(member) = &mut self.candidates[leader.0] {
            member.resign(&self.checker);
        }
        while self
            .leader()
            .is_none_or(|(_, term)| term.token() <= leader.1.token())
        {
            if start.elapsed() > NOTICE {
                let how = "a resignation made nobody the next leader";
                return Err(self.checker.broken(Promise::OrdersEnd, how));
            }
            sleep(Duration::from_millis(5)).await;
            self.checker.look();
        }
        healed.handover = start.elapsed();
        Ok(healed)
    }

    fn leader(&self) -> Option<(usize, Term)> {
        self.candidates.iter().enumerate().find_map(|(index, member)| {
            let candidate = self.checker.candidate(member.as_ref()?.id)?;
            Some((index, candidate.term()?))
        })
    }

    /// What is wrong with the line; empty if it is whole.
    fn not_in_line(&self) -> String {
        let line: Vec<String> = self
            .checker
            .line()
            .iter()
            .map(|entry| owner(&entry.name()).to_owned())
            .collect();
        let members = self.candidates.iter().flatten();
        let missing: Vec<String> = members
            .filter_map(|member| {
                let state = self.checker.candidate(member.id).map(|c| c.state());
                let fine = matches!(state, Some(State::Waiting(_) | State::Leading(_)));
                (!fine || !line.contains(&(*member.name).to_owned()))
                    .then(|| format!("{} is {state:?}", member.name))
            })
            .collect();
        if missing.is_empty() && line.len() == self.candidates.len() {
            String::new()
        } else {
            format!("{missing:?}, in line are {line:?}")
        }
    }

    /// Everybody goes, in three ways: stopped and closed, closed, dropped. Nothing is left.
    pub(super) async fn end(&mut self) -> Result<(), Violation> {
        for index in 0..self.candidates.len() {
            let Some(mut member) = self.candidates[index].take() else {
                continue;
            };
            let name = member.name.clone();
            if index % 3 == 0
                && let Some(candidate) = self.checker.candidate(member.id)
            {
                self.within(TTL, "stop", candidate.stop()).await?;
                self.gone(&name)?;
            }
            if index % 3 != 2 {
                self.within(TTL, "close", member.elections.close()).await?;
                self.gone(&name)?;
                member.end_tasks();
            }
            member.let_go(&self.checker);
            self.checker.look();
            self.sound()?;
        }
        let start = Instant::now();
        while self.memory.sessions() > 0 || !self.checker.line().is_empty() || !self.checker.all_see_nobody()
        {
            if start.elapsed() > NOTICE {
                let how = format!(
                    "{} sessions and {:?} are left, followers see nobody: {}",
                    self.memory.sessions(),
                    self.checker.line(),
                    self.checker.all_see_nobody()
                );
                return Err(self.checker.broken(Promise::NothingIsLeft, how));
            }
            sleep(LOOK).await;
            self.checker.look();
        }
        Ok(())
    }

    async fn within(
        &self,
        limit: Duration,
        what: &str,
        order: impl Future<Output = ()>,
    ) -> Result<(), Violation> {
        if timeout(limit, order).await.is_err() {
            let how = format!("{what} has not returned after {limit:?}");
            return Err(self.checker.broken(Promise::OrdersEnd, how));
        }
        Ok(())
    }

    fn gone(&self, name: &str) -> Result<(), Violation> {
        if self
            .checker
            .line()
            .iter()
            .any(|entry| owner(&entry.name()) == name)
        {
            let how = format!("{name} has stopped, and its entry is there");
            return Err(self.checker.broken(Promise::NothingIsLeft, how));
        }
        Ok(())
    }
}
