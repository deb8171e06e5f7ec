//! `leadership watch` and `status` on a real etcd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result};
use leadership_testkit::cluster::EtcdCluster;
use rustix::process::Signal;
use support::{Process, leadership, line_length, output, within};

const SOON: Duration = Duration::from_secs(10);

/// Its lines, as they come.
fn watch(args: &[&str]) -> Result<(Process, mpsc::Receiver<String>)> {
    let mut process = Process::start(leadership(args).stdout(Stdio::piped()))?;
    let lines = BufReader::new(process.stdout()?).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok((process, receiver))
}

fn next(lines: &mpsc::Receiver<String>, expected: &[&str]) -> Result<()> {
    let line = lines
        .recv_timeout(SOON)
        .with_context(|| format!("no line with {expected:?}"))?;
    for word in expected {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_a_line_and_status_knows_the_same() -> Result<()> {
    let cluster = EtcdCluster::start(1).await?;
    let url = cluster.url("cli");
    let at = ["--store", &url, "--election", "jobs"];
    let (_text, words) = watch(&[&["watch"], &at[..]].concat())?;
    let (_json, objects) = watch(&[&["watch", "--json"], &at[..]].concat())?;
    next(&words, &["Z  no leader"])?;
    next(&objects, &[r#""change":"no_leader""#, r#""election":"jobs""#])?;
    let status = output(&[&["status"], &at[..]].concat())?;
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&status.stdout), "nobody leads jobs\n");

    let start = |id| {
        let run = [&["run", "--id", id], &at[..], &["--", "sleep", "1000"]].concat();
        Process::start(&mut leadership(&run))
    };
    let mut first = start("one\u{7}")?;
    next(&words, &[r"Z  leader       one\u{7}  token "])?;
    next(&objects, &[r#""change":"leader""#, r#""value":"one\u0007""#])?;
    let _second = start("two")?;
    within(SOON, "two in line", || {
        Ok((line_length(&url, "jobs")? == 2).then_some(()))
    })?;
    let status = output(&[&["status"], &at[..]].concat())?;
    let table = String::from_utf8_lossy(&status.stdout);
    assert_eq!(status.status.code(), Some(0), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], r"one\u{7} leads jobs");
    assert!(
        lines[2].starts_with(r"1  one\u{7}  leads") && lines[3].starts_with("2  two       waits  -"),
        "{table}"
    );

    first.signal(Signal::TERM)?;
    assert_eq!(first.exit_code(SOON)?, 143);
    next(&words, &["leader       two"])?;
    next(&objects, &[r#""value":"two""#])?;
    cluster.kill(0).await?;
    next(&words, &["unreachable  etcd"])?;
    next(&objects, &[r#""change":"unreachable""#, r#""error":"etcd"#])
}
