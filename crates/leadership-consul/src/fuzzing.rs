//! What fuzzing asserts of Consul's answers and keys: for cargo-fuzz and for tests only.
#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::sync::{Arc, OnceLock};

use hyper::StatusCode;
use hyper::body::Bytes;
use leadership_core::{ElectionName, Place, SessionId, Standing};
use percent_encoding::percent_decode_str;

use crate::answer::Answer;
use crate::client::{Api, escape};
use crate::config::{ConsulConfig, Layout};
use crate::error::Failure;
use crate::line::{Entries, Keys, Line, Lock, json, leads, one, pairs};
use crate::wire::{Pair, SessionMade, TxnAnswer};

/// The longest text of an error that quotes an answer.
const QUOTED: usize = 2000;

fn line(prefix: &str, layout: Layout) -> Line {
    static API: OnceLock<Arc<Api>> = OnceLock::new();
    let config = ConsulConfig::new(["h"])
        .expect("a host")
        .with_prefix(prefix)
        .with_layout(layout);
    let api =
        API.get_or_init(|| Arc::new(Api::new(&ConsulConfig::new(["h"]).expect("a host")).expect("made")));
    Line::new(Arc::clone(api), &config)
}

/// A name that is not refused is found in its keys, which Consul's server takes for no others. One name, or a prefix
/// and a name, on lines.
pub fn names(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (prefix, name) = input.split_once('\n').unwrap_or(("", &input));
    let (Ok(election), Ok(config)) = (ElectionName::new(name), ConsulConfig::new(["h"])) else {
        return;
    };
    let prefix = if config.with_prefix(prefix).check().is_ok() {
        prefix
    } else {
        ""
    };
    for layout in [Layout::Key, Layout::LockCommand] {
        let Ok(keys) = line(prefix, layout).keys("fuzz", &election) else {
            continue;
        };
        let entry = keys.entry("session");
        assert!(keys.lock.starts_with(prefix) && keys.lock.contains(name));
        assert!(!keys.lock.starts_with(&*keys.line), "the lock is no entry");
        for key in [&*keys.lock, &entry] {
            let path = escape(key);
            assert_eq!(percent_decode_str(&path).decode_utf8().expect("text"), key);
            assert!(!path.contains(['?', '#', ' ']), "{path}");
            // net/http's cleanPath would change these.
            let cleaned = |part: &str| matches!(part, "" | "." | "..");
            assert!(!path.split('/').any(cleaned), "{path}");
        }
    }
}

/// Whatever answers in Consul's place, the line that is read of it is in order, has only entries that name their own
/// session, and at most one that leads by one lock; and what is said of it is short. A byte of the status, then the
/// body.
pub fn json_answers(input: &[u8]) {
    const LINE: &str = "e.line/";
    let Some((first, body)) = input.split_first() else {
        return;
    };
    let status = [StatusCode::OK, StatusCode::CONFLICT, StatusCode::NOT_FOUND][usize::from(first % 3)];
    let answer = Answer {
        status,
        index: u64::from(first / 128),
        body: Bytes::copy_from_slice(body),
        from: 0,
    };
    let short = |error: leadership_core::StoreError| {
        let error = error.to_string();
        assert!(error.len() < QUOTED, "{error}");
    };
    json::<SessionMade>("fuzz", &answer)
        .map(drop)
        .unwrap_or_else(short);
    json::<TxnAnswer>("fuzz", &answer).map(drop).unwrap_or_else(short);
    one("fuzz", &answer).map(drop).unwrap_or_else(short);
    for status in [400, 403, 404, 429, 500, 503] {
        let status = StatusCode::from_u16(status).expect("a status");
        short(Failure::answer(status, body).into_error("fuzz", "h:8500"));
    }
    match pairs("fuzz", &answer) {
        Err(error) => short(error),
        Ok(pairs) => in_order(pairs, LINE),
    }
}

fn in_order(pairs: Vec<Pair>, line: &str) {
    let keys = Keys {
        lock: line.trim_end_matches(".line/").into(),
        line: line.into(),
    };
    let entries = Entries::of(pairs.clone(), line);
    let all: Vec<_> = entries.iter().collect();
    assert!(all.len() <= pairs.len());
    assert!(all.is_sorted_by_key(|entry| entry.fence), "first come first");
    let locks: Vec<_> = pairs.into_iter().map(|pair| Lock::of(Some(pair))).collect();
    for own in &all {
        assert_eq!(own.key, keys.entry(&own.session));
        assert!(!own.session.is_empty());
        // Each waits behind one who came before, and whom it passes to came after or is another.
        if let Some(ahead) = entries.ahead_of(own) {
            assert!(ahead.fence < own.fence && !ahead.leading);
            assert!(entries.head_before(own).is_some());
        }
        assert!(
            entries
                .next_after(own)
                .is_none_or(|next| next.fence != own.fence && !next.leading)
        );
        let place = Place {
            election: ElectionName::new("e").expect("a name"),
            session: SessionId::new(own.session.as_str()),
            key: own.key.as_str().into(),
            fence: own.fence,
        };
        assert!(entries.own(&place).is_none_or(|found| found.fence == own.fence));
        for lock in &locks {
            if let Some(standing) = leads(own, lock) {
                assert!(matches!(standing, Standing::First(token) if token.0 == own.version));
                assert!(matches!(lock, Lock::Held(pair) if pair.session == own.session));
            }
        }
    }
    for lock in &locks {
        let ahead = lock.ahead(&keys);
        assert!(ahead.key.starts_with(&*keys.lock));
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
        replay("consul_json", super::json_answers);
    }
}
