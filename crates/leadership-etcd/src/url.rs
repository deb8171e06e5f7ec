//! `etcd://user:password@host:port,host:port/prefix?ca=/path` as an [`EtcdConfig`].

use leadership_core::InvalidInput;
use leadership_core::address::StoreUrl;

use crate::config::EtcdConfig;
use crate::error::STORE;

const KNOWN: &str = "ca, cert, connect_timeout, key, server_name, tls";

impl EtcdConfig {
    /// Reads a configuration from a URL:
    /// `etcd://user:password@host1:2379,host2:2379/prefix?ca=/path/ca.pem&connect_timeout=2s`.
    ///
    /// - User, password and prefix are percent-decoded (`@` is `%40`, `/` in a password `%2F`).
    /// - The prefix is what follows the first `/`, without one `/` at its end. For keys that begin with a
    ///   slash write it twice: `etcd://host//prefix`.
    /// - TLS is on with `tls=true` (the system's authorities), or by giving `ca` (a PEM file with the only
    ///   authorities to trust), `cert` and `key` (PEM files of a client certificate) or `server_name`.
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_url() {
        let config = EtcdConfig::from_url(
            "etcd://us%40er:p%2Fa%3As%25@h1,h2:1,[::1]:2/a%20b/c/?ca=/tmp/c%26a.pem&cert=/c&key=/k&connect_timeout=500ms",
        )
        .expect("accepted");
        assert_eq!(config.endpoints(), ["h1:2379", "h2:1", "[::1]:2"]);
        assert_eq!(config.prefix(), "a b/c");
        let credentials = config.credentials.as_ref().expect("given");
        assert_eq!(
            (credentials.user.as_str(), credentials.password.as_str()),
            ("us@er", "p/a:s%")
        );
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        let tls = config.tls.expect("on");
        assert_eq!(tls.ca.expect("given").origin(), "/tmp/c&a.pem");
        assert!(tls.identity.is_some());
    }

    #[test]
    fn the_prefix_is_what_follows_the_first_slash() {
        for (url, prefix) in [
            ("etcd://h", ""),
            ("etcd://h/", ""),
            ("etcd://h/a", "a"),
            ("etcd://h/a/", "a"),
            ("etcd://h//a", "/a"),
            ("etcd://h/a//", "a/"),
        ] {
            assert_eq!(EtcdConfig::from_url(url).expect(url).prefix(), prefix, "{url}");
        }
    }

    #[test]
    fn a_password_may_have_an_at_sign_and_colons() {
        let config = EtcdConfig::from_url("etcd://u:a@b:c@h:1").expect("accepted");
        assert_eq!(config.credentials.expect("given").password, "a@b:c");
        assert_eq!(config.endpoints, ["h:1"]);
    }

    #[test]
    fn tls_is_on_only_when_asked_for() {
        let tls = |url: &str| EtcdConfig::from_url(url).expect(url).tls.is_some();
        assert!(!tls("etcd://h") && !tls("etcd://h?tls=false"));
        assert!(tls("etcd://h?tls=true") && tls("etcd://h?ca=/x") && tls("etcd://h/p?server_name=n"));
    }

    #[test]
    fn bad_urls_are_refused_with_the_part_and_the_remedy() {
        for (url, part, remedy) in [
            ("consul://h", "\"consul\"", "etcd://"),
            ("h:2379", "scheme", "etcd://"),
            ("etcd://", "endpoint \"\"", "host:port"),
            ("etcd://h1,,h2", "endpoint \"\"", "host:port"),
            ("etcd://h:x", "endpoint \"h:x\"", "host:port"),
            ("etcd://u@h", "no password", "user:password"),
            ("etcd://:p@h", "user \"\"", "name of an etcd user"),
            (
                "etcd://h?colour=red",
                "option colour",
                "ca, cert, connect_timeout",
            ),
            ("etcd://h?tls=yes", "option tls", "tls=true"),
            ("etcd://h?tls=false&ca=/x", "tls=false", "leave out"),
            ("etcd://h?tls=true&tls=true", "twice", "once"),
            ("etcd://h?ca=", "option ca", "ca=value"),
            ("etcd://h?cert=/x", "cert and key", "both"),
            ("etcd://h?connect_timeout=2", "connect_timeout", "2s"),
            ("etcd://h?connect_timeout=0s", "connect_timeout", "100ms"),
            ("etcd://h/%zz", "prefix", "%25"),
            ("etcd://h/%ff", "prefix", "UTF-8"),
            ("etcd://h#x", "#", "%23"),
        ] {
            let error = EtcdConfig::from_url(url).expect_err(url).to_string();
            assert!(error.contains(part) && error.contains(remedy), "{url}: {error}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        for url in [
            "etcd://root:hun/ter2@h",
            "etcd://root:hun?ter2@h",
            "etcd://root:123/hunter2@h",
            "etcd://root:a@hun/ter2@h",
            "etcd://root:hun#ter2@h",
            "etcd://root:hunter2%@h",
            "etcd://root:hun%zzter2@h",
            "etcd://root:hunter2@h:x",
            "etcd://hunter2@h",
        ] {
            let error = EtcdConfig::from_url(url).expect_err(url).to_string();
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }
}
