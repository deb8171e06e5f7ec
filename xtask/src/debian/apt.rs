//! Debian packages of any release, from the mirror that this machine uses, without touching its own apt.
//!
//! Mirror and keyring are read from the machine's apt sources, proxies and other settings of transport from
//! its apt configuration. Lists and downloads are kept in folders of our own; signatures are checked as
//! always.

use super::sources::{self, Mirror};
use crate::process::{command, output, target};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The releases that were read in this run.
#[derive(Default)]
pub(crate) struct Suites(BTreeMap<&'static str, Suite>);

impl Suites {
    /// `suite`, whose lists are read when it is asked for first.
    pub(crate) fn get(&mut self, suite: &'static str) -> Result<&Suite> {
        if !self.0.contains_key(suite) {
            self.0.insert(suite, Suite::open(suite)?);
        }
        Ok(&self.0[suite])
    }
}

/// One release of Debian.
pub(crate) struct Suite {
    name: &'static str,
    /// Configuration, lists and caches of our own.
    folder: PathBuf,
}

impl Suite {
    fn open(name: &'static str) -> Result<Self> {
        let mirrors = sources::debian_mirrors(Path::new("/etc/apt"))?;
        let suite = Self {
            name,
            folder: target()
                .join("debian")
                .join(format!("apt-{name}.{}", std::process::id())),
        };
        let mut refused = Vec::new();
        for mirror in &mirrors {
            suite.configure(mirror)?;
            match output(suite.apt("apt-get").args(["--quiet", "update"])) {
                Ok(_) => return Ok(suite),
                Err(error) => refused.push(format!("{error:#}")),
            }
        }
        bail!(
            "Debian {name} cannot be read from the mirrors of this machine's apt sources. Where a key is missing, \
             install or upgrade the package debian-archive-keyring.\n{}",
            refused.join("\n")
        )
    }

    /// Downloads packages into `folder`; the files in the order of `names`.
    pub(crate) fn download(&self, names: &[&str], folder: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        output(
            self.apt("apt-get")
                .args(["--quiet", "download"])
                .args(names)
                .current_dir(folder),
        )
        .with_context(|| format!("cannot download {} from Debian {}", names.join(" "), self.name))?;
        names.iter().map(|name| file_of(name, folder)).collect()
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = command(program);
        apt.env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        apt
    }

    fn configure(&self, mirror: &Mirror) -> Result<()> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        for folder in ["conf.d", "sources.d", "lists/partial", "cache/archives/partial"] {
            let folder = self.folder.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        fs::write(path("status"), "")?;
        fs::write(path("sources.d/debian.sources"), mirror.for_suite(self.name))?;
        let config = format!(
            "{machine}\
             // The machine's hooks and preferences are not for us.\n\
             Dir::Etc::parts \"{parts}\";\n\
             Dir::Etc::main \"/dev/null\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\n\
             Dir::Etc::sourceparts \"{sources}\";\n\
             Dir::Etc::preferences \"/dev/null\";\n\
             Dir::Etc::preferencesparts \"{parts}\";\n\
             Dir::State \"{state}\";\n\
             Dir::State::lists \"{lists}\";\n\
             Dir::State::status \"{status}\";\n\
             Dir::Cache \"{cache}\";\n\
             // apt's own user may not be allowed into this folder.\n\
             APT::Sandbox::User \"root\";\n\
             // A mirror that answers in part is an error, not a warning.\n\
             APT::Update::Error-Mode \"any\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::AllowInsecureRepositories \"false\";\n\
             APT::Get::AllowUnauthenticated \"false\";\n",
            machine = machine_transport()?,
            parts = path("conf.d"),
            sources = path("sources.d"),
            state = self.folder.display(),
            lists = path("lists"),
            status = path("status"),
            cache = path("cache"),
        );
        fs::write(path("apt.conf"), config).context("cannot write the configuration for apt")
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        // What stays behind is in the target folder and does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How this machine reaches its mirror: the part of its apt configuration about proxies, certificates and
/// checks, but not about further indexes, of which we need none.
fn machine_transport() -> Result<String> {
    let dump = output(command("apt-config").arg("dump"))
        .context("servers without a registry, and clients of other languages, come from Debian packages: that needs apt")?;
    let transport = |line: &&str| line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets");
    Ok(dump
        .lines()
        .filter(transport)
        .map(|line| format!("{line}\n"))
        .collect())
}

/// apt names the file after package, version and architecture.
fn file_of(name: &str, folder: &Path) -> Result<PathBuf> {
    let prefix = format!("{name}_");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            found.push(entry.path());
        }
    }
    ensure!(
        found.len() == 1,
        "expected one file {prefix}*.deb in {}, found {}",
        folder.display(),
        found.len()
    );
    Ok(found.remove(0))
}
