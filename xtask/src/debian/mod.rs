//! Packages of any release of Debian, whatever this machine runs: for images of servers where no registry is in
//! reach, and for clients of other languages.

mod apt;
mod deb;
mod sources;

pub(crate) use apt::Suites;
pub(crate) use deb::{unpack, upstream_version};
