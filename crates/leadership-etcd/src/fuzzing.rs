//! What fuzzing asserts of the keys in etcd: for cargo-fuzz and for tests only.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::sync::{Arc, OnceLock};

use leadership_core::{ElectionName, Place, SessionId};

use crate::client::Endpoints;
use crate::config::EtcdConfig;
use crate::line::{Line, lease_of, range_of, session_of};

fn line(prefix: &str) -> Line {
    static ENDPOINTS: OnceLock<Arc<Endpoints>> = OnceLock::new();
    let endpoints = ENDPOINTS.get_or_init(|| {
        let config = EtcdConfig::new(["h"]).expect("a host");
        Arc::new(Endpoints::new(&config).expect("no files"))
    });
    Line::new(Arc::clone(endpoints), prefix)
}

/// A name is used verbatim, and a key leads back to its session. One name, or a prefix and a name, on lines.
pub fn names(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (prefix, name) = input.split_once('\n').unwrap_or(("", &input));
    let Ok(election) = ElectionName::new(name) else {
        return;
    };
    assert_eq!(election.as_str(), name);
    let line = line(prefix);
    let range = line.range(&election);
    for lease in [1, 0x694d_8a1f, i64::MAX] {
        let key = line.key(&election, lease);
        let session = session_of(&range, key.as_bytes(), lease).expect("a contender's");
        assert_eq!(lease_of("fuzz", &session).expect("a lease"), lease);
        assert!(key.starts_with(prefix) && key.contains(name));
        let place = Place {
            election: election.clone(),
            session,
            key: key.into(),
            fence: 1,
        };
        assert_eq!(range_of(&place), range);
    }
}

/// No key is taken for the entry of another election, and none for a contender's that is not. Eight bytes of a lease,
/// then two names and any key on lines.
pub fn keys(input: &[u8]) {
    let Some((lease, rest)) = input.split_first_chunk() else {
        return;
    };
    let lease = i64::from_be_bytes(*lease);
    let mut parts = rest.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (one, other, key) = (next(), next(), next());
    let name = |name: &[u8]| ElectionName::new(String::from_utf8_lossy(name)).ok();
    let Some(one) = name(one) else { return };
    let line = line("");
    let range = line.range(&one);

    // What etcd tells of a key: any key in the range, with any lease.
    let in_range = [range.as_bytes(), key].concat();
    for key in [key, &in_range] {
        if let Some(session) = session_of(&range, key, lease) {
            assert!(lease > 0);
            let named = lease_of("fuzz", &session).expect("a lease");
            assert_eq!(key, line.key(&one, named).as_bytes());
        }
    }
    // Which session somebody asks about.
    let session = SessionId::new(String::from_utf8_lossy(key));
    if let Ok(lease) = lease_of("fuzz", &session) {
        assert!(lease > 0);
    }

    let Some(other) = name(other) else { return };
    if one != other && lease > 0 {
        let theirs = line.key(&other, lease);
        assert_eq!(session_of(&range, theirs.as_bytes(), lease), None);
        let below = other.as_str().starts_with(&range) || format!("{other}/") == range;
        assert_eq!(
            theirs.starts_with(&range),
            below,
            "a neighbour's key in our range"
        );
    }
}

#[cfg(test)]
mod tests {
    fn replay(target: &str, run: fn(&[u8])) {
        let corpus = format!(
            "{}/../leadership-fuzz/corpus/{target}",
            env!("CARGO_MANIFEST_DIR")
        );
        for input in std::fs::read_dir(corpus).expect("the corpus is kept") {
            run(&std::fs::read(input.expect("a file").path()).expect("read"));
        }
    }

    #[test]
    fn the_kept_inputs_hold() {
        replay("names", super::names);
        replay("etcd_keys", super::keys);
    }
}
