//! The line of contenders as it is in etcd: its keys, and the reads that tell who stands where. The layout is
//! that of Go's `concurrency.Election` (etcd `client/v3/concurrency/election.go`), used verbatim.

use std::sync::Arc;

use etcd_client::{GetOptions, GetResponse, KeyValue, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse};
use leadership_core::{
    Ahead, ElectionName, ErrorKind, InvalidInput, Outcome, Place, SessionId, Standing, StoreError, Token,
};

use crate::client::Endpoints;
use crate::error::STORE;
use crate::watch::Hub;

/// Reads the lines of a store; shared by the store and its streams.
pub(crate) struct Line {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) hub: Hub,
    prefix: String,
}

/// Who is ahead of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InFront {
    /// The key as it is; [`Ahead`] has it as text.
    pub(crate) key: Vec<u8>,
    pub(crate) ahead: Ahead,
    /// Whether nobody is ahead of that one: when it goes, the place is first.
    pub(crate) leads: bool,
}

/// Where a place stands, read at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stands {
    pub(crate) revision: i64,
    /// Whether the place's own entry is there.
    pub(crate) there: bool,
    pub(crate) in_front: Option<InFront>,
}

impl Stands {
    /// As the trait tells it.
    pub(crate) fn standing(&self, place: &Place) -> Standing {
        match &self.in_front {
            _ if !self.there => Standing::Gone,
            Some(in_front) => Standing::Behind(in_front.ahead.clone()),
            None => Standing::First(Token(place.fence)),
        }
    }
}

impl Line {
    pub(crate) fn new(endpoints: Arc<Endpoints>, prefix: &str) -> Self {
        let hub = Hub::new(Arc::clone(&endpoints));
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Self {
            endpoints,
            hub,
            prefix,
        }
    }

    /// What all keys of an election begin with.
    pub(crate) fn range(&self, election: &ElectionName) -> String {
        format!("{}{election}/", self.prefix)
    }

    /// The key of a lease's entry in an election.
    pub(crate) fn key(&self, election: &ElectionName, lease: i64) -> String {
        format!("{}{lease:x}", self.range(election))
    }

    /// Where a place stands. With `at_least`, a revision at which it stood in line, any member's view from
    /// then on will do: the line ahead of a place only gets shorter, so no view shows too few ahead.
    pub(crate) async fn stands(&self, place: &Place, at_least: Option<i64>) -> Result<Stands, StoreError> {
        if let Some(at_least) = at_least {
            let stands = self.read_stands(place, true).await?;
            if stands.revision >= at_least {
                return Ok(stands);
            }
        }
        self.read_stands(place, false).await
    }

    async fn read_stands(&self, place: &Place, any_member: bool) -> Result<Stands, StoreError> {
        let range = range_of(place);
        let txn = Txn::new().and_then([
            TxnOp::get(
                &*place.key,
                Some(serializable(GetOptions::new().with_keys_only(), any_member)),
            ),
            TxnOp::get(range, Some(serializable(ahead_of(place.fence), any_member))),
        ]);
        let answer = self
            .endpoints
            .call("standing", |clients| {
                let txn = txn.clone();
                async move { clients.kv.clone().txn(txn).await }
            })
            .await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        let mut gets = answer.op_responses().into_iter().filter_map(get);
        let (Some(own), Some(ahead)) = (gets.next(), gets.next()) else {
            return Err(odd("standing", "a read of two ranges was answered with fewer"));
        };
        let there = own
            .kvs()
            .iter()
            .any(|kv| kv.create_revision().unsigned_abs() == place.fence);
        Ok(Stands {
            revision,
            there,
            in_front: in_front(range, ahead.kvs(), place.fence),
        })
    }

    /// The head of a line, and the revision it was read at; `at_least` as above.
    pub(crate) async fn head(
        &self,
        range: &str,
        at_least: Option<i64>,
    ) -> Result<(Option<KeyValue>, i64), StoreError> {
        let ascending = || first_come().with_limit(1);
        if let Some(at_least) = at_least {
            let mut answer = self.get("leader", range, ascending().with_serializable()).await?;
            let revision = revision(&answer);
            if revision >= at_least {
                return Ok((answer.take_kvs().pop(), revision));
            }
        }
        let mut answer = self.get("leader", range, ascending()).await?;
        Ok((answer.take_kvs().pop(), revision(&answer)))
    }

    pub(crate) async fn get(
        &self,
        operation: &'static str,
        key: &str,
        options: GetOptions,
    ) -> Result<GetResponse, StoreError> {
        self.endpoints
            .call(operation, |clients| {
                let options = options.clone();
                async move { clients.kv.clone().get(key, Some(options)).await }
            })
            .await
    }
}

/// The options to read a line in its order.
pub(crate) fn first_come() -> GetOptions {
    GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend)
}

/// The options to read the last of a line, without values.
pub(crate) fn last(count: i64) -> GetOptions {
    let options = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Descend);
    options.with_limit(count).with_keys_only()
}

/// The options to read the last two of those ahead of a place: the second tells whether the first leads.
fn ahead_of(fence: u64) -> GetOptions {
    last(2).with_max_create_revision(fence as i64 - 1)
}

