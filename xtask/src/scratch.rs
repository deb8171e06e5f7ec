//! A folder for making something that is put in place by a rename when it is complete: then two runs at once
//! cannot disturb each other, and one that was killed leaves nothing half done in place.

use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder that is removed when it goes out of scope.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A folder beside `wanted`, of this process alone.
    pub(crate) fn beside(wanted: &Path) -> Result<Self> {
        let path = wanted.with_extension(std::process::id().to_string());
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is in the target folder and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
