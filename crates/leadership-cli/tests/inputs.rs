//! Inputs that cannot work: each is refused with an exit code and a line that names it, and no password shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use anyhow::Result;

/// Nothing listens there.
const NOWHERE: &str = "etcd://root:secret@127.0.0.1:1";

fn refused(args: &[&str], code: i32, names: &[&str]) -> Result<()> {
    let output = support::output(args)?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for name in names {
        assert!(text.contains(name), "{args:?} does not name {name:?}: {text}");
    }
    assert!(
        !text.contains("secret") && output.stdout.is_empty(),
        "{args:?}: {text}"
    );
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    Ok(())
}

fn run_refused(store: &str, options: &[&str], code: i32, names: &[&str]) -> Result<()> {
    let args = [
        "run",
        "--store",
        store,
        "--election",
        "jobs",
        "--connect-timeout",
        "300ms",
    ];
    refused(&[&args, options, &["--", "true"]].concat(), code, names)
}

#[test]
fn stores_that_are_none() -> Result<()> {
    for command in ["watch", "status"] {
        let status =
            |store, code, names| refused(&[command, "--election", "jobs", "--store", store], code, names);
        status("mysql://root:secret@db", 64, &["store URL mysql://", "etcd://"])?;
        status("consul://:secret@h", 64, &["URL of consul", "token="])?;
        status("zookeeper://:secret@h", 64, &["zookeeper://", "zk://"])?;
        status("root:secret@h:2379", 64, &["store URL", "scheme"])?;
        status("", 64, &["store URL \"\"", "empty"])?;
        status("etcd://root:secret@", 64, &["endpoint"])?;
        status("etcd://root:secret@h:99999", 64, &["99999"])?;
    }
    for stray in [
        NOWHERE,
        "etcd://root:se secret@127.0.0.1:1",
        "root:se secret@127.0.0.1:1",
    ] {
        refused(&["status", "--election", "jobs", stray], 64, &["127.0.0.1:1"])?;
    }
    refused(&["status", "--election", "jobs"], 64, &["--store"])
}

#[test]
fn a_store_that_is_not_there() -> Result<()> {
    run_refused(
        NOWHERE,
        &[],
        69,
        &["etcd://127.0.0.1:1 did not answer", "--store"],
    )?;
    for command in ["watch", "status"] {
        let args = [
            command,
            "--store",
            NOWHERE,
            "--election",
            "jobs",
            "--connect-timeout",
            "300ms",
        ];
        refused(&args, 69, &["etcd://127.0.0.1:1 did not answer"])?;
    }
    Ok(())
}

#[test]
fn names_that_are_none() -> Result<()> {
    let long = "x".repeat(2000);
    for (election, names) in [
        ("", &["election name \"\"", "empty"][..]),
        (&long, &["election name", "2000 bytes"]),
        ("a\u{1b}b", &["election name", "control character"]),
    ] {
        refused(&["status", "--store", NOWHERE, "--election", election], 64, names)?;
    }
    run_refused("memory://", &["--id", ""], 64, &["id \"\"", "empty"])
}

#[test]
fn durations_that_cannot_work() -> Result<()> {
    for (options, names) in [
        (&["--ttl", "0s"][..], &["ttl 0s", "zero"][..]),
        (&["--ttl", "-1s"], &["--ttl", "'-1s'"]),
        (&["--ttl", "15"], &["--ttl", "'15'", "such as 15s"]),
        (&["--ttl", "500y"], &["--ttl", "longer than a year"]),
        (&["--ttl", "1ms"], &["ttl 1ms", "at least 10ms"]),
        (&["--renew-every", "12s"], &["renew_every 12s", "below 13.5s"]),
        (&["--request-timeout", "10s"], &["request_timeout 10s"]),
        (&["--renew-every", "0s"], &["renew_every 0s", "zero"]),
        (&["--grace", "10s"], &["grace 10s with ttl 15s", "below"]),
    ] {
        run_refused("memory://", options, 64, names)?;
    }
    Ok(())
}

#[test]
fn commands_that_are_none() -> Result<()> {
    let args = ["run", "--store", "memory://", "--election", "jobs", "--"];
    refused(
        &[&args[..], &["/no/such/command"]].concat(),
        127,
        &["/no/such/command", "not found"],
    )?;
    refused(
        &[&args[..], &["/"]].concat(),
        126,
        &["\"/\"", "cannot be executed"],
    )?;
    refused(&args, 64, &["COMMAND"])?;
    refused(&["--log", "no=such=level", "demo"], 64, &["--log"])
}

#[test]
fn a_command_on_a_memory_store_runs_and_its_code_is_ours() -> Result<()> {
    let script =
        r#"test "$LEADERSHIP_ID" = me && test "$LEADERSHIP_ELECTION" = jobs && exit $LEADERSHIP_TOKEN"#;
    let args = [
        "run",
        "--store",
        "memory://",
        "--election",
        "jobs",
        "--id",
        "me",
        "--",
        "sh",
        "-c",
        script,
    ];
    let output = support::output(&args)?;
    assert_eq!(
        output.status.code(),
        Some(2),
        "the token, as the second change of an empty store"
    );
    Ok(())
}
