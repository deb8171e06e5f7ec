//! busybox: `ip` for cutting a node off from the others, from a container that joins the node's network, and
//! `rm` for what a node keeps on its volume. The official images of the servers have no such tools.
//!
//! Images built from Debian packages have their shell from it too.

use super::{Image, packages::Packages};

/// What it is called as.
pub(super) const TOOLS: &[(&str, &str)] = &[
    ("usr/bin/cat", "busybox"),
    ("usr/bin/env", "busybox"),
    ("usr/bin/grep", "busybox"),
    ("usr/bin/ip", "busybox"),
    ("usr/bin/kill", "busybox"),
    ("usr/bin/ls", "busybox"),
    ("usr/bin/mkdir", "busybox"),
    ("usr/bin/nc", "busybox"),
    ("usr/bin/ps", "busybox"),
    ("usr/bin/rm", "busybox"),
    ("usr/bin/sh", "busybox"),
    ("usr/bin/sleep", "busybox"),
    ("usr/bin/wget", "busybox"),
];

pub(crate) const IMAGE: Image = Image {
    variable: "LEADERSHIP_BUSYBOX_IMAGE",
    tag: "leadership/busybox:1.37.0",
    official: "busybox:1.37.0",
    packages: Packages {
        suite: "trixie",
        names: &["busybox-static"],
        version: "1.37.0",
        links: TOOLS,
        ..Packages::NONE
    },
    settings: &["CMD [\"sh\"]"],
};
