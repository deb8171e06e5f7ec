//! What a store is reached with: servers, prefix, layout, credentials. Holds no connection and does no I/O;
//! [`url`](crate::url) fills it from a URL, [`client`](crate::client) connects with it.

use std::fmt;
use std::time::Duration;

use leadership_core::InvalidInput;
use leadership_core::address::{self, Pem, Tls};
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, CreateOptions, Permission};

use crate::error::STORE;
use crate::layout::{Layout, check_root};

/// The port of a server that names none: ZooKeeper's client port.
const DEFAULT_PORT: u16 = 2181;
/// A prefix longer than this would leave too little of a path for the election's name.
pub(crate) const PREFIX_MAX: usize = 512;

/// How to reach a ZooKeeper ensemble, and where in it the elections are.
///
/// ```
/// use leadership_zk::{Layout, ZkConfig};
///
/// let config = ZkConfig::new(["10.0.0.1", "10.0.0.2:2181", "[::1]:2181"])?
///     .with_prefix("services")
///     .with_layout(Layout::Lock)
///     .with_user("scheduler", "secret");
/// assert_eq!(config.to_string(), "zk://10.0.0.1:2181,10.0.0.2:2181,[::1]:2181/services");
/// # Ok::<(), leadership_core::InvalidInput>(())
/// ```
///
/// `Debug` and `Display` show no password and no key.
#[derive(Clone)]
pub struct ZkConfig {
    pub(crate) servers: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) layout: Layout,
    parents: Option<Parents>,
    pub(crate) acl: Option<ZkAcl>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) tls: Option<Tls>,
    pub(crate) docker_leader: bool,
    pub(crate) connect_timeout: Duration,
}

/// Name and password for ZooKeeper's `digest` scheme.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What the nodes are above the contenders' entries, where they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Parents {
    /// The server removes them some time after the last entry has gone (ZooKeeper 3.5). Curator does it so.
    Container,
    /// They stay. kazoo and go-zookeeper do it so.
    Persistent,
}

/// Who may do what with the nodes that this store makes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ZkAcl {
    /// Anybody everything: `world:anyone:cdrwa`. The default without a user.
    World,
    /// Whoever signs in as the same user everything, and nobody else anything. The default with a user.
    Creator,
    /// These: scheme, id and permissions out of `cdrwa`, as `zkCli.sh` writes them.
    List(Vec<(String, String, String)>),
}

impl ZkConfig {
    /// The time an attempt to connect may take, and a connection may be silent, unless told otherwise: short,
    /// because the next server is tried after it, within the life of a session.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

    /// A configuration with these servers, each `host` or `host:port`; an IPv6 address in brackets. The port
    /// is 2181 unless given.
    ///
    /// # Errors
    /// When there is none, or one is not of this form.
    pub fn new<E: AsRef<str>>(servers: impl IntoIterator<Item = E>) -> Result<Self, InvalidInput> {
        Ok(Self {
            servers: address::endpoints(STORE, servers, DEFAULT_PORT)?,
            prefix: String::new(),
            layout: Layout::default(),
            parents: None,
            acl: None,
            credentials: None,
            tls: None,
            docker_leader: false,
            connect_timeout: Self::CONNECT_TIMEOUT,
        })
    }

    /// The path below which all elections are, without the `/` before and after it, as ZooKeeper's `chroot` is
    /// for other clients; none unless given. It is made where it is missing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How the contenders' entries are named: whose elections these are.
    #[must_use]
    pub fn with_layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// What the nodes above the entries are, where they are missing. Unless given, what the others of the layout make:
    /// containers, but kazoo and docker/leadership count on nodes that stay.
    #[must_use]
    pub fn with_parents(mut self, parents: Parents) -> Self {
        self.parents = Some(parents);
        self
    }

    /// What the nodes above the entries are.
    pub fn parents(&self) -> Parents {
        let stay = self.layout == Layout::Kazoo || self.docker_leader;
        self.parents.unwrap_or(if stay {
            Parents::Persistent
        } else {
            Parents::Container
        })
    }

