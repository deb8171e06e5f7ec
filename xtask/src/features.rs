//! What an application gets with each feature: that store, and nothing of what only the others need.

use crate::process::{command, output, run};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;

/// A feature, and crates that are there for it alone.
const FEATURES: [(&str, &[&str]); 3] = [
    (
        "etcd",
        &[
            "leadership-etcd",
            "etcd-client",
            "tonic",
            "prost",
            "hyper-timeout",
        ],
    ),
    ("consul", &["leadership-consul", "rs-consul", "hyperlocal"]),
    ("zk", &["leadership-zk", "zookeeper-client", "async-io"]),
];
/// Brought by TLS to ZooKeeper only, and minutes of compiling C.
const C_CRYPTOGRAPHY: &str = "aws-lc-sys";
/// What nothing may bring.
const NEVER: [&str; 2] = ["openssl-sys", "native-tls"];

/// Looks at the dependencies with each feature alone and with none, and compiles them: what one store needs must not
/// come from another by chance.
pub(crate) fn check() -> Result<()> {
    for features in ["", "etcd", "consul", "zk", "etcd,consul,zk"] {
        let found = dependencies(features)?;
        for (feature, crates) in FEATURES {
            let wanted = features.split(',').any(|wanted| wanted == feature);
            for name in crates {
                ensure!(
                    found.contains(*name) == wanted,
                    "with the features {features:?}, leadership {} {name}, which is for {feature} alone",
                    if wanted { "is without" } else { "brings" }
                );
            }
        }
        for name in NEVER.iter().chain([&C_CRYPTOGRAPHY]) {
            ensure!(
                !found.contains(*name),
                "with the features {features:?}, leadership brings {name}"
            );
        }
    }
    ensure!(
        dependencies("zk-tls")?.contains(C_CRYPTOGRAPHY),
        "{C_CRYPTOGRAPHY} is gone from zk-tls: the feature is needed no more"
    );
    for features in ["etcd", "consul", "zk"] {
        let mut cargo = command("cargo");
        cargo.args([
            "check",
            "--locked",
            "--package",
            "leadership",
            "--no-default-features",
        ]);
        run(cargo.args(["--features", features]))?;
    }
    Ok(())
}

/// The names of all crates that a build of `leadership` with these features has.
fn dependencies(features: &str) -> Result<BTreeSet<String>> {
    let mut cargo = command("cargo");
    cargo.args([
        "tree",
        "--locked",
        "--package",
        "leadership",
        "--no-default-features",
    ]);
    cargo.args(["--features", features, "--edges", "normal,build"]);
    let tree = output(cargo.args(["--prefix", "none", "--format", "{p}"]))?;
    Ok(tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect())
}
