//! Libraries of other languages, with which our tests `interop` stand in the same elections.
//!
//! A program per library is committed beside the test; what it runs on is made here, in folders below the target
//! folder, and tests are told by environment variables where it is. One file per library.

mod curator;
mod kazoo;

use crate::{debian::Suites, process::target, scratch::Scratch};
use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Instant,
};

/// The programs of our test of ZooKeeper, below the top folder.
const PROGRAMS: &str = "crates/leadership-zk/tests/interop";

/// An environment variable and its value.
pub(crate) type Variable = (&'static str, OsString);

/// Makes sure that all of them are there; what to tell tests.
pub(crate) fn provide() -> Result<Vec<Variable>> {
    let mut suites = Suites::default();
    Ok(vec![
        curator::provide(&mut suites).context("no Curator")?,
        kazoo::provide().context("no kazoo")?,
    ])
}

/// The folder of what is made by a recipe, from an earlier run when there is one. `make` fills the first of two
/// folders, and may use the second for what it needs on the way.
fn folder(name: &str, recipe: impl Hash, make: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let folder = target()
        .join("interop")
        .join(format!("{name}-{:016x}", hasher.finish()));
    if folder.exists() {
        println!("{name}: up to date");
        return Ok(folder);
    }
    let begin = Instant::now();
    let scratch = Scratch::beside(&folder)?;
    let made = scratch.path().join("made");
    fs::create_dir(&made).with_context(|| format!("cannot create {}", made.display()))?;
    make(&made, scratch.path())?;
    match fs::rename(&made, &folder) {
        // Another run was faster.
        Err(_) if folder.exists() => {}
        renamed => renamed.with_context(|| format!("cannot put {} in place", folder.display()))?,
    }
    println!("{name}: made ({:.1?})", begin.elapsed());
    Ok(folder)
}

fn program(name: &str) -> PathBuf {
    crate::process::root().join(PROGRAMS).join(name)
}

fn text(program: &Path) -> Result<String> {
    fs::read_to_string(program).with_context(|| format!("cannot read {}", program.display()))
}