    /// Who may do what with the nodes that this store makes.
    #[must_use]
    pub fn with_acl(mut self, acl: ZkAcl) -> Self {
        self.acl = Some(acl);
        self
    }

    /// The user to sign in as, with its password, by the scheme `digest`.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some(Credentials {
            user: user.into(),
            password: password.into(),
        });
        self
    }

    /// Connects with TLS and, unless [`with_ca`](Self::with_ca) is given, trusts the system's authorities. The servers'
    /// certificates have to name their addresses. Needs the feature `tls`.
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

    /// Whether a leader also writes its value on the election's own node, where followers of docker/leadership
    /// (libkv) read it. As with the original the value stays there after the leader is gone. Only with
    /// [`Layout::Lock`], which is docker/leadership's.
    #[must_use]
    pub fn with_docker_leader(mut self, on: bool) -> Self {
        self.docker_leader = on;
        self
    }

    /// How long one attempt to connect may take, and how long a connection may be silent; the next server is
    /// tried after it. At most an eighth of a session's timeout counts.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// The servers, each `host:port`.
    pub fn servers(&self) -> &[String] {
        &self.servers
    }

    /// The path below which all elections are; empty if they are at the root.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How the contenders' entries are named.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The user to sign in as.
    pub fn user(&self) -> Option<&str> {
        self.credentials.as_ref().map(|c| c.user.as_str())
    }

    /// Who may do what, as configured or by default.
    pub(crate) fn acl(&self) -> &ZkAcl {
        match &self.acl {
            Some(acl) => acl,
            None if self.credentials.is_some() => &ZkAcl::Creator,
            None => &ZkAcl::World,
        }
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
            check_root("prefix", &self.prefix)?;
        }
        if self.connect_timeout < Duration::from_millis(100) {
            return Err(InvalidInput::new(
                format!("connect_timeout {:?}", self.connect_timeout),
                "it is too short",
                "give at least 100ms",
            ));
        }
        if let Some(Credentials { user, .. }) = &self.credentials
            && (user.is_empty() || user.contains(':'))
        {
            return Err(InvalidInput::new(
                format!("user {user:?}"),
                "it is empty or has a colon",
                "give the name of a user as in the ACLs of scheme digest",
            ));
        }
        if self.docker_leader && self.layout != Layout::Lock {
            return Err(InvalidInput::new(
                "docker_leader",
                format!(
                    "docker/leadership does not stand in elections of the layout {}",
                    self.layout
                ),
                "give layout=lock as well",
            ));
        }
        Permissions::new(self).map(drop)
    }
}

/// The ACL as the client takes it.
pub(crate) struct Permissions {
    list: Option<Vec<Acl>>,
    creator: bool,
}

impl Permissions {
    pub(crate) fn new(config: &ZkConfig) -> Result<Self, InvalidInput> {
        let list = match config.acl() {
            ZkAcl::World | ZkAcl::Creator => None,
            ZkAcl::List(list) if list.is_empty() => {
                return Err(InvalidInput::new(
                    "acl",
                    "it is empty",
                    "give scheme:id:permissions, such as world:anyone:r",
                ));
            }
            ZkAcl::List(list) => Some(list.iter().map(acl).collect::<Result<_, _>>()?),
        };
        let creator = *config.acl() == ZkAcl::Creator;
        if creator && config.credentials.is_none() {
            return Err(InvalidInput::new(
                "acl=creator",
                "there is no user who could be the creator",
                "give a user and a password, or acl=world",
            ));
        }
        Ok(Self { list, creator })
    }

    pub(crate) fn of(&self, mode: CreateMode) -> CreateOptions<'_> {
        mode.with_acls(match &self.list {
            Some(list) => Acls::new(list),
            None if self.creator => Acls::creator_all(),
            None => Acls::anyone_all(),
        })
    }
}

