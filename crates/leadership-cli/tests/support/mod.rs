//! Running the command, and waiting for what it does.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The command, without the settings of whoever runs the tests.
pub(crate) fn leadership(args: &[&str]) -> Command {
    // Whoever runs the tests in the background of a shell has INT and QUIT ignored, and so would we: what is
    // ignored from the start stays ignored.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=HUP,INT,QUIT,TERM,USR1,USR2")
        .arg(env!("CARGO_BIN_EXE_leadership"))
        .args(args)
        .env_remove("LEADERSHIP_STORE")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn output(args: &[&str]) -> Result<Output> {
    Ok(leadership(args).output()?)
}

/// Waits until `look` finds something.
pub(crate) fn within<T>(
    limit: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begin.elapsed() > limit {
            bail!("not within {limit:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process of a test, killed with it.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.spawn()?;
        Ok(Self { child })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?).context("a process has a number")?;
        Ok(kill_process(id, signal)?)
    }

    /// The code it exits with; 128+n for a signal of its own, as shells say it.
    pub(crate) fn exit_code(&mut self, limit: Duration) -> Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        within(limit, "the exit of leadership", || {
            let status = self.child.try_wait()?;
            Ok(status.map(|status| {
                status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
            }))
        })
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn stdout(&mut self) -> Result<impl Read + use<>> {
        self.child.stdout.take().context("stdout is piped")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be stopped, and it may have ended; its guard sees to its command.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process can still do anything: one that has ended and was not waited for cannot.
pub(crate) fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// The number of a process's group, which is that of its guard.
pub(crate) fn group_of(id: u32) -> Result<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields = stat.rsplit_once(") ").context("the format of stat")?.1;
    Ok(fields.split(' ').nth(2).context("a group")?.parse()?)
}

/// A file to which commands write what they do, a line each.
pub(crate) struct Journal {
    path: PathBuf,
}

impl Journal {
    pub(crate) fn new(test: &str) -> Result<Self> {
        let name = format!("{test}-{}.journal", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, "")?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    pub(crate) fn lines(&self) -> Result<Vec<String>> {
        let text = std::fs::read_to_string(&self.path)?;
        // The last line may be only half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().map(str::to_owned).collect())
    }

    /// Waits for line number `count` that begins with `word`; the words after it.
    pub(crate) fn wait_for(&self, limit: Duration, word: &str, count: usize) -> Result<Vec<String>> {
        within(
            limit,
            &format!("line {count} of {word:?} in {:?}", self.lines()?),
            || {
                let lines = self.lines()?;
                let mut found = lines
                    .iter()
                    .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
                Ok(found
                    .nth(count - 1)
                    .map(|rest| rest.split(' ').map(str::to_owned).collect()))
            },
        )
    }

    pub(crate) fn has(&self, word: &str) -> Result<bool> {
        Ok(self.lines()?.iter().any(|line| line.starts_with(word)))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A test that fails may leave commands behind that nobody else ends.
        for line in self.lines().unwrap_or_default() {
            let id = line.rsplit(' ').next().and_then(|id| id.parse().ok());
            let environment = id.map(|id: i32| std::fs::read_to_string(format!("/proc/{id}/environ")));
            if environment.is_some_and(|vars| vars.is_ok_and(|vars| vars.contains(self.path()))) {
                let _ = id
                    .and_then(Pid::from_raw)
                    .map(|id| kill_process(id, Signal::KILL));
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The number of entries in an election, as `leadership status` sees it.
pub(crate) fn line_length(url: &str, election: &str) -> Result<usize> {
    let output = output(&["status", "--store", url, "--election", election, "--json"])?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code().is_some_and(|code| code <= 1),
        "status failed: {errors}"
    );
    let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(status["line"].as_array().context("a line")?.len())
}