fn serializable(options: GetOptions, any_member: bool) -> GetOptions {
    if any_member {
        options.with_serializable()
    } else {
        options
    }
}

/// What all keys of a place's election begin with.
pub(crate) fn range_of(place: &Place) -> &str {
    place
        .key
        .rfind('/')
        .map_or("", |slash| place.key.get(..=slash).unwrap_or_default())
}

/// The one just ahead of a place. `descending` has the two just ahead if there are two.
pub(crate) fn in_front(range: &str, descending: &[KeyValue], fence: u64) -> Option<InFront> {
    let mut ahead = descending
        .iter()
        .filter(|kv| kv.create_revision().unsigned_abs() < fence);
    let kv = ahead.next()?;
    Some(InFront {
        key: kv.key().to_vec(),
        ahead: Ahead {
            key: String::from_utf8_lossy(kv.key()).into(),
            foreign: session_of(range, kv.key(), kv.lease()).is_none(),
        },
        leads: ahead.next().is_none(),
    })
}

/// The session of an entry; none if the key is not a contender's.
///
/// A contender's key ends in the lease that it was made with, `%x` in Go (election.go), and it is attached to a lease:
/// that one, or one of ours that it was [moved](crate::leases) to. Anything else in the range is foreign: a key somebody
/// put there, or a contender of the election `name/sub` seen from `name`.
pub(crate) fn session_of(range: &str, key: &[u8], lease: i64) -> Option<SessionId> {
    if lease <= 0 {
        return None;
    }
    let hex = std::str::from_utf8(key.strip_prefix(range.as_bytes())?).ok()?;
    let named = i64::from_str_radix(hex, 16).ok().filter(|named| *named > 0)?;
    (format!("{named:x}") == hex).then(|| SessionId::new(hex))
}

/// The lease of a session of this store.
pub(crate) fn lease_of(operation: &'static str, session: &SessionId) -> Result<i64, StoreError> {
    i64::from_str_radix(session.as_str(), 16)
        .ok()
        .filter(|lease| *lease > 0)
        .ok_or_else(|| {
            InvalidInput::new(
                format!("session {session}"),
                "it is no etcd lease",
                "pass a session that this store has opened",
            )
            .into_store_error(STORE, operation)
        })
}

/// The revision a range was read at.
pub(crate) fn revision(answer: &GetResponse) -> i64 {
    answer.header().map_or(0, |header| header.revision())
}

pub(crate) fn get(response: TxnOpResponse) -> Option<GetResponse> {
    match response {
        TxnOpResponse::Get(answer) => Some(answer),
        _ => None,
    }
}

/// An answer that etcd's protocol does not allow.
pub(crate) fn odd(operation: &'static str, text: &str) -> StoreError {
    StoreError::new(STORE, operation, ErrorKind::Other, Outcome::Unknown, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EtcdConfig;

    fn line(prefix: &str) -> Line {
        let config = EtcdConfig::new(["h"]).expect("config");
        Line::new(Arc::new(Endpoints::new(&config).expect("endpoints")), prefix)
    }

    fn election(name: &str) -> ElectionName {
        ElectionName::new(name).expect("name")
    }

    #[test]
    fn keys_are_those_of_go() {
        assert_eq!(line("").key(&election("a/b"), 0x694d_8a1f), "a/b/694d8a1f");
        assert_eq!(line("").key(&election("/a/"), 0xf), "/a//f");
        assert_eq!(line("p/q").key(&election("a"), 0x10), "p/q/a/10");
    }

    #[test]
    fn a_contender_is_what_ends_in_a_lease_and_has_one() {
        let session = |key: &str, lease| session_of("a/", key.as_bytes(), lease);
        assert_eq!(session("a/1f", 0x1f), Some(SessionId::new("1f")));
        assert_eq!(session("a/1f", 0x1e), Some(SessionId::new("1f")), "moved");
        for (key, lease) in [
            ("a/1F", 0x1f),
            ("a/01f", 0x1f),
            ("a/1f", 0),
            ("a/+1f", 0x1f),
            ("a/0", 0x1f),
            ("a/8000000000000000", 0x1f),
            ("a/b/1f", 0x1f),
            ("a/x", 7),
        ] {
            assert_eq!(session(key, lease), None, "{key} {lease}");
        }
    }

    #[test]
    fn a_session_of_another_store_is_refused() {
        assert_eq!(
            lease_of("renew", &SessionId::new("7fffffffffffffff")).expect("lease"),
            i64::MAX
        );
        for bad in ["", "0", "xyz", "-1", "ffffffffffffffff", "8c1d0e9a-77aa"] {
            let error = lease_of("renew", &SessionId::new(bad)).expect_err(bad);
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::InvalidInput, Outcome::NotApplied)
            );
        }
    }

    #[test]
    fn the_range_of_a_place_is_that_of_its_election() {
        let line = line("p");
        let place = Place {
            election: election("a/b"),
            session: SessionId::new("f"),
            key: line.key(&election("a/b"), 15).into(),
            fence: 1,
        };
        assert_eq!(range_of(&place), line.range(&place.election));
    }
}
