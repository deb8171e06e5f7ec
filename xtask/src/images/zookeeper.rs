//! ZooKeeper: the jars that the server needs, on a Java runtime of no more modules than it uses.
//!
//! The Debian package wants a whole desktop's Java, and log4j 1.2, which fails on a runtime without desktop;
//! `slf4j-simple` logs to standard error instead, where Docker picks it up.

use super::{Image, busybox, packages::Packages};

pub(crate) const IMAGE: Image = Image {
    variable: "LEADERSHIP_ZK_IMAGE",
    tag: "leadership/zookeeper:3.9.3",
    official: "zookeeper:3.9.3",
    packages: Packages {
        suite: "trixie",
        names: &[
            "libzookeeper-java",
            "libcommons-cli-java",
            "libcommons-io-java",
            "libdropwizard-metrics-java",
            "libjackson2-annotations-java",
            "libjackson2-core-java",
            "libjackson2-databind-java",
            "libnetty-java",
            "libslf4j-java",
            "libsnappy-java",
            // The Java runtime needs the others.
            "busybox-static",
            "libc6",
            "libgcc-s1",
            "libstdc++6",
            "zlib1g",
        ],
        version: "3.9.3",
        links: busybox::TOOLS,
        scripts: &[
            (
                "usr/local/bin/docker-entrypoint.sh",
                include_str!("zookeeper/docker-entrypoint.sh"),
            ),
            ("usr/local/bin/zkServer.sh", include_str!("zookeeper/zkServer.sh")),
            ("usr/local/bin/zkCli.sh", include_str!("zookeeper/zkCli.sh")),
            ("usr/local/bin/zkJava.sh", include_str!("zookeeper/zkJava.sh")),
        ],
        java: &[
            "java.base",
            "java.logging",
            "java.management",
            "java.naming",
            "java.security.jgss",
            "java.security.sasl",
            "java.sql",
            "java.xml",
            // Keys on elliptic curves, for TLS.
            "jdk.crypto.ec",
            "jdk.management",
            "jdk.unsupported",
        ],
    },
    // As in the official image.
    settings: &[
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"zkServer.sh\", \"start-foreground\"]",
        "ENV ZOO_CONF_DIR=/conf ZOO_DATA_DIR=/data ZOO_DATA_LOG_DIR=/datalog",
        "VOLUME [\"/data\", \"/datalog\"]",
        "EXPOSE 2181 2888 3888 8080",
    ],
};
