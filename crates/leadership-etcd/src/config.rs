//! What a store is reached with: endpoints, prefix, credentials, TLS. Holds no connection and does no I/O;
//! [`url`](crate::url) fills it from a URL, [`client`](crate::client) connects with it.

use std::fmt;
use std::time::Duration;

use leadership_core::InvalidInput;
use leadership_core::address::{self, Pem, Tls};

use crate::error::STORE;

/// The port of an endpoint that names none: etcd's client port.
const DEFAULT_PORT: u16 = 2379;
/// A prefix longer than this would leave too little of a key for the election's name.
pub(crate) const PREFIX_MAX: usize = 512;

/// How to reach an etcd cluster, and where in it the elections are.
///
/// ```
/// use leadership_etcd::EtcdConfig;
///
/// let config = EtcdConfig::new(["10.0.0.1", "10.0.0.2:2379", "[::1]:2379"])?
///     .with_prefix("services")
///     .with_user("scheduler", "secret");
/// assert_eq!(config.to_string(), "etcd://10.0.0.1:2379,10.0.0.2:2379,[::1]:2379/services");
/// # Ok::<(), leadership_core::InvalidInput>(())
/// ```
///
/// `Debug` and `Display` show no password and no key.
#[derive(Clone)]
pub struct EtcdConfig {
    pub(crate) endpoints: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
}

/// Name and password of an etcd user.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl EtcdConfig {
    /// The time an attempt to connect may take unless told otherwise: short, because the next endpoint is
    /// tried after it, within the time that one request has.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// A configuration with these endpoints, each `host` or `host:port`; an IPv6 address in brackets. The
    /// port is 2379 unless given.
    ///
    /// # Errors
    /// When there is none, or one is not of this form.
    pub fn new<E: AsRef<str>>(endpoints: impl IntoIterator<Item = E>) -> Result<Self, InvalidInput> {
        Ok(Self {
            endpoints: address::endpoints(STORE, endpoints, DEFAULT_PORT)?,
            prefix: String::new(),
            credentials: None,
            tls: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
        })
    }

    /// What stands before every election's name, followed by a `/`. Used verbatim; none unless given.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The etcd user to sign in as, with its password.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials {
            user: user.into(),
            password: password.into(),
        });
        self
    }

    /// Connects with TLS and, unless [`with_ca`](Self::with_ca) is given, trusts the system's authorities.
    #[must_use]
    pub fn with_tls(mut self) -> Self {
        self.tls.get_or_insert_default();
        self
    }

    /// Connects with TLS and trusts these authorities, and no others.
    #[must_use]
    pub fn with_ca(mut self, ca: Pem) -> Self {
        self.tls.get_or_insert_default().ca = Some(ca);
        self
    }

    /// Connects with TLS and presents this client certificate.
    #[must_use]
    pub fn with_identity(mut self, cert: Pem, key: Pem) -> Self {
        self.tls.get_or_insert_default().identity = Some((cert, key));
        self
    }

    /// Connects with TLS and expects this name in the servers' certificates, instead of the endpoint's host.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.get_or_insert_default().server_name = Some(name.into());
        self
    }

    /// How long one attempt to connect may take; the next endpoint is tried after it.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The endpoints, each `host:port`.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// What stands before every election's name; empty if nothing does.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The user to sign in as.
    pub fn user(&self) -> Option<&str> {
        self.credentials.as_ref().map(|c| c.user.as_str())
    }

    /// What the builder's methods could not refuse by themselves.
    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        if self.prefix.len() > PREFIX_MAX || self.prefix.chars().any(char::is_control) {
            let start: String = self.prefix.chars().take(40).collect();
            return Err(InvalidInput::new(
                format!("prefix {start:?}"),
                format!("it has {} bytes or a control character", self.prefix.len()),
                format!("use at most {PREFIX_MAX} bytes of printable text"),
            ));
        }
        if self.connect_timeout.is_zero() {
            return Err(InvalidInput::new(
                "connect_timeout 0s",
                "it is zero",
                "give at least 100ms",
            ));
        }
        if self.credentials.as_ref().is_some_and(|c| c.user.is_empty()) {
            return Err(InvalidInput::new(
                "user \"\"",
                "it is empty",
                "give the name of an etcd user",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd://{}", self.endpoints.join(","))?;
        if !self.prefix.is_empty() {
            f.write_str(&address::path(&self.prefix))?;
        }
        Ok(())
    }
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.prefix)
            .field("user", &self.user())
            .field("tls", &self.tls)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_get_the_default_port_and_are_named_once() {
        let config = EtcdConfig::new(["a", "a:2379", "b:1", "[::1]", "[fe80::2]:4"]).expect("accepted");
        assert_eq!(config.endpoints(), ["a:2379", "b:1", "[::1]:2379", "[fe80::2]:4"]);
    }

    #[test]
    fn endpoints_are_refused_by_name() {
        for bad in [
            "", "a b", "::1", "a:0", "a:65536", "a:x", "http://a", "[::1", "[zz]", "[::1]x", ":1",
        ] {
            let error = EtcdConfig::new([bad]).expect_err(bad).to_string();
            assert!(error.contains(&format!("endpoint {bad:?}")), "{error}");
        }
        let error = EtcdConfig::new(Vec::<String>::new())
            .expect_err("none")
            .to_string();
        assert!(error.contains("at least one"), "{error}");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = EtcdConfig::new(["h"])
            .expect("accepted")
            .with_user("root", "hunter2")
            .with_identity(Pem::text("CERTIFICATE"), Pem::text("PRIVATE"));
        let shown = format!("{config:?} {config}");
        assert!(shown.contains("root"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("PRIVATE"),
            "{shown}"
        );
    }

    #[test]
    fn bad_options_are_refused() {
        let config = || EtcdConfig::new(["h"]).expect("accepted");
        for bad in [
            config().with_prefix("x".repeat(PREFIX_MAX + 1)),
            config().with_prefix("a\nb"),
            config().with_connect_timeout(Duration::ZERO),
            config().with_user("", "x"),
        ] {
            bad.check().expect_err("refused");
        }
        config().with_prefix("/a//b").check().expect("accepted");
    }
}
