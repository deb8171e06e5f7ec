//! A server's files out of Debian packages: an archive that `docker import` makes an image of, without a base
//! image.

use super::java;
use crate::{
    debian::{Suites, unpack, upstream_version},
    process::{command, run, target},
    scratch::Scratch,
};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// To be raised when this file builds something else from the same packages: old images are then built anew.
pub(super) const METHOD: u32 = 2;

/// What an image consists of that is built from Debian packages.
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
    /// Scripts of ours to add: path and text.
    pub(super) scripts: &'static [(&'static str, &'static str)],
    /// Modules of the Java runtime to add; no runtime when there are none.
    pub(super) java: &'static [&'static str],
}

impl Packages {
    /// For what a server does not need.
    pub(super) const NONE: Self = Self {
        suite: "",
        names: &[],
        version: "",
        links: &[],
        scripts: &[],
        java: &[],
    };
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
    let scratch = Scratch::beside(&archive)?;
    let debs = suites
        .get(packages.suite)?
        .download(packages.names, &scratch.path().join("packages"))?;
    let (name, found) = (packages.names[0], upstream_version(&debs[0])?);
    ensure!(
        found == packages.version,
        "Debian {} has {name} {found}, expected {}: adapt the version and the tag in xtask/src/images",
        packages.suite,
        packages.version
    );
    let root = scratch.path().join("root");
    for merged in MERGED {
        fs::create_dir_all(root.join("usr").join(merged))?;
        symlink(Path::new("usr").join(merged), root.join(merged))?;
    }
    fs::create_dir_all(root.join("tmp"))?;
    for deb in &debs {
        unpack(deb, &root, &LEFT_OUT)?;
    }
    add(packages, &root)?;
    let packed = scratch.path().join("rootfs.tar");
    // The files belong to whoever runs this; in the image they belong to root.
    let mut tar = command("tar");
    tar.args(["--create", "--numeric-owner", "--owner=0", "--group=0", "--file"])
        .arg(&packed);
    run(tar.arg("--directory").arg(&root).arg("."))?;
    fs::rename(&packed, &archive)?;
    Ok(archive)
}

/// What is not from a package.
fn add(packages: &Packages, root: &Path) -> Result<()> {
    let mut links = packages.links.to_vec();
    if !packages.java.is_empty() {
        let home = root.join(java::HOME);
        parent(&home)?;
        java::link(packages.java, &home)?;
        links.push(java::LINK);
    }
    for (path, text) in packages.scripts {
        let path = root.join(path);
        parent(&path)?;
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    for (path, leads_to) in links {
        symlink(leads_to, root.join(path)).with_context(|| format!("cannot make the link {path}"))?;
    }
    Ok(())
}

fn parent(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
