//! Apache Curator, from Debian packages, and our program on it, compiled by this machine's JDK.

use super::{Variable, folder, program, text};
use crate::{
    debian::{Suites, unpack, upstream_version},
    process::{command, output},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The release that packages are taken from, whatever release this machine runs.
const SUITE: &str = "trixie";
const VERSION: &str = "5.7.1";
/// All of them: dependencies are not followed, since they would bring a desktop's Java.
const PACKAGES: [&str; 7] = [
    "libcurator-recipes-java",
    "libcurator-client-java",
    "libcurator-framework-java",
    "libguava-java",
    "libnetty-java",
    "libslf4j-java",
    "libzookeeper-java",
];
/// Jar by jar: the packages bring several loggers, of which there may be only one.
const JARS: [&str; 9] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "guava",
    "netty-handler",
    "slf4j-api",
    "slf4j-simple",
    "zookeeper",
    "zookeeper-jute",
];
/// The oldest Java that may run it, so that it does not matter which one compiled it.
const RELEASE: &str = "11";

/// The class path with the program and all that it needs.
pub(super) fn provide(suites: &mut Suites) -> Result<Variable> {
    let jars = jars(suites)?;
    let mut class_path = classes(&jars)?.into_os_string();
    class_path.push(":");
    class_path.push(all_in(&jars));
    Ok(("LEADERSHIP_CURATOR", class_path))
}

fn jars(suites: &mut Suites) -> Result<PathBuf> {
    let recipe = (SUITE, VERSION, PACKAGES, JARS);
    folder("curator", recipe, |made, scratch| {
        let (debs, root) = (scratch.join("packages"), scratch.join("root"));
        let debs = suites.get(SUITE)?.download(&PACKAGES, &debs)?;
        let (name, found) = (PACKAGES[0], upstream_version(&debs[0])?);
        ensure!(
            found == VERSION,
            "Debian {SUITE} has {name} {found}, expected {VERSION}: adapt the version in xtask/src/interop/curator.rs"
        );
        fs::create_dir(&root)?;
        for deb in &debs {
            unpack(deb, &root, &["./usr/share/maven-repo", "./usr/share/doc"])?;
        }
        for jar in JARS {
            let jar = format!("{jar}.jar");
            fs::copy(root.join("usr/share/java").join(&jar), made.join(&jar))
                .with_context(|| format!("no {jar} in the packages of Debian {SUITE}"))?;
        }
        Ok(())
    })
}

fn classes(jars: &Path) -> Result<PathBuf> {
    let source = program("CuratorContender.java");
    let recipe = (text(&source)?, jars, RELEASE);
    folder("curator-contender", recipe, |made, _| {
        let mut javac = command("javac");
        javac
            .args(["--release", RELEASE, "-classpath"])
            .arg(all_in(jars))
            .arg("-d")
            .arg(made)
            .arg(&source);
        output(&mut javac).map(drop).context(
            "the program on Curator is compiled by a JDK: install one (Debian's package is default-jdk-headless)",
        )
    })
}

/// All jars of a folder, as Java wants it.
fn all_in(folder: &Path) -> PathBuf {
    folder.join("*")
}