fn acl((scheme, id, letters): &(String, String, String)) -> Result<Acl, InvalidInput> {
    let mut permission = Permission::NONE;
    for letter in letters.chars() {
        permission = permission
            | match letter {
                'c' => Permission::CREATE,
                'd' => Permission::DELETE,
                'r' => Permission::READ,
                'w' => Permission::WRITE,
                'a' => Permission::ADMIN,
                _ => {
                    return Err(InvalidInput::new(
                        format!("acl permissions {letters:?}"),
                        format!("{letter:?} is none"),
                        "give some of c, d, r, w and a",
                    ));
                }
            };
    }
    if letters.is_empty() || scheme.is_empty() {
        return Err(InvalidInput::new(
            // The id may be the hash of a password.
            format!("acl {scheme}:…:{letters}"),
            "its scheme or its permissions are missing",
            "give scheme:id:permissions, such as world:anyone:r",
        ));
    }
    Ok(Acl::new(permission, AuthId::new(scheme, id)))
}

impl fmt::Display for ZkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zk://{}", self.servers.join(","))?;
        if !self.prefix.is_empty() {
            f.write_str(&address::path(&self.prefix))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ZkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of an ACL the id may be the hash of a password.
        let acl: Vec<_> = match self.acl() {
            ZkAcl::List(list) => list
                .iter()
                .map(|(scheme, _, letters)| format!("{scheme}:…:{letters}"))
                .collect(),
            other => vec![format!("{other:?}")],
        };
        f.debug_struct("ZkConfig")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .field("layout", &self.layout)
            .field("parents", &self.parents())
            .field("acl", &acl)
            .field("user", &self.user())
            .field("tls", &self.tls)
            .field("docker_leader", &self.docker_leader)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ZkConfig {
        ZkConfig::new(["h"]).expect("accepted")
    }

    #[test]
    fn servers_get_the_default_port_and_are_named_once() {
        let config = ZkConfig::new(["a", "a:2181", "b:1", "[::1]"]).expect("accepted");
        assert_eq!(config.servers(), ["a:2181", "b:1", "[::1]:2181"]);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let list = vec![("digest".to_owned(), "root:c2VjcmV0".to_owned(), "r".to_owned())];
        let config = config()
            .with_user("root", "hunter2")
            .with_acl(ZkAcl::List(list))
            .with_identity(Pem::text("CERTIFICATE"), Pem::text("PRIVATE"));
        let shown = format!("{config:?} {config}");
        assert!(shown.contains("root"), "{shown}");
        for secret in ["hunter2", "PRIVATE", "c2VjcmV0"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn the_acl_follows_from_the_user_unless_given() {
        assert_eq!(*config().acl(), ZkAcl::World);
        assert_eq!(*config().with_user("u", "p").acl(), ZkAcl::Creator);
        assert_eq!(
            *config().with_user("u", "p").with_acl(ZkAcl::World).acl(),
            ZkAcl::World
        );
    }

    #[test]
    fn the_nodes_above_stay_where_others_of_the_layout_count_on_it() {
        let kazoo = config().with_layout(Layout::Kazoo);
        assert_eq!(config().parents(), Parents::Container);
        assert_eq!(kazoo.parents(), Parents::Persistent);
        assert_eq!(
            kazoo.with_parents(Parents::Container).parents(),
            Parents::Container
        );
        let docker = config().with_layout(Layout::Lock).with_docker_leader(true);
        assert_eq!(docker.parents(), Parents::Persistent);
    }

    #[test]
    fn bad_options_are_refused() {
        let entry = |letters: &str| ZkAcl::List(vec![("world".into(), "anyone".into(), letters.into())]);
        for (config, part) in [
            (config().with_prefix("x".repeat(PREFIX_MAX + 1)), "513 bytes"),
            (config().with_prefix("/a"), "prefix"),
            (config().with_connect_timeout(Duration::ZERO), "100ms"),
            (config().with_user("", "p"), "user"),
            (config().with_user("a:b", "p"), "colon"),
            (config().with_docker_leader(true), "layout=lock"),
            (config().with_acl(ZkAcl::Creator), "acl=world"),
            (config().with_acl(ZkAcl::List(Vec::new())), "empty"),
            (config().with_acl(entry("rx")), "'x'"),
            (config().with_acl(entry("")), "acl world:…:"),
        ] {
            let error = config.check().expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        let fine = config()
            .with_layout(Layout::Lock)
            .with_docker_leader(true)
            .with_acl(entry("cdrwa"));
        fine.check().expect("accepted");
    }
}
