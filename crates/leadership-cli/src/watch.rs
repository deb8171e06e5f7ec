//! `leadership watch`: a line for each change of who leads.

use std::io::{ErrorKind, Write};
use std::time::SystemTime;

use futures_util::StreamExt;
use leadership::{Change, Config, Leader};
use serde_json::{Value, json};

use crate::failure::{Failure, output};
use crate::store::StoreArgs;
use crate::text;

/// Print a line whenever the leader, or what it proclaims, changes; also when nobody leads, and when the store
/// cannot be reached
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// Print each change as a JSON object on a line of its own
    #[arg(long)]
    json: bool,
}

pub(crate) async fn watch(args: Args) -> Result<u8, Failure> {
    let opened = args.store.open(Config::default()).await?;
    let mut changes = opened.follower.changes();
    let mut out = std::io::stdout();
    while let Some(change) = changes.next().await {
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let line = if args.json {
            in_json(&time.to_string(), &args.store.election, &change).to_string()
        } else {
            format!("{time}  {}", in_words(&change))
        };
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever read it, such as `head`, has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(0),
            Err(error) => return Err(output(&error)),
        }
    }
    Ok(0)
}

fn in_words(change: &Change) -> String {
    let of = |word: &str, leader: &Leader| {
        let name = text::name(&leader.name());
        format!("{word:<11}  {name}{}", text::token(leader.token))
    };
    match change {
        Change::Leader(leader) => of("leader", leader),
        Change::Value(leader) => of("value", leader),
        Change::NoLeader => "no leader".to_owned(),
        Change::Unreachable(error) => format!("unreachable  {}", text::line(&error.to_string())),
        other => text::line(&format!("{other:?}")),
    }
}

fn in_json(time: &str, election: &str, change: &Change) -> Value {
    let (word, leader, error) = match change {
        Change::Leader(leader) => ("leader", Some(leader), None),
        Change::Value(leader) => ("value", Some(leader), None),
        Change::NoLeader => ("no_leader", None, None),
        Change::Unreachable(error) => ("unreachable", None, Some(error.to_string())),
        _ => ("other", None, Some(format!("{change:?}"))),
    };
    let mut line = json!({ "time": time, "election": election, "change": word });
    if let Some(leader) = leader {
        line["leader"] = leader_in_json(leader);
    }
    if let Some(error) = error {
        line["error"] = error.into();
    }
    line
}

/// A leader with its value as text; `token` is null where the store does not let others read it.
fn leader_in_json(leader: &Leader) -> Value {
    json!({ "value": leader.name(), "token": leader.token.map(|token| token.0), "key": *leader.key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadership::Token;

    fn leader() -> Leader {
        Leader {
            value: b"node\x1b1".to_vec(),
            token: Some(Token(7)),
            key: "k".into(),
        }
    }

    #[test]
    fn changes_are_told_in_words_and_in_json() {
        let change = Change::Leader(leader());
        assert_eq!(in_words(&change), "leader       node\\u{1b}1  token 7");
        assert_eq!(
            in_json("T", "e", &change).to_string(),
            r#"{"change":"leader","election":"e","leader":{"key":"k","token":7,"value":"node\u001b1"},"time":"T"}"#
        );
        assert_eq!(in_words(&Change::NoLeader), "no leader");
        assert_eq!(in_json("T", "e", &Change::NoLeader)["change"], "no_leader");
    }
}
