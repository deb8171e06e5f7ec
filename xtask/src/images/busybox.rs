//! busybox: `ip` for cutting a node off from the others, from a container that joins the node's network. The
//! official images of the servers have no such tool.

use super::{Image, packages::Packages};

pub(crate) const IMAGE: Image = Image {
    variable: "LEADERSHIP_BUSYBOX_IMAGE",
    tag: "leadership/busybox:1.37.0",
    official: "busybox:1.37.0",
    packages: Packages {
        suite: "trixie",
        names: &["busybox-static"],
        version: "1.37.0",
        links: &[("usr/bin/sh", "busybox"), ("usr/bin/ip", "busybox")],
    },
    settings: &["CMD [\"sh\"]"],
};
