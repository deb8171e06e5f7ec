//! `zk://user:password@host:port,host:port/prefix?layout=lock` as a [`ZkConfig`].

use leadership_core::InvalidInput;
use leadership_core::address::StoreUrl;

use crate::config::{Parents, ZkAcl, ZkConfig};
use crate::error::STORE;
use crate::layout::Layout;

const KNOWN: &str = "acl, ca, cert, connect_timeout, docker_leader, key, layout, parents, server_name, tls";

impl ZkConfig {
    /// Reads a configuration from a URL:
    /// `zk://user:password@host1:2181,host2:2181/prefix?layout=latch&parents=container`.
    ///
    /// - User, password and prefix are percent-decoded (`@` is `%40`, `/` in a password `%2F`). The user signs
    ///   in by the scheme `digest`.
    /// - The prefix is the path below which the elections are, what a `chroot` is for other clients.
    /// - `layout` is `latch` (Curator's `LeaderLatch`, the default), `lock` (Curator's `LeaderSelector`,
    ///   go-zookeeper, docker/leadership) or `kazoo`.
    /// - `parents` is `container` (the default, except for kazoo and with `docker_leader`) or `persistent`.
    /// - `acl` is `world` (the default without a user), `creator` (the default with one), or a list such as
    ///   `digest:user:hash:cdrwa,world:anyone:r`.
    /// - `docker_leader=true` has leaders also write their value where followers of docker/leadership read it.
    /// - TLS is on with `tls=true` (the system's authorities), or by giving `ca` (a PEM file with the only
    ///   authorities to trust), `cert` and `key` (PEM files of a client certificate). It needs the crate's
    ///   feature `tls`.
    /// - `connect_timeout` is a number with `ms`, `s` or `m`.
    ///
    /// # Errors
    /// Names the part that cannot be understood and what to write instead. No file is read here.
    pub fn from_url(url: &str) -> Result<Self, InvalidInput> {
        let mut url = StoreUrl::parse(STORE, url)?;
        let mut config = Self::new(&url.hosts)?.with_prefix(std::mem::take(&mut url.path));
        if let Some((user, password)) = url.user.take() {
            config = config.with_user(user, password);
        }
        if let Some(layout) = url.take("layout") {
            let Some(layout) = Layout::parse(&layout) else {
                return Err(url.refuse("layout", "it is not known", "write layout=latch, lock or kazoo"));
            };
            config = config.with_layout(layout);
        }
        if let Some(parents) = url.take("parents") {
            config = config.with_parents(match parents.as_str() {
                "container" => Parents::Container,
                "persistent" => Parents::Persistent,
                _ => {
                    return Err(url.refuse(
                        "parents",
                        "it is not known",
                        "write parents=container or persistent",
                    ));
                }
            });
        }
        if let Some(text) = url.take("acl") {
            let Some(acl) = acl(&text) else {
                return Err(url.refuse(
                    "acl",
                    "it is not understood",
                    "write acl=world, acl=creator, or scheme:id:permissions such as world:anyone:r, with commas \
                     between several",
                ));
            };
            config = config.with_acl(acl);
        }
        if let Some(on) = url.take_bool("docker_leader")? {
            config = config.with_docker_leader(on);
        }
        config.tls = url.take_tls()?;
        if let Some(limit) = url.take_duration("connect_timeout")? {
            config = config.with_connect_timeout(limit);
        }
        url.finish(KNOWN)?;
        config.check()?;
        Ok(config)
    }
}

/// The id between the first and the last colon may have colons itself.
fn acl(text: &str) -> Option<ZkAcl> {
    match text {
        "world" => return Some(ZkAcl::World),
        "creator" => return Some(ZkAcl::Creator),
        _ => {}
    }
    let entry = |entry: &str| {
        let (scheme, rest) = entry.split_once(':')?;
        let (id, permissions) = rest.rsplit_once(':')?;
        Some((scheme.to_owned(), id.to_owned(), permissions.to_owned()))
    };
    text.split(',').map(entry).collect::<Option<_>>().map(ZkAcl::List)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_url() {
        let config = ZkConfig::from_url(
            "zk://us%40er:p%2Fa%3As%25@h1,h2:1,[::1]:2/a%20b/c/?layout=lock&parents=persistent&docker_leader=true\
             &acl=digest:u:h=:cdrwa,world:anyone:r&connect_timeout=500ms&ca=/c",
        )
        .expect("accepted");
        assert_eq!(config.servers(), ["h1:2181", "h2:1", "[::1]:2"]);
        assert_eq!(config.prefix(), "a b/c");
        let credentials = config.credentials.as_ref().expect("given");
        assert_eq!(
            (credentials.user.as_str(), credentials.password.as_str()),
            ("us@er", "p/a:s%")
        );
        assert_eq!(
            (config.layout(), config.parents()),
            (Layout::Lock, Parents::Persistent)
        );
        assert!(config.docker_leader && config.tls.is_some());
        let entry = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        let list = vec![entry("digest", "u:h=", "cdrwa"), entry("world", "anyone", "r")];
        assert_eq!(config.acl, Some(ZkAcl::List(list)));
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
    }

    #[test]
    fn what_is_not_given_is_curators() {
        let config = ZkConfig::from_url("zk://h").expect("accepted");
        assert_eq!(
            (config.layout(), config.parents()),
            (Layout::Latch, Parents::Container)
        );
        assert!(config.prefix().is_empty() && config.tls.is_none() && !config.docker_leader);
        assert_eq!(*config.acl(), ZkAcl::World);
    }

    #[test]
    fn bad_urls_are_refused_with_the_part_and_the_remedy() {
        for (url, part, remedy) in [
            ("etcd://h", "\"etcd\"", "zk://"),
            ("zk://", "endpoint \"\"", "host:port"),
            ("zk://h:x", "endpoint \"h:x\"", "host:port"),
            ("zk://u@h", "no password", "user:password"),
            ("zk://:p@h", "user \"\"", "digest"),
            ("zk://h?colour=red", "option colour", "layout"),
            ("zk://h?layout=curator", "option layout", "latch"),
            ("zk://h?parents=none", "option parents", "container"),
            ("zk://h?acl=me", "option acl", "world:anyone:r"),
            ("zk://h?acl=world:anyone:z", "acl permissions", "c, d, r"),
            ("zk://h?acl=creator", "no user", "acl=world"),
            ("zk://h?docker_leader=yes", "option docker_leader", "true"),
            ("zk://h?docker_leader=true", "docker_leader", "layout=lock"),
            ("zk://h//a", "prefix", "slash"),
            ("zk://h/a//b", "prefix", "one slash"),
            ("zk://h/a/../b", "prefix", "another name"),
            ("zk://h/zookeeper", "prefix", "another name"),
            ("zk://h?connect_timeout=0s", "connect_timeout", "100ms"),
            ("zk://h?tls=false&ca=/x", "tls=false", "leave out"),
        ] {
            let error = ZkConfig::from_url(url).expect_err(url).to_string();
            assert!(error.contains(part) && error.contains(remedy), "{url}: {error}");
        }
    }
}
