//! Runs an exploration and says how far it got.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, CheckerBuilder, DiscoveryClassification, HasDiscoveries, Model, Property};

use super::Rules;

/// What an exploration has shown.
#[derive(Clone, Debug)]
pub struct Report {
    /// The bounds.
    pub rules: Rules,
    /// How many different worlds were seen.
    pub states: usize,
    /// How many steps the longest way took that was followed.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every world within the bounds was seen.
    pub exhausted: bool,
    /// The properties that do not hold, each with the steps that show it.
    pub broken: Vec<(&'static str, String)>,
    /// What should happen in some world and does in none: the bounds are too narrow to show anything.
    pub never: Vec<&'static str>,
}

impl Report {
    /// Whether every world was seen, and all is well in each. A run that ended for lack of time is no pass.
    pub fn passed(&self) -> bool {
        self.exhausted && self.broken.is_empty() && self.never.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.broken.is_empty(), self.exhausted) {
            (false, _) => "BROKEN",
            (true, true) => "exhausted",
            (true, false) => "NOT EXHAUSTED, so no pass",
        };
        write!(
            f,
            "{:<16} {:>9} states, depth {:>3}, {:>6.1} s, {end}",
            self.rules.name,
            self.states,
            self.depth,
            self.took.as_secs_f64(),
        )?;
        for (property, steps) in &self.broken {
            write!(f, "\n  does not hold: {property}, after\n{steps}")?;
        }
        for property in &self.never {
            write!(f, "\n  never happens: {property}")?;
        }
        Ok(())
    }
}

/// Explores every order of events within the bounds, for at most `budget`, until something is found broken.
///
/// Each way is followed to its end before the next, which takes a hundredth of the memory that going step by step
/// would. So what it finds may take more steps than needed.
pub fn explore(rules: Rules, budget: Duration) -> Report {
    let checker = checker(rules, budget, HasDiscoveries::AnyFailures);
    run(rules, budget, || checker.spawn_dfs().join())
}

/// As [`explore`], until this one property is found broken, by the fewest steps.
pub fn look_for(property: &'static str, rules: Rules, budget: Duration) -> Report {
    let checker = checker(rules, budget, HasDiscoveries::AnyOf([property].into()));
    run(rules, budget, || checker.spawn_bfs().join())
}

fn checker(rules: Rules, budget: Duration, until: HasDiscoveries) -> CheckerBuilder<Rules> {
    rules.checker().threads(2).timeout(budget).finish_when(until)
}

fn run<C: Checker<Rules>>(rules: Rules, budget: Duration, search: impl FnOnce() -> C) -> Report {
    let begin = Instant::now();
    let checker = search();
    let took = begin.elapsed();
    let found = checker.discoveries();
    let broken: Vec<_> = found
        .iter()
        .filter(|(name, _)| {
            matches!(
                checker.discovery_classification(name),
                DiscoveryClassification::Counterexample
            )
        })
        .map(|(name, path)| (*name, steps(path.clone().into_actions())))
        .collect();
    let exhausted = broken.is_empty() && took < budget;
    let wanted = |property: &Property<Rules>| property.expectation == stateright::Expectation::Sometimes;
    let never = rules
        .properties()
        .into_iter()
        .filter(wanted)
        .map(|property| property.name);
    Report {
        rules,
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        took,
        exhausted,
        never: never
            .filter(|name| exhausted && !found.contains_key(name))
            .collect(),
        broken,
    }
}

fn steps(actions: Vec<super::Step>) -> String {
    let lines: Vec<String> = actions.iter().map(|step| format!("    {step:?}")).collect();
    lines.join("\n")
}
