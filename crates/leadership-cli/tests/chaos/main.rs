//! The command under random faults, on three servers of each store: half a minute of what `cargo xtask chaos` does
//! for longer. Its report is opened in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod page;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use leadership_testkit::chaos::{self, Options, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> Result<()> {
    if chaos::serve()? {
        return Ok(());
    }
    let mut arguments = Arguments::from_args();
    // Each has the machine to itself: who is late because of another would be a false alarm.
    arguments.test_threads = Some(1);
    let hurt = |store: &'static str, seed| {
        let name = format!("{store}_has_one_leader_at_a_time_under_random_faults");
        Trial::test(name, move || {
            passes(store, seed).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    // Seeds whose first faults are different ones.
    let mut trials = vec![hurt("etcd", 1), hurt("consul", 2), hurt("zk", 3)];
    trials.push(Trial::test(
        "a_report_of_what_went_wrong_shows_it_in_a_browser",
        || page::shows_what_went_wrong().map_err(|error| Failed::from(format!("{error:#}"))),
    ));
    libtest_mimic::run(&arguments, trials).exit()
}

fn passes(store: &str, seed: u64) -> Result<()> {
    let options = Options {
        store: store.to_owned(),
        lasts: Duration::from_secs(30),
        seed,
        ttl: Duration::from_secs(3),
        leadership: PathBuf::from(env!("CARGO_BIN_EXE_leadership")),
        progress: |line| println!("{line}"),
    };
    let outcome = tokio::runtime::Runtime::new()?.block_on(chaos::run(options))?;
    let report = written(&outcome, store)?;
    println!("{}", outcome.verdict);
    ensure!(
        outcome.verdict.passed(),
        "{}\nseed {}, see {}\n{}",
        outcome.verdict,
        outcome.options.seed,
        report.display(),
        outcome.history.lines().join("\n")
    );
    ensure!(
        outcome.history.faults.len() >= 3 && outcome.verdict.terms >= 2,
        "hardly anything happened: {}",
        outcome.verdict
    );
    page::shows(&report, &outcome)
}

fn written(outcome: &Outcome, name: &str) -> Result<PathBuf> {
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}.html"));
    std::fs::write(&report, chaos::report(outcome))
        .with_context(|| format!("cannot write {}", report.display()))?;
    Ok(report)
}
