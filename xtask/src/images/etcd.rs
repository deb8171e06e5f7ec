//! etcd: the server and `etcdctl`.

use super::{Image, packages::Packages};

pub(crate) const IMAGE: Image = Image {
    variable: "LEADERSHIP_ETCD_IMAGE",
    tag: "leadership/etcd:3.5.16",
    official: "quay.io/coreos/etcd:v3.5.16",
    packages: Packages {
        suite: "trixie",
        names: &["etcd-server", "etcd-client", "libc6"],
        // The first one's.
        version: "3.5.16",
        ..Packages::NONE
    },
    // As in the official image: no entry point, all settings by ETCD_* variables, data below the working
    // directory.
    settings: &["CMD [\"etcd\"]", "WORKDIR /var/etcd", "EXPOSE 2379 2380"],
};
