//! `consul://host:port,host:port/prefix?token=…` as a [`ConsulConfig`].

use leadership_core::InvalidInput;
use leadership_core::address::StoreUrl;

use crate::config::{ConsulConfig, Layout, Liveness};
use crate::error::STORE;

const KNOWN: &str = "ca, cert, connect_timeout, dc, key, layout, liveness, ns, partition, server_name, socket, tls, \
                     token, token_file";

impl ConsulConfig {
    /// Reads a configuration from a URL:
    /// `consul://host1:8500,host2:8500/prefix?token=…&liveness=check&ca=/path/ca.pem`.
    ///
    /// - The prefix is what follows the first `/`, without one `/` at its end. It is percent-decoded.
    /// - For a unix socket leave the host out: `consul:///prefix?socket=/run/consul.sock`.
    /// - `token` is an ACL token, `token_file` a file that holds one.
    /// - `dc`, `ns` and `partition` name datacenter, namespace and admin partition.
    /// - `liveness` is `check` or `session`, `layout` is `key` or `lock-command`: see [`Liveness`] and [`Layout`].
    /// - TLS is on with `tls=true` (the system's authorities), or by giving `ca` (a PEM file with the only
    ///   authorities to trust), `cert` and `key` (PEM files of a client certificate) or `server_name`.
    /// - `connect_timeout` is a number with `ms`, `s` or `m`.
    ///
    /// # Errors
    /// Names the part that cannot be understood and what to write instead. No file is read here.
    pub fn from_url(url: &str) -> Result<Self, InvalidInput> {
        let mut url = StoreUrl::parse(STORE, url)?;
        if url.user.is_some() {
            return Err(InvalidInput::new(
                "URL of consul",
                "it has a user and a password",
                "Consul knows tokens instead: give token= or token_file=",
            ));
        }
        let mut config = match url.take("socket") {
            None => Self::new(&url.hosts)?,
            Some(socket) if url.hosts.iter().all(String::is_empty) => Self::new_unix(socket),
            Some(_) => {
                return Err(url.refuse(
                    "socket",
                    "there is a host as well",
                    "write consul:///prefix?socket=/run/consul.sock",
                ));
            }
        };
        config.prefix = std::mem::take(&mut url.path);
        match (url.take("token"), url.take("token_file")) {
            (Some(_), Some(_)) => {
                return Err(url.refuse("token", "token_file is given as well", "give one of them"));
            }
            (Some(token), None) => config = config.with_token(token),
            (None, Some(file)) => config = config.with_token_file(file),
            (None, None) => {}
        }
        config.datacenter = url.take("dc");
        config.namespace = url.take("ns");
        config.partition = url.take("partition");
        match url.take("liveness").as_deref() {
            None => {}
            Some("check") => config = config.with_liveness(Liveness::Check),
            Some("session") => config = config.with_liveness(Liveness::Session),
            Some(_) => {
                return Err(url.refuse("liveness", "there is none of that name", "use check or session"));
            }
        }
        match url.take("layout").as_deref() {
            None | Some("key") => {}
            Some("lock-command") => config = config.with_layout(Layout::LockCommand),
            Some(_) => {
                return Err(url.refuse("layout", "there is none of that name", "use key or lock-command"));
            }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::config::Address;

    #[test]
    fn a_full_url() {
        let config = ConsulConfig::from_url(
            "consul://h1,[::1]:2/a%20b/c/?token=a%26b&dc=d&ns=n&partition=p&liveness=check&layout=lock-command\
             &ca=/ca&cert=/c&key=/k&connect_timeout=500ms",
        )
        .expect("accepted");
        assert_eq!(
            config.addresses,
            ["h1:8500", "[::1]:2"].map(|address| Address::Tcp(address.to_owned()))
        );
        assert_eq!(config.prefix(), "a b/c");
        assert_eq!(config.token.as_ref().expect("given").read().expect("text"), "a&b");
        assert_eq!(config.datacenter.as_deref(), Some("d"));
        assert_eq!(config.namespace.as_deref(), Some("n"));
        assert_eq!(config.partition.as_deref(), Some("p"));
        assert_eq!(config.liveness(), Liveness::Check);
        assert_eq!(config.layout, Layout::LockCommand);
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        assert!(config.tls.expect("on").identity.is_some());
    }

    #[test]
    fn a_socket_stands_for_the_host() {
        let config = ConsulConfig::from_url("consul:///p?socket=/run/consul.sock").expect("accepted");
        assert_eq!(
            config.addresses,
            [Address::Unix(PathBuf::from("/run/consul.sock"))]
        );
        assert_eq!(config.to_string(), "consul://unix:/run/consul.sock/p");
    }

    #[test]
    fn bad_urls_are_refused_with_the_part_and_the_remedy() {
        for (url, part, remedy) in [
            ("etcd://h", "\"etcd\"", "consul://"),
            ("consul://", "endpoint \"\"", "127.0.0.1:8500"),
            ("consul://u:p@h", "user", "token="),
            ("consul://h?socket=/s", "socket", "consul:///"),
            ("consul://h?liveness=ttl", "liveness", "check or session"),
            ("consul://h?layout=x", "layout", "lock-command"),
            ("consul://h?token=a&token_file=b", "token", "one of them"),
            ("consul://h?colour=red", "option colour", "token_file"),
            ("consul://h//a", "prefix \"/a\"", "service/scheduler"),
        ] {
            let error = ConsulConfig::from_url(url).expect_err(url).to_string();
            assert!(error.contains(part) && error.contains(remedy), "{url}: {error}");
        }
    }

    #[test]
    fn no_error_repeats_a_token() {
        for url in [
            "consul://h?token=hunter2&colour=red",
            "consul://h?token=hunter2%zz",
            "consul://h?token=hunter2#x",
            "consul://h?token=hunter2&token=hunter2",
            // An & that was not escaped.
            "consul://h?token=a&hunter2",
            "consul://h?token=a&hunter2=b",
            "consul://h?token=a&hunter2=%zz",
            "consul://h?token=a&hunter2=b&hunter2=b",
        ] {
            let error = ConsulConfig::from_url(url).expect_err(url).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
