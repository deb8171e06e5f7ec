//! The conformance suite on the reference implementation.

use std::sync::Arc;

use leadership_testkit::conformance::{self, MemoryHarness};

fn main() {
    conformance::main(|| async { Ok(vec![conformance::suite("memory", Arc::new(MemoryHarness::new()))]) });
}
