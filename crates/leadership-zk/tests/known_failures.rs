//! The known failures of others, on a real ZooKeeper.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use leadership_testkit::known_failures;
use support::ground::World;

fn main() {
    let mut cases = known_failures::everywhere::<World>();
    cases.extend(known_failures::over_the_network());
    support::main(cases);
}
