//! The demo runs to its end and shows what it is to show.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use anyhow::Result;

#[test]
fn it_elects_fails_over_and_hands_over() -> Result<()> {
    let output = support::output(&["demo"])?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );

    // Each tells its own story in order; who of two is a line ahead is chance.
    for (speaker, story) in [
        (
            "demo",
            &[
                "kill node-1",
                "failed over after",
                "node-2 resigns",
                "handed over after",
                "node-3 stops",
                "node-2 stops",
                "done. The fencing tokens",
            ][..],
        ),
        ("node-1", &["ELECTED"]),
        (
            "node-2",
            &[
                "waiting in line",
                "ELECTED",
                "ended: resigned",
                "ELECTED",
                "stopped",
            ],
        ),
        (
            "node-3",
            &["waiting in line", "ELECTED", "ended: stopped", "stopped"],
        ),
        (
            "follower",
            &[
                "node-1 leads",
                "node-2 leads",
                "node-3 leads",
                "node-2 leads",
                "nobody leads",
            ],
        ),
    ] {
        let mut lines = text
            .lines()
            .filter(|line| line.split_whitespace().nth(1) == Some(speaker));
        for expected in story {
            assert!(
                lines.any(|line| line.contains(expected)),
                "{speaker} does not say {expected:?}, or not in order:\n{text}"
            );
        }
    }
    assert!(
        !text.contains("node-1    term"),
        "who is killed says nothing:\n{text}"
    );
    Ok(())
}
