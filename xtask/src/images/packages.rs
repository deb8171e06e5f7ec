//! A server's files out of Debian packages: an archive that `docker import` makes an image of, without a base
//! image.

use super::apt::Suites;
use crate::process::{command, output, run, target};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

/// To be raised when this file builds something else from the same packages: old images are then built anew.
pub(super) const METHOD: u32 = 1;

/// What of Debian an image consists of.
#[derive(Hash)]
pub(super) struct Packages {
    /// The release they are taken from, whatever release this machine runs.
    pub(super) suite: &'static str,
    /// All of them: dependencies are not followed, since they would bring a whole system.
    pub(super) names: &'static [&'static str],
    /// The upstream version that the first of them must have.
    pub(super) version: &'static str,
    /// Symbolic links to add: path and where it leads.
    pub(super) links: &'static [(&'static str, &'static str)],
}

/// Folders at the top that Debian has merged into /usr, and that packages still use in both ways.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// Not needed to run a server.
const LEFT_OUT: [&str; 4] = [
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/bash-completion",
    "./usr/lib/*/gconv",
];

/// The archive for `packages`, from an earlier run when there is one.
pub(super) fn rootfs(packages: &Packages, recipe: &str, suites: &mut Suites) -> Result<PathBuf> {
    let folder = target().join("images");
    let archive = folder.join(format!("{}-{recipe}.tar", packages.names[0]));
    if archive.exists() {
        return Ok(archive);
    }
    // Of our own, so that two runs at once cannot disturb each other; the result is put in place by a rename.
    let scratch = Scratch::new(folder.join(format!("{recipe}.{}", std::process::id())))?;
    let debs = suites
        .get(packages.suite)?
        .download(packages.names, &scratch.0.join("packages"))?;
    check_version(&debs[0], packages)?;
    let root = scratch.0.join("root");
    for merged in MERGED {
        fs::create_dir_all(root.join("usr").join(merged))?;
        symlink(Path::new("usr").join(merged), root.join(merged))?;
    }
    fs::create_dir_all(root.join("tmp"))?;
    for deb in &debs {
        unpack(deb, &root)?;
    }
    for (path, leads_to) in packages.links {
        symlink(leads_to, root.join(path)).with_context(|| format!("cannot make the link {path}"))?;
    }
    let packed = scratch.0.join("rootfs.tar");
    // The files belong to whoever runs this; in the image they belong to root.
    let mut tar = command("tar");
    tar.args(["--create", "--numeric-owner", "--owner=0", "--group=0", "--file"])
        .arg(&packed);
    run(tar.arg("--directory").arg(&root).arg("."))?;
    fs::rename(&packed, &archive)?;
    Ok(archive)
}

fn check_version(deb: &Path, packages: &Packages) -> Result<()> {
    let (name, wanted) = (packages.names[0], packages.version);
    let found = output(command("dpkg-deb").arg("--field").arg(deb).arg("Version"))?;
    // "1:3.5.16-4+deb13u1": epoch, upstream version, revision.
    let upstream = found.split_once(':').map_or(found.as_str(), |(_, rest)| rest);
    let upstream = upstream
        .rsplit_once('-')
        .map_or(upstream, |(upstream, _)| upstream);
    ensure!(
        upstream == wanted,
        "Debian {} has {name} {found}, expected {wanted}: adapt the version and the tag in xtask/src/images",
        packages.suite
    );
    Ok(())
}

fn unpack(deb: &Path, root: &Path) -> Result<()> {
    let mut dpkg = command("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped());
    let mut dpkg = dpkg
        .spawn()
        .context("cannot run dpkg-deb: building images needs the tools of Debian")?;
    let mut tar = command("tar");
    tar.arg("--directory")
        .arg(root)
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner"]);
    tar.args(LEFT_OUT.map(|path| format!("--exclude={path}")));
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

/// A folder that is removed when it goes out of scope.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the target folder and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
