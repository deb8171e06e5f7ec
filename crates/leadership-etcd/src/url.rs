//! `etcd://user:password@host:port,host:port/prefix?ca=/path` as an [`EtcdConfig`]. Written by hand because no
//! URL has several hosts for the common parsers. No message repeats what may be a part of a password.

use std::time::Duration;

use leadership_core::InvalidInput;

use crate::config::{EtcdConfig, Pem};

const KNOWN: &str = "ca, cert, connect_timeout, key, server_name, tls";
const FORM: &str = "write etcd://user:password@host:port,host:port/prefix?option=value";

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
        let Some(rest) = url.strip_prefix("etcd://") else {
            let scheme = url.split_once("://").map_or("none", |(scheme, _)| scheme);
            return Err(InvalidInput::new(
                format!("URL scheme {scheme:?}"),
                "it is not etcd://",
                FORM,
            ));
        };
        if rest.contains('#') {
            return Err(InvalidInput::new("URL of etcd", "it has a #", "write # as %23"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if rest.contains('@') {
            // With an unescaped / or ? in the password, what looks like a host is a part of it.
            return Err(InvalidInput::new(
                "URL of etcd",
                "an @ comes after a / or ?",
                "write / as %2F, ? as %3F and @ as %40 in user, password, prefix and options",
            ));
        }
        let (prefix, query) = rest.split_once('?').unwrap_or((rest, ""));
        let prefix = prefix.strip_prefix('/').unwrap_or(prefix);
        let (userinfo, hosts) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let mut config = Self::new(hosts.split(','))?;
        if let Some(userinfo) = userinfo {
            let Some((user, password)) = userinfo.split_once(':') else {
                return Err(InvalidInput::new(
                    "URL of etcd",
                    "it has a user and no password",
                    FORM,
                ));
            };
            config = config.with_user(decode("user", user)?, decode("password", password)?);
        }
        let prefix = decode("prefix", prefix)?;
        config = config.with_prefix(prefix.strip_suffix('/').unwrap_or(&prefix));
        config = options(config, query)?;
        config.check()?;
        Ok(config)
    }
}

/// Applies the query's options.
fn options(mut config: EtcdConfig, query: &str) -> Result<EtcdConfig, InvalidInput> {
    let mut seen: Vec<&str> = Vec::new();
    let (mut tls, mut cert, mut key) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let refuse = |problem: &str, remedy: String| {
            Err(InvalidInput::new(
                format!("option {name} of the etcd URL"),
                problem.to_owned(),
                remedy,
            ))
        };
        if seen.contains(&name) {
            return refuse("it is given twice", "give it once".to_owned());
        }
        seen.push(name);
        let value = decode(name, value)?;
        if value.is_empty() {
            return refuse("it has no value", format!("write {name}=value"));
        }
        match name {
            "ca" => config = config.with_ca(Pem::file(value)),
            "cert" => cert = Some(value),
            "key" => key = Some(value),
            "server_name" => config = config.with_server_name(value),
            "tls" => match value.as_str() {
                "true" => tls = Some(true),
                "false" => tls = Some(false),
                _ => return refuse("it is neither true nor false", "write tls=true".to_owned()),
            },
            "connect_timeout" => match duration(&value) {
                Some(limit) => config = config.with_connect_timeout(limit),
                None => return refuse("it is no time", "write connect_timeout=2s, or 500ms".to_owned()),
            },
            _ => return refuse("it is not known", format!("known are {KNOWN}")),
        }
    }
    match (cert, key) {
        (Some(cert), Some(key)) => config = config.with_identity(Pem::file(cert), Pem::file(key)),
        (None, None) => {}
        _ => {
            return Err(InvalidInput::new(
                "options cert and key of the etcd URL",
                "only one of them is given",
                "give both, or none",
            ));
        }
    }
    match tls {
        Some(true) => config = config.with_tls(),
        Some(false) if config.tls.is_some() => {
            return Err(InvalidInput::new(
                "option tls=false of the etcd URL",
                "ca, cert, key or server_name turn TLS on",
                "leave out one or the other",
            ));
        }
        _ => {}
    }
    Ok(config)
}

/// `2s`, `500ms`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// Percent-decodes a part of the URL, named `what` in the error; the part itself may be secret.
fn decode(what: &str, text: &str) -> Result<String, InvalidInput> {
    let refuse = |problem: &str| {
        InvalidInput::new(
            format!("{what} in the etcd URL"),
            problem.to_owned(),
            "write % as %25, and other bytes as % and two hexadecimal digits",
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (hex(bytes.next()), hex(bytes.next())) {
            (Some(high), Some(low)) => out.push((high * 16 + low) as u8),
            _ => return Err(refuse("its % is not followed by two hexadecimal digits")),
        }
    }
    String::from_utf8(out).map_err(|_| refuse("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
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
