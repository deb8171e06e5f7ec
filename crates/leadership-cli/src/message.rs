//! What a supervisor tells its guard: one line each, through the guard's stdin.

use std::time::Duration;

use leadership::Timestamp;

/// A message to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The term is valid until this time of the machine's clock.
    Until(Timestamp),
    /// The command was asked to end, so the guard need not do that.
    Asked,
    /// The command is over. End what is left of its group: kill it after this time, if it lasts so long.
    Over(Duration),
    /// There never was a command.
    Never,
}

impl Message {
    pub(crate) fn to_line(self) -> String {
        match self {
            Self::Until(at) => format!("until {}\n", at.since_start().as_nanos()),
            Self::Asked => "asked\n".to_owned(),
            Self::Over(limit) => format!("over {}\n", limit.as_nanos()),
            Self::Never => "never\n".to_owned(),
        }
    }

    /// `None` for what is no message.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, number) = line.split_once(' ').unwrap_or((line, ""));
        let nanos = || number.parse().ok().map(Duration::from_nanos);
        match word {
            "until" => nanos().map(|at| Self::Until(Timestamp::new(at))),
            "asked" => Some(Self::Asked),
            "over" => nanos().map(Self::Over),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way() {
        for message in [
            Message::Until(Timestamp::new(Duration::from_nanos(1_234_567_890_123))),
            Message::Asked,
            Message::Over(Duration::from_millis(5)),
            Message::Never,
        ] {
            let line = message.to_line();
            assert_eq!(Message::parse(line.trim_end()), Some(message), "{line}");
        }
        for line in ["", "until", "until x", "until -1", "unti", "over 1 2"] {
            assert_eq!(Message::parse(line), None, "{line}");
        }
    }
}
