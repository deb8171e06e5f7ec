//! What must come about once faults stop: somebody leads, and everybody in line is reached.
//!
//! Checked as bounded liveness. From a world, one fair order of events is run without further faults: every
//! message arrives, sessions whose TTL has passed end, timers fire, time goes on. Each step of it that lies
//! within the bounds leads to another world that is explored too, so it is enough to run it from those worlds
//! where its next step leads out of the bounds: time would go on, and nothing else is left to happen.

use leadership_core::Token;
use stateright::Model;

use super::world::World;
use super::{Rules, Step};

impl Rules {
    /// What happens next when nothing goes wrong; `None` if nothing does within the bounds.
    fn fair_step(&self, world: &World) -> Option<Step> {
        let mut steps = Vec::new();
        self.actions(world, &mut steps);
        let urgency = |step: &Step| match step {
            Step::Deliver(_) => Some(0),
            Step::Apply(_) => Some(1),
            Step::Expire(_) => Some(2),
            Step::Notice(..) => Some(3),
            Step::Wake(_) => Some(4),
            Step::Follow(_) => Some(5),
            Step::Tick => Some(6),
            _ => None,
        };
        let fair = steps.into_iter().filter(|step| urgency(step).is_some());
        fair.min_by_key(urgency)
    }

    /// Whether all is well from here on once faults stop. Worlds from which a fair step leads to another world
    /// within the bounds are left to that one.
    pub(super) fn all_are_reached(&self, world: &World) -> bool {
        if world.now < self.ticks || !world.wire.is_empty() || self.fair_step(world).is_some() {
            return true;
        }
        let calm = Self {
            ticks: u32::MAX,
            losses: 0,
            removals: 0,
            ..*self
        };
        let mut world = world.clone();
        // Sessions that were not renewed because of faults still run out.
        let settled = self.ticks + self.ttl;
        calm.wait_for(&mut world, |world| world.now > settled)
            && (0..self.elections).all(|election| calm.each_leads_in_turn(&mut world, election))
            && calm.wait_for(&mut world, |world| self.nothing_leaked(world))
    }

    /// Every leader resigns once all others are in line behind it, as often as it takes to reach each of them.
    fn each_leads_in_turn(&self, world: &mut World, election: usize) -> bool {
        let standing = |index: &usize| !world.nodes[*index].stands[election].stopped;
        let standing: Vec<usize> = (0..self.nodes).filter(standing).collect();
        let in_line = |world: &World| {
            let line = world.store.lines[election].values();
            let mut owners: Vec<_> = line.filter_map(|id| world.store.owner(id)).collect();
            owners.sort_unstable();
            owners == standing
        };
        let mut left = standing.clone();
        while !left.is_empty() {
            let ready = |world: &World| self.leader(world, election).is_some() && in_line(world);
            if !self.wait_for(world, ready) {
                return false;
            }
            let Some((leader, token)) = self.leader(world, election) else {
                return false;
            };
            let next = world.store.next_in_line(election).unwrap_or(leader);
            let now = self.local(world, leader);
            world.nodes[leader].stands[election]
                .election
                .resign(now, Token(token));
            self.pump(world, leader);
            let follows = |world: &World| {
                let newer = self.leader(world, election).filter(|(_, newer)| *newer > token);
                newer.is_some_and(|(index, _)| index == next)
            };
            if !self.wait_for(world, follows) {
                return false;
            }
            left.retain(|index| *index != leader && *index != next);
        }
        self.wait_for(world, in_line)
    }

    /// The one that leads, if nobody else believes to and the store agrees.
    fn leader(&self, world: &World, election: usize) -> Option<(usize, u64)> {
        let believers = |index| Some((index, self.believes(world, index, election)?));
        let mut believers = (0..self.nodes).filter_map(believers);
        let (leader, token) = believers.next()?;
        let head = world.store.lines[election].first_key_value()?;
        let agreed =
            believers.next().is_none() && *head.0 == token && world.store.owner(head.1) == Some(leader);
        agreed.then_some((leader, token))
    }

    /// Of nodes that have stopped for good, the store knows nothing; of the others, one session each.
    fn nothing_leaked(&self, world: &World) -> bool {
        world.nodes.iter().enumerate().all(|(index, node)| {
            let sessions = world.store.sessions.values();
            let open = sessions.filter(|lease| lease.owner == index).count();
            let stopped = node.stands.iter().all(|stand| stand.stopped);
            open == usize::from(!stopped) && node.session.is_closed() == stopped
        })
    }

    /// Goes on until `reached` holds while nothing but time is left to happen, within a bound of time and steps.
    fn wait_for(&self, world: &mut World, reached: impl Fn(&World) -> bool) -> bool {
        let patience = 2 * self.ttl + 4;
        let until = world.now + patience;
        let mut steps = 0;
        loop {
            let next = self.fair_step(world);
            let at_rest = matches!(next, None | Some(Step::Tick | Step::Follow(_)));
            if at_rest && reached(world) {
                return true;
            }
            let Some(later) = next.and_then(|step| self.next_state(world, step)) else {
                return false;
            };
            steps += 1;
            if later.now > until || steps > patience * 50 {
                return false;
            }
            *world = later;
        }
    }
}
