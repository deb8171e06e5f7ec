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

    let mut rest: &str = &text;
    for expected in [
        "node-1    ELECTED",
        "kill node-1",
        "follower  sees that node-2 leads",
        "failed over after",
        "node-2 resigns",
        "node-2    term",
        "handed over after",
        "node-3 stops",
        "follower  sees that node-2 leads",
        "follower  sees that nobody leads",
        "done. The fencing tokens",
    ] {
        let (_, after) = rest
            .split_once(expected)
            .unwrap_or_else(|| panic!("{expected:?} is missing or out of order in:\n{text}"));
        rest = after;
    }
    assert!(
        !text.contains("node-1    term"),
        "who is killed says nothing:\n{text}"
    );
    Ok(())
}
