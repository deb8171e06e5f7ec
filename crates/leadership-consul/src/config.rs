//! What a store is reached with: addresses, prefix, token, TLS, and how sessions are kept alive. Holds no
//! connection and does no I/O; [`url`](crate::url) fills it from a URL, [`client`](crate::client) connects with it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leadership_core::address::{self, Pem, Tls};
use leadership_core::{ElectionName, InvalidInput};

use crate::error::STORE;

/// The port of an address that names none: Consul's HTTP port.
const DEFAULT_PORT: u16 = 8500;
/// A prefix longer than this would leave too little of a key for the election's name.
pub(crate) const PREFIX_MAX: usize = 512;

/// How to reach Consul, and where in it the elections are.
///
/// ```
/// use leadership_consul::{ConsulConfig, Liveness};
///
/// let config = ConsulConfig::new(["127.0.0.1"])?
///     .with_prefix("services")
///     .with_token("b1gs33cr3t");
/// assert_eq!(config.to_string(), "consul://127.0.0.1:8500/services");
/// assert_eq!(config.liveness(), Liveness::Check);
/// # Ok::<(), leadership_core::InvalidInput>(())
/// ```
///
/// `Debug` and `Display` show no token and no key.
#[derive(Clone)]
pub struct ConsulConfig {
    pub(crate) addresses: Vec<Address>,
    pub(crate) prefix: String,
    pub(crate) token: Option<Token>,
    pub(crate) datacenter: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) partition: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) layout: Layout,
    liveness: Option<Liveness>,
    pub(crate) connect_timeout: Duration,
}

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `host:port`.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// An ACL token, or the file that has it.
#[derive(Clone)]
pub(crate) enum Token {
    Text(String),
    File(PathBuf),
}

/// How Consul learns that a process is alive. See the crate's text for what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A TTL check at a local agent: seconds to the next leader. The default where the address is local.
    Check,
    /// A session's own TTL, of at least ten seconds, at the servers: up to three times that to the next leader.
    Session,
}

/// Which key an election is held on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// The election's name itself, as Go's `api.Lock` and docker/leadership have it.
    #[default]
    Key,
    /// The key `.lock` below the election's name, as `consul lock` has it.
    LockCommand,
}

impl ConsulConfig {
    /// The time an attempt to connect may take unless told otherwise: short, because the next address is tried
    /// after it, within the time that one request has.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

    /// A configuration with these addresses of agents or servers, each `host` or `host:port`; an IPv6 address in
    /// brackets. The port is 8500 unless given.
    ///
    /// # Errors
    /// When there is none, or one is not of this form.
    pub fn new<E: AsRef<str>>(addresses: impl IntoIterator<Item = E>) -> Result<Self, InvalidInput> {
        let addresses = address::endpoints(STORE, addresses, DEFAULT_PORT)?;
        Ok(Self::at(addresses.into_iter().map(Address::Tcp).collect()))
    }

    /// A configuration with the unix socket that an agent listens on.
    pub fn new_unix(socket: impl Into<PathBuf>) -> Self {
        Self::at(vec![Address::Unix(socket.into())])
    }

    fn at(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            prefix: String::new(),
            token: None,
            datacenter: None,
            namespace: None,
            partition: None,
            tls: None,
            layout: Layout::Key,
            liveness: None,
            connect_timeout: Self::CONNECT_TIMEOUT,
        }
    }

    /// What stands before every election's name, followed by a `/`. None unless given.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The ACL token. It needs `key:write` on the elections' keys and those that begin with them,
    /// `session:write` on the node, and for [`Liveness::Check`] `service:write` on `leadership`.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::Text(token.into()));
        self
    }

    /// A file with the ACL token, read once when the store is made.
    #[must_use]
    pub fn with_token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token = Some(Token::File(path.into()));
        self
    }

    /// The datacenter that holds the elections; the agent's own unless given. Sessions are bound to a node of
    /// the agent's datacenter, so another one needs the address of an agent there as well.
    #[must_use]
    pub fn with_datacenter(mut self, datacenter: impl Into<String>) -> Self {
        self.datacenter = Some(datacenter.into());
        self
    }

    /// The namespace that holds the elections (Consul Enterprise).
    #[must_use]
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// The admin partition that holds the elections (Consul Enterprise 1.11 or later). Consul before 1.11 refuses
    /// who stands in one, and tells who only follows of the elections outside of any.
    #[must_use]
    pub fn with_partition(mut self, partition: impl Into<String>) -> Self {
        self.partition = Some(partition.into());
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

    /// Connects with TLS and expects this name in the servers' certificates, instead of the address's host.
    #[must_use]
    pub fn with_server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.get_or_insert_default().server_name = Some(name.into());
        self
    }

    /// Which key an election is held on; [`Layout::Key`] unless given.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// How Consul learns that this process is alive.
    #[must_use]
    pub fn with_liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = Some(liveness);
        self
    }

    /// How long one attempt to connect may take; the next address is tried after it.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// What stands before every election's name; empty if nothing does.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How Consul learns that this process is alive: as given, else by a check where the only address is this
    /// machine's.
    pub fn liveness(&self) -> Liveness {
        self.liveness.unwrap_or_else(|| match &self.addresses[..] {
            [only] if only.is_local() => Liveness::Check,
            _ => Liveness::Session,
        })
    }

    /// What the builder's methods could not refuse by themselves.
    pub(crate) fn check(&self) -> Result<(), InvalidInput> {
        if self.prefix.len() > PREFIX_MAX {
            let start: String = self.prefix.chars().take(40).collect();
            return Err(InvalidInput::new(
                format!("prefix {start:?}…"),
                format!("it has {} bytes", self.prefix.len()),
                format!("use at most {PREFIX_MAX} bytes"),
            ));
        }
        if !self.prefix.is_empty() {
            check_key("prefix", &self.prefix)?;
        }
        let on_socket = matches!(self.addresses[..], [Address::Unix(_), ..]);
        if on_socket && self.tls.is_some() {
            return Err(InvalidInput::new(
                "socket with TLS",
                "Consul has no TLS on a unix socket",
                "leave out tls=, ca=, cert=, key= and server_name=",
            ));
        }
        if self.connect_timeout.is_zero() {
            return Err(InvalidInput::new(
                "connect_timeout 0s",
                "it is zero",
                "give at least 100ms",
            ));
        }
        for (name, value) in [
            ("dc", &self.datacenter),
            ("ns", &self.namespace),
            ("partition", &self.partition),
        ] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(InvalidInput::new(
                    format!("{name} \"\""),
                    "it is empty",
                    "give a name, or leave it out",
                ));
            }
        }
        Ok(())
    }

    /// The longest election name, so that its longest key is still one that Consul takes.
    pub(crate) fn name_max(&self) -> usize {
        ElectionName::MAX_BYTES.saturating_sub(self.prefix.len() + 1)
    }
}

