//! kazoo, installed by pip into a folder of its own, from where this machine's pip takes packages.

use super::{Variable, folder, program, text};
use crate::process::{command, output};
use anyhow::{Context, Result};

/// The folder for Python's path.
pub(super) fn provide() -> Result<Variable> {
    let requirements = program("requirements.txt");
    let folder = folder("kazoo", text(&requirements)?, |made, _| {
        let pip = || {
            let mut python = command("python3");
            python.args(["-m", "pip", "--disable-pip-version-check"]);
            python
        };
        output(pip().arg("--version"))
            .context("kazoo is installed by Python's pip: install it (Debian's package is python3-pip)")?;
        let mut install = pip();
        install.args(["install", "--quiet", "--target"]).arg(made);
        output(install.arg("--requirement").arg(&requirements))
            .map(drop)
            .with_context(|| format!("pip cannot install what {} names", requirements.display()))
    })?;
    Ok(("LEADERSHIP_KAZOO", folder.into_os_string()))
}
