//! Images of the servers that tests, benchmarks and clusters run.
//!
//! An official image where a registry is in reach, else one built from Debian packages; either way it gets
//! the same tag, so nobody downstream has to know. An image that somebody names in its environment variable
//! is used as it is. One file per image says what it consists of; `registry` and `packages` know how to get it.

pub(crate) mod busybox;
pub(crate) mod consul;
pub(crate) mod etcd;
mod java;
mod packages;
mod registry;
pub(crate) mod zookeeper;

use crate::{
    debian::Suites,
    docker::{docker, image, require},
    process::{line, run},
    store::Store,
};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use packages::Packages;
use std::{
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    process::Stdio,
    time::Instant,
};

/// The label that says from which recipe an image was built.
const RECIPE: &str = "org.leadership.recipe";

/// What an image consists of.
#[derive(Hash)]
pub(crate) struct Image {
    /// The environment variable that names another image to use instead.
    pub(crate) variable: &'static str,
    /// The name under which tests find it.
    pub(crate) tag: &'static str,
    /// What to pull.
    official: &'static str,
    /// What to build it from.
    packages: Packages,
    /// Instructions of a Dockerfile that describe how a container starts.
    settings: &'static [&'static str],
}

/// Where an image comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// A registry when one answers, else packages
    Any,
    /// Only a registry
    Registry,
    /// Only Debian packages
    Packages,
}

/// Makes sure that the images of `stores`, and of the tools that tests use on them, are there.
pub(crate) fn provide(stores: &[Store], source: Source) -> Result<()> {
    require()?;
    let mut suites = Suites::default();
    for image in stores.iter().map(|store| store.image()).chain([&busybox::IMAGE]) {
        image
            .provide(source, &mut suites)
            .with_context(|| format!("no image {}", image.tag))?;
    }
    Ok(())
}

impl Image {
    /// What to start containers from.
    pub(crate) fn name(&self) -> String {
        self.chosen().unwrap_or_else(|| self.tag.to_owned())
    }

    fn chosen(&self) -> Option<String> {
        std::env::var(self.variable).ok().filter(|name| !name.is_empty())
    }

    fn provide(&self, source: Source, suites: &mut Suites) -> Result<()> {
        if let Some(chosen) = self.chosen() {
            return self.provide_chosen(&chosen);
        }
        if self.is_current(source) {
            println!("{}: up to date", self.tag);
            return Ok(());
        }
        let begin = Instant::now();
        if source != Source::Packages {
            match registry::pull(self.official) {
                Ok(()) => {
                    run(&mut docker(&["tag", self.official, self.tag]))?;
                    println!("{}: pulled {} ({:.1?})", self.tag, self.official, begin.elapsed());
                    return Ok(());
                }
                Err(error) if source == Source::Registry => return Err(error),
                Err(error) => println!("{}: building it from Debian packages, since {error:#}", self.tag),
            }
        }
        self.build(suites)?;
        println!(
            "{}: built from Debian packages ({:.1?})",
            self.tag,
            begin.elapsed()
        );
        Ok(())
    }

    fn provide_chosen(&self, chosen: &str) -> Result<()> {
        if image(chosen, "{{.Id}}").is_none() {
            registry::pull(chosen).with_context(|| {
                let variable = self.variable;
                format!("{variable} names {chosen}, which is not here and cannot be pulled: unset {variable}")
            })?;
        }
        println!("{}: {chosen}, as {} says", self.tag, self.variable);
        Ok(())
    }

    /// Whether the tag is the official image, or was built from this recipe.
    fn is_current(&self, source: Source) -> bool {
        let Some(id) = image(self.tag, "{{.Id}}") else {
            return false;
        };
        let built = || {
            let label = format!("{{{{index .Config.Labels \"{RECIPE}\"}}}}");
            image(self.tag, &label) == Some(self.recipe())
        };
        let pulled = || image(self.official, "{{.Id}}") == Some(id);
        match source {
            Source::Any => built() || pulled(),
            Source::Registry => pulled(),
            Source::Packages => built(),
        }
    }

    fn build(&self, suites: &mut Suites) -> Result<()> {
        let rootfs = packages::rootfs(&self.packages, &self.recipe(), suites)?;
        let mut import = docker(&["import", "--change", &format!("LABEL {RECIPE}={}", self.recipe())]);
        for setting in self.settings {
            import.args(["--change", setting]);
        }
        import.args(["-", self.tag]);
        load(&mut import, &rootfs)
    }

    /// Changes whenever what is built changes.
    fn recipe(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (self, packages::METHOD).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Runs `docker import` on an archive, through a pipe: the engine need not see our files.
fn load(import: &mut std::process::Command, archive: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let status = import.stdin(file).stdout(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run `{}`", line(import)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(import));
    }
    Ok(())
}