/// Refuses a key that Consul's HTTP server cannot be asked for: it cleans paths as file systems do
/// (net/http `cleanPath`), and answers a request for another key, or a redirect.
pub(crate) fn check_key(what: &str, key: &str) -> Result<(), InvalidInput> {
    let problem = if key.split('/').any(str::is_empty) {
        "it begins or ends with a / or has two of them in a row"
    } else if key.split('/').any(|part| matches!(part, "." | "..")) {
        "it has a part . or .."
    } else if key.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    let start: String = key.chars().take(80).collect();
    Err(InvalidInput::new(
        format!("{what} {start:?}"),
        problem,
        "Consul takes parts with a / between them, for example service/scheduler",
    ))
}

impl Address {
    fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
                let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
                host == "localhost" || ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Token {
    /// The token itself.
    pub(crate) fn read(&self) -> Result<String, InvalidInput> {
        let (token, shown) = match self {
            Self::Text(token) => (token.clone(), "token (not shown)".to_owned()),
            Self::File(path) => {
                let shown = format!("token_file {}", path.display());
                match std::fs::read_to_string(path) {
                    Ok(text) => (text.trim().to_owned(), shown),
                    Err(e) => {
                        return Err(InvalidInput::new(
                            shown,
                            format!("it cannot be read: {e}"),
                            "give the path of a text file that this process may read",
                        ));
                    }
                }
            }
        };
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidInput::new(
                shown,
                "it is empty or not printable",
                "give an ACL token's SecretID",
            ));
        }
        Ok(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("(not shown)"),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl fmt::Display for ConsulConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("consul://")?;
        for (i, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if i == 0 { "" } else { "," })?;
        }
        if !self.prefix.is_empty() {
            f.write_str(&address::path(&self.prefix))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConsulConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulConfig")
            .field("addresses", &self.addresses)
            .field("prefix", &self.prefix)
            .field("token", &self.token)
            .field("datacenter", &self.datacenter)
            .field("namespace", &self.namespace)
            .field("partition", &self.partition)
            .field("tls", &self.tls)
            .field("layout", &self.layout)
            .field("liveness", &self.liveness())
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_the_default_at_a_local_agent_only() {
        for (addresses, liveness) in [
            (&["127.0.0.1"][..], Liveness::Check),
            (&["localhost:1"], Liveness::Check),
            (&["[::1]"], Liveness::Check),
            (&["10.0.0.1"], Liveness::Session),
            (&["127.0.0.1:1", "127.0.0.1:2"], Liveness::Session),
        ] {
            assert_eq!(
                ConsulConfig::new(addresses).expect("accepted").liveness(),
                liveness,
                "{addresses:?}"
            );
        }
        assert_eq!(ConsulConfig::new_unix("/s").liveness(), Liveness::Check);
        let told = ConsulConfig::new_unix("/s").with_liveness(Liveness::Session);
        assert_eq!(told.liveness(), Liveness::Session);
    }

    #[test]
    fn keys_that_consul_would_take_for_others_are_refused() {
        for bad in ["/a", "a/", "a//b", ".", "a/../b", "a/.", "a\nb", ""] {
            let error = check_key("election name", bad).expect_err(bad).to_string();
            assert!(error.contains("service/scheduler"), "{error}");
        }
        for good in ["a", "a/b", "a b/ä", "a.b/..c", "a%2F?x=1#y"] {
            check_key("election name", good).expect(good);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let config = ConsulConfig::new(["h"])
            .expect("accepted")
            .with_token("hunter2")
            .with_identity(Pem::text("CERTIFICATE"), Pem::text("PRIVATE"));
        let shown = format!("{config:?} {config}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("PRIVATE"),
            "{shown}"
        );
        let error = ConsulConfig::new(["h"])
            .expect("accepted")
            .with_token("hun ter2")
            .token
            .expect("given")
            .read()
            .expect_err("refused");
        assert!(!error.to_string().contains("ter2"), "{error}");
    }

    #[test]
    fn bad_options_are_refused() {
        let config = || ConsulConfig::new(["h"]).expect("accepted");
        for bad in [
            config().with_prefix("x".repeat(PREFIX_MAX + 1)),
            config().with_prefix("/a"),
            config().with_connect_timeout(Duration::ZERO),
            config().with_namespace(""),
            ConsulConfig::new_unix("/s").with_tls(),
        ] {
            bad.check().expect_err("refused");
        }
        config().with_prefix("a/b").check().expect("accepted");
    }
}
