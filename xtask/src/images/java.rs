//! A Java runtime of chosen modules, made by this machine's JDK.

use crate::process::{command, output};
use anyhow::{Context, Result};
use std::path::Path;

/// Where it is in an image, with its command on the PATH.
pub(super) const HOME: &str = "opt/java/openjdk";
pub(super) const LINK: (&str, &str) = ("usr/bin/java", "/opt/java/openjdk/bin/java");

/// Makes a runtime of `modules` in the folder `home`, which must not exist.
pub(super) fn link(modules: &[&str], home: &Path) -> Result<()> {
    let mut jlink = command("jlink");
    jlink.args([
        "--no-header-files",
        "--no-man-pages",
        "--strip-java-debug-attributes",
    ]);
    jlink.args(["--add-modules", &modules.join(",")]);
    output(jlink.arg("--output").arg(home)).context(
        "a Java runtime is made with the jlink of a JDK: install one (Debian's package is default-jdk-headless)",
    )?;
    // The archive of loaded classes, which jlink leaves out: a third of the time that a server takes to start.
    output(command(&home.join("bin/java").display().to_string()).arg("-Xshare:dump")).map(drop)
}
