//! Fuzzing, by cargo-fuzz, which is installed into the target folder, and on the stable toolchain: coverage guides it
//! there, and without sanitizers, because nothing of ours is unsafe.
//!
//! The inputs in `crates/leadership-fuzz/corpus` are where each target begins. What it finds goes to the target folder;
//! `--keep` puts the fewest inputs that reach as much in the place of those that are kept.

use crate::process::{command, line, output, root, run as run_command, target};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

const VERSION: &str = "0.13.2";
const CRATE: &str = "crates/leadership-fuzz";
/// How many targets run at once.
const AT_ONCE: usize = 2;
/// An input that takes longer, in seconds by the wall clock, is a fault, and so is one that takes more memory, in MiB.
const SLOW: u32 = 30;
const MEMORY: u32 = 1024;
/// Longer than any URL or key, and enough for a line of some contenders.
const LONGEST: u32 = 4096;

/// Runs the targets that are named, or all, for so many seconds each.
pub(crate) fn run(chosen: &[String], seconds: u32, keep: bool) -> Result<()> {
    let all = targets()?;
    if let Some(unknown) = chosen.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown}: give one of {}", all.join(", "));
    }
    let chosen = if chosen.is_empty() { &all } else { chosen };
    let programs = build()?;
    let waiting = Mutex::new(chosen.iter());
    let work = || {
        let next = || waiting.lock().ok()?.next();
        let run = |name: &String| fuzz(name, &programs.join(name), seconds, keep);
        std::iter::from_fn(next).map(run).collect::<Vec<_>>()
    };
    let results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| worker.join();
        workers.into_iter().map(join).collect()
    });
    let mut failed = Vec::new();
    for result in results {
        let Ok(results) = result else {
            bail!("fuzzing was given up");
        };
        for result in results {
            match result {
                Ok(done) => println!("{done}"),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

/// The names of all targets: those of their folders of inputs.
fn targets() -> Result<Vec<String>> {
    let corpus = root().join(CRATE).join("corpus");
    let folders = files(&corpus)?.into_iter();
    let names = folders.filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
    Ok(names.collect())
}

/// Builds all targets, and cargo-fuzz itself where it is missing; the folder with the programs.
fn build() -> Result<PathBuf> {
    let tools = target().join("fuzz/tools");
    let tool = tools.join("bin/cargo-fuzz");
    let installed = output(command(&tool.to_string_lossy()).arg("--version"));
    if !installed.is_ok_and(|version| version.ends_with(VERSION)) {
        let mut install = command("cargo");
        install.args(["install", "--locked", "--force", "--version", VERSION]);
        run_command(install.arg("--root").arg(&tools).arg("cargo-fuzz"))?;
    }
    let built = target().join("fuzz/build");
    let mut build = command(&tool.to_string_lossy());
    build.args(["build", "--fuzz-dir", CRATE, "--sanitizer", "none"]);
    run_command(build.arg("--target-dir").arg(&built))?;
    let version = output(command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(built
        .join(host.context("rustc does not tell its host")?)
        .join("release"))
}

/// Runs one target, and tells what it did.
fn fuzz(name: &str, program: &Path, seconds: u32, keep: bool) -> Result<String> {
    let own = target().join("fuzz").join(name);
    let (found, faults, log) = (own.join("found"), own.join("faults"), own.join("log"));
    let kept = root().join(CRATE).join("corpus").join(name);
    for folder in [&found, &faults] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut fuzzing = Command::new(program);
    fuzzing.args([
        format!("-max_total_time={}", seconds.max(1)),
        format!("-timeout={SLOW}"),
        format!("-rss_limit_mb={MEMORY}"),
        format!("-max_len={LONGEST}"),
        format!("-artifact_prefix={}/", faults.display()),
        "-print_final_stats=1".to_owned(),
    ]);
    logged(fuzzing.args([&found, &kept]), &log)?;
    let said = fs::read_to_string(&log)?;
    if keep {
        let fewest = own.join("fewest");
        // What a run that was broken off has left.
        let _ = fs::remove_dir_all(&fewest);
        fs::create_dir_all(&fewest)?;
        // How often code is reached makes no difference here, or there would be ten times as many.
        let mut merging = Command::new(program);
        merging.args(["-set_cover_merge=1", "-use_counters=0"]);
        logged(merging.args([&fewest, &kept, &found]), &log)?;
        for old in files(&kept)? {
            fs::remove_file(old)?;
        }
        // Their names are hashes of what is in them.
        for file in files(&fewest)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let short: String = name.chars().take(8).collect();
            fs::copy(&file, kept.join(short))?;
        }
    }
    let stat = |what| {
        let line = said.lines().find_map(|line| line.strip_prefix(what));
        line.unwrap_or("?").trim().to_owned()
    };
    Ok(format!(
        "{name:<12} {:>10} inputs, {:>6} a second; {} kept",
        stat("stat::number_of_executed_units:"),
        stat("stat::average_exec_per_sec:"),
        files(&kept)?.len()
    ))
}

/// Runs a target with what it says in a file; the end of that when it fails.
fn logged(target: &mut Command, log: &Path) -> Result<()> {
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = target
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run `{}`", line(target)))?;
    if !status.success() {
        let said = fs::read(log)?;
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(4000)..]).into_owned();
        bail!(
            "`{}` failed ({status}); with the file that it names alone, it fails again\n{said}",
            line(target)
        );
    }
    Ok(())
}

/// What is in a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}
