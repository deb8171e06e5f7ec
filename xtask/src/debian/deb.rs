//! Looking into a Debian package, and unpacking it without installing it.

use crate::process::{command, output, run};
use anyhow::{Context, Result, bail};
use std::{path::Path, process::Stdio};

/// The version of what was packaged: 1.8.7 of 1:1.8.7+dfsg1-2+b3, which is epoch, upstream version, what Debian
/// left out of it, revision.
pub(crate) fn upstream_version(deb: &Path) -> Result<String> {
    let full = output(command("dpkg-deb").arg("--field").arg(deb).arg("Version"))?;
    let upstream = full.split_once(':').map_or(full.as_str(), |(_, rest)| rest);
    Ok(upstream.split(['-', '+']).next().unwrap_or(upstream).to_owned())
}

/// Unpacks what is not `left_out` (patterns of paths that begin with `./`) into the folder `root`.
pub(crate) fn unpack(deb: &Path, root: &Path, left_out: &[&str]) -> Result<()> {
    let mut dpkg = command("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped());
    let mut dpkg = dpkg
        .spawn()
        .context("cannot run dpkg-deb: unpacking Debian packages needs the tools of Debian")?;
    let mut tar = command("tar");
    tar.arg("--directory")
        .arg(root)
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"]);
    tar.args(left_out.iter().map(|path| format!("--exclude={path}")));
    if let Some(files) = dpkg.stdout.take() {
        tar.stdin(files);
    }
    run(&mut tar)?;
    let status = dpkg.wait()?;
    if !status.success() {
        bail!(
            "{} cannot be unpacked ({status}): remove it and try again",
            deb.display()
        );
    }
    Ok(())
}
