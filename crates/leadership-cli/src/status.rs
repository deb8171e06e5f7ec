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

/// A foreign entry at the head lets nobody lead.
fn leader(line: &[Contender]) -> Option<&Contender> {
    line.first().filter(|head| head.session.is_some())
}

fn what_it_does(place: usize, contender: &Contender) -> &'static str {
    match (&contender.session, place) {
        (None, _) => "foreign",
        (Some(_), 0) => "leads",
        (Some(_), _) => "waits",
    }
}

fn table(election: &str, line: &[Contender]) -> String {
    let mut rows = vec![["", "ID", "STATE", "ORDER", "SESSION"].map(str::to_owned)];
    for (place, contender) in line.iter().enumerate() {
        rows.push([
            format!("{}", place + 1),
            text::name(&contender.name()),
            what_it_does(place, contender).to_owned(),
            contender.order.to_string(),
            contender
                .session
                .as_ref()
                .map_or_else(|| "-".to_owned(), |session| text::name(session.as_str())),
        ]);
    }
    let mut text = match leader(line) {
        Some(head) => format!("{} leads {}\n", text::name(&head.name()), text::name(election)),
        None => format!("nobody leads {}\n", text::name(election)),
    };
    if let Some(foreign) = line.iter().find(|contender| contender.session.is_none()) {
        let key = text::line(&foreign.key);
        text += &format!("{key} is no contender: who is behind it waits until somebody deletes it\n");
    }
    if rows.len() > 1 {
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 5] = std::array::from_fn(width);
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
    let entry = |(place, contender): (usize, &Contender)| {
        json!({
            "value": contender.name(),
            "state": what_it_does(place, contender),
            "order": contender.order,
            "session": contender.session.as_ref().map(|session| session.as_str()),
            "key": *contender.key,
        })
    };
    let entries: Vec<Value> = line.iter().enumerate().map(entry).collect();
    let leader = leader(line).and_then(|_| entries.first().cloned());
    json!({ "election": election, "leader": leader, "line": entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadership::SessionId;

    fn contender(value: &str, order: u64, session: Option<&str>) -> Contender {
        Contender {
            value: value.into(),
            key: format!("e/{order}").into(),
            session: session.map(SessionId::new),
            order,
        }
    }

    #[test]
    fn a_line_is_an_aligned_table() {
        let line = [
            contender("node-1", 9, Some("a1")),
            contender("b\u{7}", 12, Some("b22")),
        ];
        assert_eq!(
            table("jobs", &line),
            "node-1 leads jobs\n   ID      STATE  ORDER  SESSION\n1  node-1  leads  9      a1\n\
             2  b\\u{7}  waits  12     b22\n"
        );
        assert_eq!(in_json("jobs", &line)["leader"]["value"], "node-1");
        assert_eq!(in_json("jobs", &line)["line"][1]["state"], "waits");
    }

    #[test]
    fn nobody_leads_an_empty_line_or_one_behind_a_foreign_entry() {
        assert_eq!(table("jobs", &[]), "nobody leads jobs\n");
        assert!(in_json("jobs", &[])["leader"].is_null());
        let line = [contender("x", 1, None), contender("node-1", 2, Some("a"))];
        let text = table("jobs", &line);
        assert!(
            text.starts_with("nobody leads jobs\ne/1 is no contender"),
            "{text}"
        );
        assert!(in_json("jobs", &line)["leader"].is_null());
    }
}
