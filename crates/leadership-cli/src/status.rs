//! `leadership status`: who leads and who waits, asked of the store once.

use std::io::Write;

use leadership::{Config, Contender};
use serde_json::{Value, json};

use crate::failure::{Failure, output};
use crate::store::StoreArgs;
use crate::text;

/// Print who leads and who stands in line; exit 0 if somebody leads and 1 if nobody does
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreArgs,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// The exit code that says that nobody leads.
const NOBODY: u8 = 1;

pub(crate) async fn status(args: Args) -> Result<u8, Failure> {
    let line = args.store.open(Config::default()).await?.line;
    let text = if args.json {
        in_json(&args.store.election, &line).to_string() + "\n"
    } else {
        table(&args.store.election, &line)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| output(&error))?;
    Ok(if leader(&line).is_some() { 0 } else { NOBODY })
}

fn leader(line: &[Contender]) -> Option<&Contender> {
    line.first().filter(|head| head.leads)
}

fn what_it_does(contender: &Contender) -> &'static str {
    match (&contender.session, contender.leads) {
        (None, _) => "foreign",
        (Some(_), true) => "leads",
        (Some(_), false) => "waits",
    }
}

/// What is known, or a dash.
fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "-".to_owned())
}

fn table(election: &str, line: &[Contender]) -> String {
    let mut rows = vec![["", "ID", "STATE", "TOKEN", "KEY", "SESSION"].map(str::to_owned)];
    for (place, contender) in line.iter().enumerate() {
        let session = contender.session.as_ref();
        rows.push([
            format!("{}", place + 1),
            text::name(&contender.name()),
            what_it_does(contender).to_owned(),
            or_dash(contender.token.map(|token| token.to_string())),
            text::name(&contender.key),
            or_dash(session.map(|session| text::name(session.as_str()))),
        ]);
    }
    let mut text = match leader(line) {
        Some(head) => format!("{} leads {}\n", text::name(&head.name()), text::name(election)),
        None => format!("nobody leads {}\n", text::name(election)),
    };
    if let Some(foreign) = line.iter().find(|contender| contender.session.is_none()) {
        let key = text::line(&foreign.key);
        text += &format!("{key} is not of this election, and who is behind it waits until it is gone\n");
    }
    if rows.len() > 1 {
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += cells.join("  ").trim_end();
            text.push('\n');
        }
    }
    text
}

fn in_json(election: &str, line: &[Contender]) -> Value {
    let entry = |contender: &Contender| {
        json!({
            "value": contender.name(),
            "state": what_it_does(contender),
            "token": contender.token.map(|token| token.0),
            "order": contender.order,
            "session": contender.session.as_ref().map(|session| session.as_str()),
            "key": *contender.key,
        })
    };
    let entries: Vec<Value> = line.iter().map(entry).collect();
    json!({ "election": election, "leader": leader(line).map(entry), "line": entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadership::{SessionId, Token};

    fn contender(value: &str, order: u64, session: Option<&str>) -> Contender {
        Contender {
            value: value.into(),
            key: format!("e/{order}").into(),
            session: session.map(SessionId::new),
            order,
            leads: false,
            token: None,
        }
    }

    fn leading(value: &str, token: u64, session: &str) -> Contender {
        Contender {
            leads: true,
            token: Some(Token(token)),
            ..contender(value, 9, Some(session))
        }
    }

    #[test]
    fn a_line_is_an_aligned_table() {
        let line = [leading("node-1", 17, "a1"), contender("b\u{7}", 12, Some("b22"))];
        assert_eq!(
            table("jobs", &line),
            "node-1 leads jobs\n   ID      STATE  TOKEN  KEY   SESSION\n1  node-1  leads  17     e/9   a1\n\
             2  b\\u{7}  waits  -      e/12  b22\n"
        );
        let object = in_json("jobs", &line);
        assert_eq!(object["leader"]["value"], "node-1");
        assert_eq!(object["leader"]["token"], 17);
        assert_eq!(object["line"][1]["state"], "waits");
    }

    #[test]
    fn nobody_leads_an_empty_line_or_one_that_only_waits() {
        assert_eq!(table("jobs", &[]), "nobody leads jobs\n");
        assert!(in_json("jobs", &[])["leader"].is_null());
        let line = [contender("x", 1, None), contender("node-1", 2, Some("a"))];
        let text = table("jobs", &line);
        assert!(
            text.starts_with("nobody leads jobs\ne/1 is not of this election"),
            "{text}"
        );
        assert!(in_json("jobs", &line)["leader"].is_null());
        let text = table("jobs", &line[1..]);
        assert!(text.starts_with("nobody leads jobs\n   ID"), "{text}");
        assert!(text.contains("waits") && !text.contains("foreign"), "{text}");
        assert!(in_json("jobs", &line[1..])["leader"].is_null());
    }
}
