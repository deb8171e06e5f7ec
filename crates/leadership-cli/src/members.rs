//! Who is in a process group, and how they are told to go.

use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid};

use crate::plan::now;

/// How long a killed group may take to be gone.
pub(crate) const KILLED: Duration = Duration::from_secs(2);
/// Between two looks whether a group is gone.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Asks a group to end; one that was stopped has to run for that.
pub(crate) fn terminate(group: Pid) {
    // If there is nobody left, nobody has to end.
    let _ = kill_process_group(group, Signal::TERM);
    let _ = kill_process_group(group, Signal::CONT);
}

/// Whether a group has no member left. Who has ended, but was not waited for, still is one.
pub(crate) fn is_gone(group: Pid) -> bool {
    test_kill_process_group(group) == Err(Errno::SRCH)
}

/// Waits until a group that was killed is gone; `false` if it takes too long.
pub(crate) async fn killed(group: Pid) -> bool {
    let until = now() + KILLED;
    while !is_gone(group) && !has_ended(group) {
        if now() > until {
            return false;
        }
        reap(group);
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    true
}

/// Process 1 of a container inherits whatever lost its parent, and has to wait for it. Only for a group whose
/// command has been waited for.
pub(crate) fn reap(group: Pid) {
    if std::process::id() == 1 {
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
    }
}

/// Whether all members have ended, and are there only because whoever inherited them takes no notice.
fn has_ended(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let mut members = processes
        .filter_map(|process| Stat::read(&process.ok()?.path().join("stat")))
        .filter(|stat| stat.group == group.as_raw_nonzero().get())
        .peekable();
    // None at all: the group is gone by now, or this is not the /proc of our processes.
    members.peek().is_some() && members.all(|stat| matches!(stat.state, 'Z' | 'X'))
}

/// The number of the group this process is in: 0 if it has none here, as the first process of a container may.
#[cfg(target_os = "linux")]
pub(crate) fn own_group() -> i32 {
    // `getpgrp` of rustix takes it for granted that there is one.
    Stat::read("/proc/self/stat".as_ref()).map_or(0, |stat| stat.group)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn own_group() -> i32 {
    rustix::process::getpgrp().as_raw_nonzero().get()
}

/// What Linux tells about a process.
struct Stat {
    state: char,
    group: i32,
}

impl Stat {
    fn read(path: &std::path::Path) -> Option<Self> {
        let stat = std::fs::read_to_string(path).ok()?;
        // Before that is the name, which may have any characters.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?.chars().next()?;
        let group = fields.nth(1)?.parse().ok()?;
        Some(Self { state, group })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[tokio::test]
    async fn a_killed_group_is_gone_even_if_nobody_has_waited_for_it() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .expect("started");
        let group = Pid::from_child(&child);
        assert!(!is_gone(group) && !has_ended(group));
        kill_process_group(group, Signal::KILL).expect("killed");
        assert!(killed(group).await);
        assert!(!is_gone(group), "it was not waited for");
        child.wait().expect("waited");
        assert!(is_gone(group) && !has_ended(group));
    }
}
