//! Consul: the agent, which is server, client and command line in one.

use super::{Image, busybox, packages::Packages};

pub(crate) const IMAGE: Image = Image {
    variable: "LEADERSHIP_CONSUL_IMAGE",
    tag: "leadership/consul:1.8.7",
    official: "consul:1.8.7",
    packages: Packages {
        // The last release with it.
        suite: "bullseye",
        names: &["consul", "libc6", "busybox-static"],
        version: "1.8.7",
        links: busybox::TOOLS,
        scripts: &[(
            "usr/local/bin/docker-entrypoint.sh",
            include_str!("consul/docker-entrypoint.sh"),
        )],
        ..Packages::NONE
    },
    // As in the official image.
    settings: &[
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"agent\", \"-dev\", \"-client\", \"0.0.0.0\"]",
        "VOLUME /consul/data",
        "EXPOSE 8300 8301 8301/udp 8302 8302/udp 8500 8600 8600/udp",
    ],
};
