//! The stores that chores know: what is on the command line, and what belongs to each.

use crate::images::{self, Image};
use clap::ValueEnum;

/// A store with a real server to test against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    Etcd,
    Consul,
    Zk,
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
            Self::Consul => &images::consul::IMAGE,
            Self::Zk => &images::zookeeper::IMAGE,
        }
    }

    /// Its nodes in docker-compose.yml: names of services and of containers.
    pub(crate) fn nodes(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &["etcd1", "etcd2", "etcd3"],
            Self::Consul => &["consul1", "consul2", "consul3"],
            Self::Zk => &["zk1", "zk2", "zk3"],
        }
    }

    /// Where the cluster of docker-compose.yml listens.
    pub(crate) fn url(self) -> &'static str {
        match self {
            Self::Etcd => "etcd://127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379",
            Self::Consul => "consul://127.0.0.1:8500,127.0.0.1:18500,127.0.0.1:28500",
            Self::Zk => "zk://127.0.0.1:2181,127.0.0.1:12181,127.0.0.1:22181",
        }
    }

    /// As written on the command line, in URLs, and after `leadership-`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Consul => "consul",
            Self::Zk => "zk",
        }
    }
}
