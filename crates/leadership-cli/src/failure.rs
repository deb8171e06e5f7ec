//! Why the command failed: one line for a person, and an exit code for a program. Codes from 64 on are those of
//! `sysexits.h`.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use leadership::{Error, ErrorKind, StoreError};

use crate::text;

/// An input that cannot work.
pub(crate) const USAGE: u8 = 64;
/// The store cannot be reached.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Something that cannot happen did.
pub(crate) const INTERNAL: u8 = 70;
/// The system refused.
pub(crate) const SYSTEM: u8 = 71;
/// The leadership was lost.
pub(crate) const LOST: u8 = 75;
/// The store refused the credentials.
pub(crate) const REFUSED: u8 = 77;

/// A failure that ends the command.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }

    pub(crate) fn system(what: &str, error: &dyn fmt::Display) -> Self {
        Self::new(SYSTEM, format!("{what}: {error}"))
    }

    /// Writes the line to stderr.
    pub(crate) fn report(&self) -> ExitCode {
        let line = text::line(&text::without_passwords(&self.message));
        // Without a stderr the code has to do.
        let _ = writeln!(std::io::stderr(), "leadership: {line}");
        ExitCode::from(self.code)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => REFUSED,
            ErrorKind::InvalidInput | ErrorKind::ForeignEntry => USAGE,
            _ => UNAVAILABLE,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) | Error::Stopped(Some(error)) => error.into(),
            Error::Invalid(error) => Self::new(USAGE, error.to_string()),
            error => Self::new(INTERNAL, error.to_string()),
        }
    }
}

/// Writing to stdout failed.
pub(crate) fn output(error: &std::io::Error) -> Failure {
    Failure::system("cannot write to stdout", error)
}
