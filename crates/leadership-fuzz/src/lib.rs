//! Fuzzing of everything that reads what others wrote: URLs, names, and what stands in a store. `cargo xtask fuzz`.
//!
//! The targets are in `fuzz_targets`, what they assert is beside the code: in the `fuzzing` modules of the stores'
//! crates, which are there for cargo-fuzz and for tests only, and here where no store's inside is needed. The inputs in
//! `corpus` are kept: each target begins with them, and so do the unit tests.

use std::fmt::{Debug, Display};

use leadership_consul::ConsulConfig;
use leadership_core::InvalidInput;
use leadership_etcd::EtcdConfig;
use leadership_zk::ZkConfig;

/// What a target says that was not started by cargo-fuzz.
pub const HOW: &str = "this is a fuzz target: run it by `cargo xtask fuzz`";

/// What must not be shown.
const SECRET: &str = "hunter2";

/// A URL is read or refused, what is shown of it is read again as the same, and neither shows a secret. The first line
/// is what follows `scheme://`, the second stands within a password and a token.
pub fn url(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    // It would not be the secret's.
    if input.contains(SECRET) {
        return;
    }
    let (rest, within) = input.split_once('\n').unwrap_or((&input, ""));
    let secret = format!("{SECRET}{within}{SECRET}");
    let (hosts, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    for rest in [rest.to_owned(), format!("u:{secret}@{rest}")] {
        check("etcd", &rest, EtcdConfig::from_url, EtcdConfig::prefix);
        check("zk", &rest, ZkConfig::from_url, ZkConfig::prefix);
    }
    let mark = if tail.contains('?') { '&' } else { '?' };
    for rest in [rest.to_owned(), format!("{hosts}{tail}{mark}token={secret}")] {
        check("consul", &rest, ConsulConfig::from_url, ConsulConfig::prefix);
    }
}

fn check<C: Debug + Display>(
    scheme: &str,
    rest: &str,
    parse: impl Fn(&str) -> Result<C, InvalidInput>,
    prefix: impl Fn(&C) -> &str,
) {
    let is_secret = |shown: &str| shown.contains(SECRET);
    match parse(&format!("{scheme}://{rest}")) {
        Err(error) => {
            let error = error.to_string();
            assert!(!is_secret(&error), "{rest:?}: {error}");
            assert!(error.len() < 4 * rest.len() + 1000, "{rest:?}: {error}");
        }
        Ok(config) => {
            let shown = config.to_string();
            // An & ends a token, and what follows is another option: nobody can know that it was meant otherwise.
            let split = rest
                .split_once(&format!("token={SECRET}"))
                .is_some_and(|(_, token)| token.contains('&'));
            assert!(
                split || !is_secret(&format!("{shown} {config:?}")),
                "{rest:?}: {shown}"
            );
            if rest.contains("socket=") {
                return;
            }
            let again = parse(&shown).unwrap_or_else(|error| panic!("{rest:?}: {shown}: {error}"));
            assert_eq!(prefix(&again), prefix(&config), "{rest:?}: {shown}");
            assert_eq!(again.to_string(), shown, "{rest:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kept_inputs_hold() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/url");
        for input in std::fs::read_dir(corpus).expect("the corpus is kept") {
            super::url(&std::fs::read(input.expect("a file").path()).expect("read"));
        }
    }
}
