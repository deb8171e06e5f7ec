//! The stores that chores know: what is on the command line, and what belongs to each.

use crate::images::{self, Image};
use clap::ValueEnum;

/// A store with a real server to test against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    Etcd,
}

impl Store {
    /// The stores named on the command line, all of them when there are none.
    pub(crate) fn or_all(named: &[Self]) -> &[Self] {
        if named.is_empty() {
            Self::value_variants()
        } else {
            named
        }
    }

    /// The image of its server.
    pub(crate) fn image(self) -> &'static Image {
        match self {
            Self::Etcd => &images::etcd::IMAGE,
        }
    }

    /// Its nodes in docker-compose.yml: names of services and of containers.
    pub(crate) fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &["etcd1", "etcd2", "etcd3"],
        }
    }

    /// Where the cluster of docker-compose.yml listens.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::Etcd => "etcd://127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379",
        }
    }

    /// As written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
        }
    }
}
