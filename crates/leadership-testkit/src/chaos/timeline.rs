//! Draws a history on a time line, as SVG: strips of half a minute below each other, in each a lane for the faults,
//! for every candidate, for the time in which nobody worked, and for every follower.

use std::fmt::Write as _;
use std::time::Duration;

use super::Outcome;
use super::checker::Gap;
use super::history::{Change, Sight};
use super::report::{escaped, seconds};

/// How much time a strip shows.
const STRIP: Duration = Duration::from_secs(30);
const WIDTH: f64 = 1200.0;
/// Where time begins, right of the names of the lanes.
const LEFT: f64 = 70.0;
/// Where the strip's time ends: the last second has to be written below it.
const RIGHT: f64 = WIDTH - 16.0;
const LANE: f64 = 20.0;
const BAR: f64 = 14.0;

/// A bar somewhere on the time line.
struct Bar<'a> {
    lane: usize,
    from: Duration,
    to: Duration,
    class: &'a str,
    /// Shown when one points at it.
    title: String,
    /// Written on it, if there is room.
    label: String,
}

/// All strips.
pub(super) fn timeline(outcome: &Outcome) -> String {
    let followers = followers(outcome);
    let lanes = lanes(outcome, &followers);
    let bars = bars(outcome, &followers);
    let end = outcome.history.took.max(Duration::from_secs(1));
    let mut html = String::new();
    let mut from = Duration::ZERO;
    while from < end {
        strip(&mut html, from, end, &lanes, &bars);
        from += STRIP;
    }
    html
}

fn lanes(outcome: &Outcome, followers: &[String]) -> Vec<String> {
    let mut lanes = vec!["faults".to_owned()];
    lanes.extend(outcome.candidates.iter().cloned());
    lanes.push("nobody".to_owned());
    lanes.extend(followers.iter().map(|name| format!("{name} sees")));
    lanes
}

fn followers(outcome: &Outcome) -> Vec<String> {
    let mut followers = Vec::new();
    for entry in &outcome.history.entries {
        if let Change::Saw { follower, .. } = &entry.what
            && !followers.contains(follower)
        {
            followers.push(follower.clone());
        }
    }
    followers.sort();
    followers
}

fn bars(outcome: &Outcome, followers: &[String]) -> Vec<Bar<'static>> {
    let mut bars = Vec::new();
    let history = &outcome.history;
    for (number, fault) in history.faults.iter().enumerate() {
        bars.push(Bar {
            lane: 0,
            from: fault.began,
            to: fault.end().min(history.took).max(fault.began),
            class: if fault.kind.hurts_the_store() {
                "fault store"
            } else {
                "fault"
            },
            title: fault.what.clone(),
            label: format!("{}", number + 1),
        });
    }
    alive(outcome, &mut bars);
    for work in &history.works {
        let lane = lane_of(outcome, &work.candidate);
        let (first, last) = (work.first(), work.last());
        bars.push(Bar {
            lane,
            from: first,
            to: last,
            class: color(lane),
            title: format!("{} worked with token {}", work.candidate, work.token),
            label: format!("{}", work.token),
        });
        for sent in work.refused() {
            bars.push(Bar {
                lane,
                from: sent,
                to: sent,
                class: "refused",
                title: format!("{}'s write with token {} was refused", work.candidate, work.token),
                label: String::new(),
            });
        }
    }
    for gap in &outcome.verdict.gaps {
        leaderless(outcome, gap, &mut bars);
    }
    for (index, follower) in followers.iter().enumerate() {
        sights(outcome, follower, outcome.candidates.len() + 2 + index, &mut bars);
    }
    bars
}

/// When processes of the candidates were there.
fn alive(outcome: &Outcome, bars: &mut Vec<Bar<'static>>) {
    for candidate in &outcome.candidates {
        let mut since = None;
        let mut bar = |from, to| {
            bars.push(Bar {
                lane: lane_of(outcome, candidate),
                from,
                to,
                class: "alive",
                title: format!("{candidate}'s process"),
                label: String::new(),
            });
        };
        for entry in &outcome.history.entries {
            match &entry.what {
                Change::Started { candidate: who, .. } if who == candidate => since = Some(entry.at),
                Change::Exited { candidate: who, .. } if who == candidate => {
                    since.take().into_iter().for_each(|from| bar(from, entry.at));
                }
                _ => {}
            }
        }
        since.into_iter().for_each(|from| bar(from, outcome.history.took));
    }
}

