//! The model: every order of events in small elections, and faults that it has to find.

use crate::process::{command, run as run_command};
use anyhow::Result;

/// Explores the small bounds, and the faults put in on purpose; or, with `deep`, the large bounds.
pub(crate) fn run(deep: bool) -> Result<()> {
    let mut cargo = command("cargo");
    cargo.args(["test", "--locked", "--package", "leadership-testkit"]);
    cargo.args(["--test", "model", "--", "--nocapture", "--test-threads", "1"]);
    if deep {
        cargo.arg("--ignored");
    }
    run_command(&mut cargo)
}
