//! The report of a run: one HTML file that needs nothing else.

use std::fmt::Write as _;
use std::time::Duration;

use super::timeline::timeline;
use super::{Gap, Outcome};

const STYLE: &str = include_str!("report.css");

/// The report as HTML.
pub fn report(outcome: &Outcome) -> String {
    let options = &outcome.options;
    let verdict = &outcome.verdict;
    let passed = verdict.passed();
    let title = format!(
        "leadership over {}: {}",
        options.store,
        if passed { "passed" } else { "FAILED" }
    );
    let mut html = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>{}</title><style>{STYLE}</style></head><body>\n",
        escaped(&title)
    );
    let _ = writeln!(
        html,
        "<h1>Leader election over {} <span class='verdict {}'>{}</span></h1>",
        escaped(&options.store),
        if passed { "good" } else { "bad" },
        if passed { "passed" } else { "failed" }
    );
    let _ = writeln!(
        html,
        "<p>{} candidates as processes, three servers, ttl {}, seed {}. Faults for {}, {} in all. Again with \
         <code>cargo xtask chaos --store {} --minutes {} --seed {}</code>: the same faults in the same order.</p>",
        outcome.candidates.len(),
        seconds(options.ttl),
        options.seed,
        seconds(options.lasts),
        seconds(outcome.history.took),
        escaped(&options.store),
        options.lasts.as_secs_f64() / 60.0,
        options.seed
    );
    tiles(&mut html, outcome);
    findings(&mut html, outcome);
    html.push_str("<h2>Who led when</h2>\n");
    legend(&mut html, outcome);
    html.push_str(&timeline(outcome));
    gaps(&mut html, outcome);
    faults(&mut html, outcome);
    html.push_str("<details><summary>The whole history</summary><pre>");
    for line in outcome.history.lines() {
        let _ = writeln!(html, "{}", escaped(&line));
    }
    html.push_str("</pre></details>\n</body></html>\n");
    html
}

fn tiles(html: &mut String, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    let length = |part: fn(&Gap) -> Duration| verdict.gaps.iter().map(part).sum::<Duration>();
    let faults = outcome.history.faults.len();
    html.push_str("<ul class=tiles>");
    for (name, value) in [
        ("terms", verdict.terms.to_string()),
        ("faults", faults.to_string()),
        ("overlapping terms", verdict.overlaps.len().to_string()),
        ("writes accepted", verdict.writes.to_string()),
        ("late writes refused", verdict.fenced.to_string()),
        ("leaderless in all", seconds(length(Gap::length))),
        ("… to detect", seconds(length(|gap| gap.detect))),
        ("… to acquire", seconds(length(|gap| gap.acquire))),
        ("… to start", seconds(length(|gap| gap.start))),
        ("longest unhindered", seconds(verdict.longest())),
    ] {
        let _ = write!(html, "<li><b>{value}</b>{name}</li>");
    }
    html.push_str("</ul>\n");
}

fn findings(html: &mut String, outcome: &Outcome) {
    let bounds = &outcome.bounds;
    let _ = write!(
        html,
        "<h2>The checker's verdict</h2><p>Allowed: {} without a leader once nothing is in the way, {} for news to \
         arrive, {} for a program that was frozen to be ended.</p><table id=findings>",
        seconds(bounds.leaderless),
        seconds(bounds.notice),
        seconds(bounds.thaw)
    );
    for (what, found) in outcome.verdict.findings() {
        let class = if found.is_empty() { "good" } else { "bad" };
        let _ = write!(
            html,
            "<tr><td>{what}</td><td><span class='verdict {class}'>{}</span></td><td>",
            found.len()
        );
        for one in found {
            let _ = write!(html, "{}<br>", escaped(one));
        }
        html.push_str("</td></tr>");
    }
    html.push_str("</table>\n");
}

fn legend(html: &mut String, outcome: &Outcome) {
    html.push_str("<p class=legend>");
    for (index, candidate) in outcome.candidates.iter().enumerate() {
        let _ = write!(html, "<i class=c{}></i>{} works ", index + 1, escaped(candidate));
    }
    html.push_str(
        "<i class=refused></i>refused write <i class=fault></i>fault of one <i class='fault store'></i>fault of the \
         store <i class=detect></i>detect <i class=acquire></i>acquire <i class=start></i>start \
         <i class=nobody></i>sees nobody <i class=unreachable></i>cannot say</p>\n",
    );
}

fn gaps(html: &mut String, outcome: &Outcome) {
    html.push_str(
        "<h2>Without a leader</h2><p>Detect: until the store had let go of the one before. Acquire: until the next \
         knew. Start: until its program had written.</p><table id=gaps><tr><th>at<th>length<th>detect<th>acquire\
         <th>start<th>unhindered<th>after</tr>",
    );
    for gap in &outcome.verdict.gaps {
        html.push_str("<tr>");
        for length in [
            gap.from,
            gap.length(),
            gap.detect,
            gap.acquire,
            gap.start,
            gap.unhindered,
        ] {
            let _ = write!(html, "<td class=number>{}</td>", seconds(length));
        }
        let _ = write!(html, "<td>{}</td></tr>", escaped(&gap.cause));
    }
    html.push_str("</table>\n");
}

fn faults(html: &mut String, outcome: &Outcome) {
    html.push_str("<h2>Faults</h2><table id=faults><tr><th>no.<th>at<th>until<th>what</tr>");
    for (number, fault) in outcome.history.faults.iter().enumerate() {
        let _ = write!(
            html,
            "<tr><td class=number>{}</td><td class=number>{}</td><td class=number>{}</td><td>{}</td></tr>",
            number + 1,
            seconds(fault.began),
            fault.over.map_or_else(|| "the end".to_owned(), seconds),
            escaped(&fault.what)
        );
    }
    html.push_str("</table>\n");
}

/// With three digits below a second, none of which is made up.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// As text in HTML, within quotes, too.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