fn leaderless(outcome: &Outcome, gap: &Gap, bars: &mut Vec<Bar<'static>>) {
    let lane = outcome.candidates.len() + 1;
    let mut from = gap.from;
    for (class, name, length) in [
        ("detect", "until the store let go", gap.detect),
        ("acquire", "until the next knew", gap.acquire),
        ("start", "until its program worked", gap.start),
    ] {
        let to = from + length;
        bars.push(Bar {
            lane,
            from,
            to,
            class,
            title: format!("{name}: {}, after {}", seconds(length), gap.cause),
            label: String::new(),
        });
        from = to;
    }
}

/// What a follower said, and for how long.
fn sights(outcome: &Outcome, follower: &str, lane: usize, bars: &mut Vec<Bar<'static>>) {
    let said: Vec<(Duration, &Sight)> = outcome
        .history
        .entries
        .iter()
        .filter_map(|entry| match &entry.what {
            Change::Saw { follower: who, sight } if who == follower => Some((entry.at, sight)),
            _ => None,
        })
        .collect();
    for (index, (from, sight)) in said.iter().enumerate() {
        let to = said.get(index + 1).map_or(outcome.history.took, |(at, _)| *at);
        let (class, label) = match sight {
            Sight::Leader { name, .. } => (color(lane_of(outcome, name)), name.clone()),
            Sight::Nobody => ("nobody", String::new()),
            Sight::Unreachable(_) => ("unreachable", String::new()),
        };
        bars.push(Bar {
            lane,
            from: *from,
            to,
            class,
            title: format!("{follower}: {sight}"),
            label,
        });
    }
}

/// The candidate's lane; that of the faults for a stranger.
fn lane_of(outcome: &Outcome, candidate: &str) -> usize {
    let position = outcome.candidates.iter().position(|name| name == candidate);
    position.map_or(0, |index| index + 1)
}

fn color(lane: usize) -> &'static str {
    ["stranger", "c1", "c2", "c3", "c4", "c5", "c6", "c7"]
        .get(lane)
        .copied()
        .unwrap_or("stranger")
}

fn strip(html: &mut String, from: Duration, end: Duration, lanes: &[String], bars: &[Bar<'_>]) {
    let height = LANE * lanes.len() as f64 + 18.0;
    let to = from + STRIP;
    let x = |at: Duration| {
        let share = at.saturating_sub(from).as_secs_f64() / STRIP.as_secs_f64();
        LEFT + share.min(1.0) * (RIGHT - LEFT)
    };
    let _ = write!(
        html,
        "<svg class=strip viewBox='0 0 {WIDTH} {height}' role=img aria-label='{} to {} s'>",
        from.as_secs(),
        to.as_secs()
    );
    for (lane, name) in lanes.iter().enumerate() {
        let y = lane as f64 * LANE;
        let class = if lane % 2 == 0 { "lane" } else { "lane odd" };
        let _ = write!(
            html,
            "<rect class='{class}' x=0 y={y} width={RIGHT} height={LANE} />"
        );
        let _ = write!(
            html,
            "<text class=name x=4 y={}>{}</text>",
            y + 14.0,
            escaped(name)
        );
    }
    let bottom = LANE * lanes.len() as f64;
    for second in (0..=STRIP.as_secs()).step_by(5) {
        let at = from + Duration::from_secs(second);
        let _ = write!(
            html,
            "<line class=grid x1={0:.1} x2={0:.1} y1=0 y2={bottom} /><text class=tick x={0:.1} y={1}>{2} s</text>",
            x(at),
            bottom + 13.0,
            at.as_secs()
        );
    }
    if end < to {
        let _ = write!(
            html,
            "<rect class=after x={:.1} y=0 width={:.1} height={bottom} />",
            x(end),
            RIGHT - x(end)
        );
    }
    for bar in bars.iter().filter(|bar| bar.from < to && bar.to >= from) {
        let (left, right) = (x(bar.from), x(bar.to));
        let width = (right - left).max(1.5);
        let thin = bar.class == "alive";
        let (offset, tall) = if thin { (LANE - 3.0, 2.0) } else { (2.0, BAR) };
        let y = bar.lane as f64 * LANE + offset;
        let _ = write!(
            html,
            "<rect class='{}' x={left:.1} y={y} width={width:.1} height={tall}><title>{} s: {}</title></rect>",
            bar.class,
            seconds(bar.from),
            escaped(&bar.title)
        );
        let room = width > 7.0 * bar.label.len() as f64 + 4.0;
        // The number of a fault is what the table refers to, so it has its place beside a short one, too.
        let beside = bar.class.starts_with("fault") && bar.from >= from;
        if !bar.label.is_empty() && (room || beside) {
            let at = if room { left + 3.0 } else { left + width + 2.0 };
            let class = if room { "on" } else { "beside" };
            let label = escaped(&bar.label);
            let _ = write!(
                html,
                "<text class={class} x={at:.1} y={}>{label}</text>",
                y + 11.0
            );
        }
    }
    html.push_str("</svg>\n");
}
