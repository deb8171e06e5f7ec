//! Makes a plan that fails smaller, as long as it still breaks the same promise.

use leadership_core::{DynStore, MemoryStore};

use super::plan::Plan;
use super::{Failure, run_plan};

/// No more runs than this are spent on one failure.
const TRIES: usize = 2_000;

/// The smallest plan found that breaks the same promise: with fewer incidents, fewer and plainer processes, and
/// incidents that do not last as long.
pub fn shrink(failure: Box<Failure>, store: &dyn Fn(MemoryStore) -> DynStore) -> Box<Failure> {
    let promise = failure.violation.promise;
    let mut smallest = failure;
    let mut tries = 0;
    loop {
        let mut smaller = None;
        for plan in smaller_plans(&smallest.plan) {
            if tries == TRIES {
                break;
            }
            tries += 1;
            if let Err(failed) = run_plan(&plan, store)
                && failed.violation.promise == promise
            {
                smaller = Some(failed);
                break;
            }
        }
        match smaller {
            Some(failed) => smallest = failed,
            None => return smallest,
        }
    }
}

/// Plans that are one step smaller, those that drop most first.
fn smaller_plans(plan: &Plan) -> Vec<Plan> {
    let mut smaller = Vec::new();
    let mut propose = |change: &dyn Fn(&mut Plan)| {
        let mut changed = plan.clone();
        change(&mut changed);
        if changed != *plan && changed.is_whole() {
            smaller.push(changed);
        }
    };
    let half = plan.incidents.len() / 2;
    if half > 1 {
        propose(&|plan| plan.incidents = plan.incidents.split_off(half));
        propose(&|plan| plan.incidents.truncate(half));
    }
    for index in 0..plan.incidents.len() {
        propose(&|plan| {
            plan.incidents.remove(index);
        });
    }
    if plan.followers.len() > 1 {
        propose(&|plan| {
            plan.followers.pop();
        });
    }
    if plan.candidates.len() > 2 {
        propose(&|plan| {
            plan.candidates.pop();
        });
    }
    for index in 0..plan.candidates.len() {
        propose(&|plan| plan.candidates[index] = plan.candidates[index].plain());
    }
    for index in 0..plan.followers.len() {
        propose(&|plan| plan.followers[index] = plan.followers[index].plain());
    }
    for index in 0..plan.incidents.len() {
        // Whole hundreds are easier to read; below them it is as short as it gets.
        let lasts = plan.incidents[index].lasts / 2;
        if lasts.as_millis() >= 100 {
            propose(&|plan| plan.incidents[index].lasts = lasts);
        }
    }
    smaller
}
