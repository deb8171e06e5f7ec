//! Names of elections.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::InvalidInput;

/// The name of an election, such as `service/scheduler/leader`.
///
/// Used verbatim, so that candidates written in other languages can stand in the same election. Not empty, at
/// most [`ElectionName::MAX_BYTES`] long, no control characters. Stores may refuse more.
///
/// Let no name be the beginning of another one at a `/`, such as `service` of `service/cron`: on etcd the entries of the
/// longer one stand in the line of the shorter one, which waits until they are gone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElectionName(Arc<str>);

impl ElectionName {
    /// The longest name, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 1024;

    /// Checks a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has a control character.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidInput> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(InvalidInput::new(
                "election name \"\"",
                "it is empty",
                "give the election a name such as service/scheduler",
            ));
        }
        if name.len() > Self::MAX_BYTES {
            let start: String = name.chars().take(40).collect();
            return Err(InvalidInput::new(
                format!("election name {start:?}…"),
                format!("it has {} bytes", name.len()),
                format!("use at most {} bytes", Self::MAX_BYTES),
            ));
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidInput::new(
                format!("election name {name:?}"),
                "it has a control character",
                "use letters, digits and / - _ . only",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ElectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ElectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl FromStr for ElectionName {
    type Err = InvalidInput;
    fn from_str(s: &str) -> Result<Self, InvalidInput> {
        Self::new(s)
    }
}

impl TryFrom<&str> for ElectionName {
    type Error = InvalidInput;
    fn try_from(name: &str) -> Result<Self, InvalidInput> {
        Self::new(name)
    }
}

impl TryFrom<String> for ElectionName {
    type Error = InvalidInput;
    fn try_from(name: String) -> Result<Self, InvalidInput> {
        Self::new(name)
    }
}

impl TryFrom<&String> for ElectionName {
    type Error = InvalidInput;
    fn try_from(name: &String) -> Result<Self, InvalidInput> {
        Self::new(name)
    }
}

impl TryFrom<&Self> for ElectionName {
    type Error = InvalidInput;
    fn try_from(name: &Self) -> Result<Self, InvalidInput> {
        Ok(name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_input_and_the_remedy() {
        let long = "x".repeat(ElectionName::MAX_BYTES + 1);
        for (bad, names) in [("", "empty"), (long.as_str(), "1025 bytes"), ("a\nb", "control")] {
            let error = ElectionName::new(bad).expect_err("refused").to_string();
            assert!(
                error.contains("election name") && error.contains(names),
                "{error}"
            );
        }
    }

    #[test]
    fn names_are_kept_verbatim() {
        assert_eq!(ElectionName::new("/a//b/").expect("accepted").as_str(), "/a//b/");
    }
}
