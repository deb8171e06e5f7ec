//! Passwords and tokens that must be seen nowhere: all that is traced is kept in memory, and searched for them.
//!
//! What is found fails a test, so this is for tests only.
#![allow(clippy::panic, clippy::missing_panics_doc)]

use std::fmt::{Debug, Display};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All that was ever traced, by us and by the libraries below us, and what must not be in it.
///
/// ```
/// use leadership_testkit::secrets::Traced;
///
/// static TRACED: Traced = Traced::new(&["hunter2"]);
/// // A subscriber would write to `&TRACED`: `tracing_subscriber::fmt().with_writer(|| &TRACED)`.
/// std::io::Write::write_all(&mut &TRACED, b"logged in\n")?;
/// TRACED.nothing_secret(&[&"hunter"]);
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Traced {
    secrets: &'static [&'static str],
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    text: Vec<u8>,
    /// How much of it was searched.
    searched: usize,
}

impl Traced {
    /// Nothing yet. `secrets` are looked for as they are and in no other spelling, so name the parts of them in
    /// which nothing has to be escaped.
    pub const fn new(secrets: &'static [&'static str]) -> Self {
        let log = Log {
            text: Vec::new(),
            searched: 0,
        };
        Self {
            secrets,
            log: Mutex::new(log),
        }
    }

    /// Whether something was traced: that what is searched is what we trace.
    pub fn has(&self, part: &str) -> bool {
        String::from_utf8_lossy(&self.log().text).contains(part)
    }

    /// No secret in what was traced until now, nor in these.
    #[track_caller]
    pub fn nothing_secret(&self, shown: &[&dyn Debug]) {
        let mut lines: Vec<String> = shown
            .iter()
            .map(|shown| format!("{shown:?} {shown:#?}"))
            .collect();
        {
            // Not held while it is searched: a panic is written to it, and so is what the other cases do.
            let mut log = self.log();
            assert!(!log.text.is_empty(), "nothing was traced: is there a subscriber?");
            let end = log.text.iter().rposition(|byte| *byte == b'\n');
            let end = end.map_or(log.searched, |end| end + 1);
            let new = String::from_utf8_lossy(log.text.get(log.searched..end).unwrap_or_default());
            lines.extend(new.lines().map(str::to_owned));
            log.searched = end;
        }
        for line in lines {
            for secret in self.secrets {
                assert!(!line.contains(secret), "a secret is shown: {line}");
            }
        }
    }

    /// The text of an error has all these parts, and no secret.
    #[track_caller]
    pub fn says(&self, error: &(impl Display + Debug), parts: &[&str]) {
        let text = error.to_string();
        for part in parts {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        self.nothing_secret(&[&text, error]);
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // A case that failed while it looked has changed nothing.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for &Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log().text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::panic::catch_unwind;

    #[test]
    fn a_secret_is_found_in_the_log_and_in_what_is_shown() {
        static TRACED: Traced = Traced::new(&["hunter2"]);
        let found = |shown: &'static str| catch_unwind(move || TRACED.nothing_secret(&[&shown])).is_err();
        assert!(found("x"), "an empty log proves nothing");
        (&TRACED).write_all(b"user hunter\n").unwrap();
        assert!(!found("x"));
        assert!(found("hunter2"));
        // A line is searched when it is whole.
        (&TRACED).write_all(b"password hun").unwrap();
        assert!(!found("x"));
        (&TRACED).write_all(b"ter2\n").unwrap();
        assert!(found("x"));
    }
}
