//! From a URL to a store: one match on its scheme.
//!
//! A URL may hold a password, also one that is misspelt so that nobody can tell where the password is. So no
//! error of this file says more of it than its scheme.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use leadership_core::{DynStore, Error, InvalidInput, KvStore, MemoryStore};

/// The schemes of this version, with or without their features.
const SCHEMES: &str = "etcd://, consul://, zk:// and memory://";

/// Connects to the store that a URL names.
///
/// | URL | Store |
/// |---|---|
/// | `etcd://user:pass@host1:2379,host2:2379/prefix` | etcd v3, with the feature `etcd` (on by default) |
/// | `consul://host:8500,host2:8500/prefix?token=…` | Consul, with the feature `consul` |
/// | `zk://user:pass@host1:2181,host2:2181/path` | ZooKeeper, with the feature `zk` |
/// | `memory://` or `memory://name` | this process only: the same URL is the same store, as long as it is held |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), leadership::Error> {
/// let store = leadership::connect("memory://").await?;
/// assert_eq!(store.to_string(), "memory");
///
/// let error = leadership::connect("mysql://root:secret@db").await.unwrap_err().to_string();
/// assert!(error.contains("etcd://") && !error.contains("secret"));
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Invalid`] for a URL that can never work, [`Error::Store`] when the store refuses or cannot be reached.
/// Neither shows a password.
pub async fn connect(url: &str) -> Result<DynStore, Error> {
    let (scheme, rest) = split(url)?;
    match scheme {
        "memory" => Ok(memory(rest)?),
        "etcd" => etcd(url).await,
        "consul" => consul(url).await,
        "zk" => zk(url).await,
        "zookeeper" => Err(invalid(
            "zookeeper://…",
            "no store has this scheme",
            "write zk://… for ZooKeeper",
        )),
        _ => Err(invalid(
            format!("{scheme}://…"),
            "no store has this scheme",
            format!("use one of {SCHEMES}"),
        )),
    }
}

/// The scheme, and what follows the `://`.
fn split(url: &str) -> Result<(&str, &str), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    match url.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() && scheme.len() <= 20 && scheme.chars().all(plain) => {
            Ok((scheme, rest))
        }
        _ if url.is_empty() => Err(invalid(
            "\"\"",
            "it is empty",
            "give one such as etcd://127.0.0.1:2379",
        )),
        _ => Err(invalid(
            "(not shown, it may hold a password)",
            "it does not begin with a scheme in small letters and ://",
            "give one such as etcd://127.0.0.1:2379",
        )),
    }
}

fn invalid(shown: impl AsRef<str>, problem: &str, remedy: impl Into<String>) -> Error {
    InvalidInput::new(format!("store URL {}", shown.as_ref()), problem, remedy).into()
}

/// The process's memory store of that name. Two of the same URL have to be one, or each would have its leader.
fn memory(name: &str) -> Result<DynStore, Error> {
    static STORES: Mutex<Option<HashMap<String, Weak<dyn KvStore>>>> = Mutex::new(None);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(plain) {
        return Err(invalid(
            "memory://…",
            "it takes a name of letters, digits and - _ . or none, and nothing else",
            "use memory:// or memory://name",
        ));
    }
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let stores = stores.get_or_insert_default();
    if let Some(store) = stores.get(name).and_then(Weak::upgrade) {
        return Ok(store);
    }
    stores.retain(|_, store| store.strong_count() > 0);
    let store = MemoryStore::new().shared();
    stores.insert(name.to_owned(), Arc::downgrade(&store));
    Ok(store)
}

/// The way to one store, with its feature and without it.
macro_rules! store {
    ($feature:literal, $scheme:ident, $krate:ident::{$config:ident, $store:ident}) => {
        #[cfg(feature = $feature)]
        async fn $scheme(url: &str) -> Result<DynStore, Error> {
            let config = $krate::$config::from_url(url)?;
            Ok(Arc::new($krate::$store::connect(config).await?))
        }

        #[cfg(not(feature = $feature))]
        async fn $scheme(_url: &str) -> Result<DynStore, Error> {
            Err(invalid(
                concat!(stringify!($scheme), "://…"),
                concat!("this program was built without ", $feature),
                concat!(
                    "build it with the feature `",
                    $feature,
                    "` of the crate `leadership`"
                ),
            ))
        }
    };
}

store!("etcd", etcd, leadership_etcd::{EtcdConfig, EtcdStore});
store!("consul", consul, leadership_consul::{ConsulConfig, ConsulStore});
store!("zk", zk, leadership_zk::{ZkConfig, ZkStore});

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        let error = connect(url).await.expect_err("refused");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("store URL"), "{text}");
        text
    }

    #[tokio::test]
    async fn an_unknown_scheme_is_refused_naming_those_that_exist() {
        for url in ["mysql://root:secret@db", "https://secret@db"] {
            let error = refused(url).await;
            assert!(error.contains("zk:// and memory://"), "{error}");
            assert!(error.contains(url.split(':').next().expect("scheme")), "{error}");
        }
    }

    #[tokio::test]
    async fn the_long_name_of_zookeeper_is_refused_with_the_short_one() {
        let error = refused("zookeeper://secret@host").await;
        assert!(error.contains("zk://"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_url_is_refused_without_being_shown() {
        for url in [
            "",
            "secret",
            "root:secret@host:2379",
            "secret!://host",
            "://secret",
            "ETCD://secret",
        ] {
            let error = refused(url).await;
            assert!(error.contains("etcd://127.0.0.1:2379"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_scheme_whose_feature_is_off_names_the_feature() {
        for (scheme, on) in [
            ("etcd", cfg!(feature = "etcd")),
            ("consul", cfg!(feature = "consul")),
            ("zk", cfg!(feature = "zk")),
        ] {
            if !on {
                let error = refused(&format!("{scheme}://root:secret@host")).await;
                assert!(error.contains(&format!("feature `{scheme}`")), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_malformed_url_is_refused_without_its_password() {
        for scheme in ["etcd", "consul", "zk"] {
            for rest in [
                "",
                "root:secret@",
                "root:secret@host:99999",
                "host/?nonsense=secret",
            ] {
                let error = connect(&format!("{scheme}://{rest}")).await.expect_err("refused");
                let text = format!("{error} {error:?}");
                assert!(!text.contains("secret"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn the_same_memory_url_is_the_same_store_while_it_is_held() {
        let one = connect("memory://").await.expect("connected");
        let again = connect("memory://").await.expect("connected");
        let other = connect("memory://other").await.expect("connected");
        assert!(Arc::ptr_eq(&one, &again));
        assert!(!Arc::ptr_eq(&one, &other));
        refused("memory://secret@host").await;
    }
}
