//! A report as a browser shows it: headless Chromium lays it out and takes a picture.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use leadership_testkit::chaos::{
    Bounds, Change, Entry, Fault, History, Kind, Options, Outcome, Sight, Work, Write, check,
};

/// What Chromium is called, by those who package it.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// As wide as a small laptop.
const WINDOW: &str = "--window-size=1280,2000";

/// Measures the page when it is laid out, and leaves the numbers where a dump shows them.
const MEASURE: &str = "<script>addEventListener('load', () => {
    const count = what => document.querySelectorAll(what).length;
    const strips = [...document.querySelectorAll('svg.strip')];
    const inside = strips.every(strip => [...strip.querySelectorAll('rect, text')].every(shape => {
        const [own, all] = [shape.getBoundingClientRect(), strip.getBoundingClientRect()];
        return own.left >= all.left - 1 && own.right <= all.right + 1 && own.bottom <= all.bottom + 1;
    }));
    const seen = strips.every(strip => strip.getBoundingClientRect().height > 100);
    document.body.dataset.measured = ['strips', strips.length, 'works', count('svg rect[class^=c]'),
        'faults', count('#faults tr') - 1, 'gaps', count('#gaps tr') - 1, 'bad', count('.verdict.bad'),
        'wide', document.documentElement.scrollWidth > innerWidth, 'inside', inside, 'seen', seen].join(' ');
});</script>";

/// The report of a run that passed is whole, fits its window, and has a picture.
pub(crate) fn shows(report: &Path, outcome: &Outcome) -> Result<()> {
    let measured = measured(report)?;
    let number = |name: &str| -> Result<usize> {
        let (_, rest) = measured.split_once(&format!("{name} ")).context("measured")?;
        Ok(rest.split(' ').next().unwrap_or_default().parse()?)
    };
    let works = outcome.history.works.len();
    ensure!(number("strips")? >= 1, "no time line: {measured}");
    ensure!(
        number("works")? >= works,
        "fewer bars than {works} pieces of work: {measured}"
    );
    ensure!(number("faults")? == outcome.history.faults.len(), "{measured}");
    ensure!(number("gaps")? == outcome.verdict.gaps.len(), "{measured}");
    ensure!((number("bad")? == 0) == outcome.verdict.passed(), "{measured}");
    ensure!(
        measured.contains("wide false inside true seen true"),
        "it does not fit: {measured}"
    );
    let picture = picture(report)?;
    println!("{} looks like {}", report.display(), picture.display());
    Ok(())
}

/// A history with one of every wrong there is, and with a name that would break a careless page.
pub(crate) fn shows_what_went_wrong() -> Result<()> {
    let at = Duration::from_millis;
    let (evil, other) = ("<b>n1</b>&'\"".to_owned(), "n2".to_owned());
    let writes = |range: std::ops::Range<u64>, accepted| {
        let write = move |millis| Write {
            sent: at(millis),
            arrived: at(millis),
            accepted,
        };
        range.step_by(10).map(write).collect::<Vec<_>>()
    };
    let work = |candidate: &String, token, writes| Work {
        candidate: candidate.clone(),
        token,
        writes,
    };
    let beside = [writes(100..5_200, true), writes(5_200..5_500, false)].concat();
    let history = History {
        entries: vec![Entry {
            at: at(200),
            what: Change::Saw {
                follower: "f1".to_owned(),
                sight: Sight::Nobody,
            },
        }],
        works: vec![
            work(&evil, 7, beside),
            work(&other, 9, writes(5_000..9_000, true)),
            work(&evil, 8, writes(25_000..31_000, true)),
        ],
        faults: vec![Fault {
            kind: Kind::Killed,
            candidate: Some(other.clone()),
            what: "n2: process killed".to_owned(),
            began: at(9_000),
            over: Some(at(9_000)),
        }],
        line: vec![evil.clone()],
        left: vec![other.clone()],
        over: at(34_000),
        took: at(35_000),
    };
    let candidates = vec![evil, other];
    let bounds = Bounds::of(Duration::from_secs(3));
    let verdict = check(&history, &candidates, bounds);
    for (what, found) in verdict.findings() {
        ensure!(!found.is_empty(), "not found: {what}");
    }
    let outcome = Outcome {
        options: Options {
            store: "etcd".to_owned(),
            lasts: Duration::from_secs(35),
            seed: 0,
            ttl: Duration::from_secs(3),
            leadership: PathBuf::new(),
            progress: |_| {},
        },
        candidates,
        history,
        bounds,
        verdict,
    };
    let report = super::written(&outcome, "wrong")?;
    shows(&report, &outcome)
}

/// What the page measures of itself, once it is laid out.
fn measured(report: &Path) -> Result<String> {
    let html = std::fs::read_to_string(report)?;
    ensure!(
        !html.contains("src=") && !html.contains("href="),
        "it needs other files"
    );
    let measuring = report.with_extension("measured.html");
    std::fs::write(&measuring, html.replace("</body>", &format!("{MEASURE}</body>")))?;
    let dump = chromium(&["--dump-dom"], &measuring)?;
    let (_, rest) = dump
        .split_once("data-measured=\"")
        .context("the page was not laid out")?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

fn picture(report: &Path) -> Result<PathBuf> {
    let picture = report.with_extension("png");
    chromium(
        &[
            &format!("--screenshot={}", picture.display()),
            "--hide-scrollbars",
        ],
        report,
    )?;
    let length = std::fs::metadata(&picture).context("no picture was taken")?.len();
    // A blank page of this size compresses to a few thousand bytes.
    ensure!(
        length > 30_000,
        "there is nothing on {}: {length} bytes",
        picture.display()
    );
    Ok(picture)
}

fn chromium(arguments: &[&str], page: &Path) -> Result<String> {
    let profile = page.with_extension("profile");
    for name in NAMES {
        let output = Command::new(name)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                WINDOW,
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(arguments)
            .arg(format!("file://{}", page.display()))
            .stdin(Stdio::null())
            .output();
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            output => output.with_context(|| format!("cannot run {name}"))?,
        };
        // The profile is of no use to anybody.
        let _ = std::fs::remove_dir_all(&profile);
        ensure!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    bail!("no browser: none of {NAMES:?} is on the PATH; on Debian, `apt-get install chromium`")
}
