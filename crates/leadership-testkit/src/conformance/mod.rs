//! The conformance suite: one named case for each clause of the contract of [`KvStore`](leadership_core::KvStore),
//! and the main things a candidate does, for any store.
//!
//! A store's test is a harness and a `main`:
//!
//! ```no_run
//! use std::sync::Arc;
//! use leadership_testkit::conformance::{self, MemoryHarness};
//!
//! fn main() {
//!     conformance::main(|| async { Ok(vec![conformance::suite("memory", Arc::new(MemoryHarness::new()))]) });
//! }
//! ```
//!
//! Every case has elections of its own, so they run side by side on one store.

mod elections;
mod entries;
mod harness;
mod sessions;
mod streams;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

pub use harness::{Harness, MemoryHarness};

use harness::Bench;

/// No case takes longer, unless it is stuck.
const LIMIT: Duration = Duration::from_secs(90);

type Outcome = anyhow::Result<()>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A clause of the contract, and what shows that it holds.
struct Case {
    name: &'static str,
    run: fn(Bench) -> Running,
}

/// Names a case after its function.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$(crate::conformance::Case { name: stringify!($name), run: |bench| Box::pin($name(bench)) }),+]
    };
}
use cases;

/// The suite for one store, to be run by [`main`].
pub struct Suite {
    name: String,
    harness: Arc<dyn Harness>,
}

/// The suite for the store behind `harness`; `name` tells its cases from those of other stores.
pub fn suite(name: impl Into<String>, harness: Arc<dyn Harness>) -> Suite {
    Suite {
        name: name.into(),
        harness,
    }
}

impl Suite {
    fn trials(self, runtime: &tokio::runtime::Handle) -> Vec<Trial> {
        let cases = [
            sessions::cases(),
            entries::cases(),
            streams::cases(),
            elections::cases(),
        ];
        cases
            .into_iter()
            .flatten()
            .map(|case| {
                let (harness, runtime) = (self.harness.clone(), runtime.clone());
                Trial::test(format!("{}::{}", self.name, case.name), move || {
                    let bench = Bench::new(harness, case.name);
                    let result = runtime.block_on(async {
                        // A task of its own: a panic in it is a failure with its text.
                        tokio::time::timeout(LIMIT, tokio::spawn((case.run)(bench))).await
                    });
                    match result {
                        Ok(Ok(outcome)) => outcome.map_err(|error| Failed::from(format!("{error:?}"))),
                        Ok(Err(panic)) => Err(Failed::from(panic.to_string())),
                        Err(_) => Err(Failed::from(format!("not done within {LIMIT:?}"))),
                    }
                })
            })
            .collect()
    }
}

/// Runs suites as a test binary does (with its usual arguments), and exits.
///
/// `start` starts the stores. What its suites hold is dropped before the process exits, so that containers go
/// with it.
pub fn main<F>(start: impl FnOnce() -> F)
where
    F: Future<Output = anyhow::Result<Vec<Suite>>>,
{
    let arguments = Arguments::from_args();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start a runtime: {error}");
            std::process::exit(1);
        }
    };
    let trials = match runtime.block_on(start()) {
        Ok(suites) => suites
            .into_iter()
            .flat_map(|suite| suite.trials(runtime.handle()))
            .collect(),
        Err(error) => {
            eprintln!("cannot start the stores: {error:?}");
            std::process::exit(1);
        }
    };
    // The trials hold the harnesses, and are gone when this returns.
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(runtime);
    conclusion.exit();
}
