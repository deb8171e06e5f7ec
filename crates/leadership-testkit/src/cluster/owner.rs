//! Which process a container belongs to, written on it as a label, so that the containers of a test run that
//! was killed can be told from those of one that is still going.
//!
//! Only the standard library is used here: `xtask` compiles this file too.

use std::{
    fmt, fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The label under which an [`Owner`] stands on containers and networks.
pub(crate) const LABEL: &str = "org.leadership.test";

/// How old something must be to be stale when its owner is of another machine, container or boot, where we
/// cannot look.
const FOREIGN: Duration = Duration::from_secs(2 * 60 * 60);

/// A process, named so that a later one with the same number is not taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Boot and process namespace, within which the process number means something.
    world: String,
    pid: u32,
    /// When the process started, in the kernel's ticks.
    started: String,
    /// When the label was written, in seconds since 1970.
    written: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn current() -> Self {
        let pid = std::process::id();
        Self {
            world: world(),
            pid,
            started: started(pid).unwrap_or_default(),
            written: unix_time(),
        }
    }

    /// Reads a label; `None` when it was not written here.
    pub(crate) fn parse(label: &str) -> Option<Self> {
        let mut fields = label.split(':');
        let owner = Self {
            world: fields.next()?.to_owned(),
            pid: fields.next()?.parse().ok()?,
            started: fields.next()?.to_owned(),
            written: fields.next()?.parse().ok()?,
        };
        fields.next().is_none().then_some(owner)
    }

    /// Whether nobody is left who would remove what carries this label.
    pub(crate) fn is_gone(&self) -> bool {
        if self.world.is_empty() || self.world != world() {
            return unix_time().saturating_sub(self.written) > FOREIGN.as_secs();
        }
        started(self.pid).is_none_or(|started| started != self.started)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.world, self.pid, self.started, self.written)
    }
}

/// Empty where there is no /proc: then only age decides.
fn world() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let namespace = fs::read_link("/proc/self/ns/pid");
    let (Ok(boot), Ok(namespace)) = (boot, namespace) else {
        return String::new();
    };
    let digits = |c: &char| c.is_ascii_digit();
    format!(
        "{}/{}",
        boot.trim(),
        namespace
            .to_string_lossy()
            .chars()
            .filter(digits)
            .collect::<String>()
    )
}

/// Field 22 of /proc/PID/stat. The name of the program, which may hold anything, ends with the last
/// parenthesis.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let owner = Owner::current();
        assert_eq!(Owner::parse(&owner.to_string()), Some(owner));
        for label in ["", "1234", "a:b:c:d", "w:1:2:3:4"] {
            assert_eq!(Owner::parse(label), None, "{label:?}");
        }
    }

    #[test]
    fn only_a_dead_or_old_owner_is_gone() {
        let here = Owner::current();
        assert!(!here.is_gone());
        assert!(
            Owner {
                started: "1".to_owned(),
                ..here.clone()
            }
            .is_gone(),
            "the number was given to another process"
        );
        let elsewhere = Owner {
            world: "other".to_owned(),
            ..here
        };
        assert!(!elsewhere.is_gone());
        assert!(
            Owner {
                written: 0,
                ..elsewhere
            }
            .is_gone()
        );
    }
}
