//! The known failures of others that the store in memory could show.

use leadership_testkit::conformance::MemoryHarness;
use leadership_testkit::{known_failures, trials};

fn main() {
    trials::main::<MemoryHarness>(known_failures::everywhere());
}
