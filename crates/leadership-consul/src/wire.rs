//! Consul's HTTP API as far as we speak it: the JSON of keys, transactions and sessions.
//! <https://developer.hashicorp.com/consul/api-docs/txn>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) flags: u64,
    /// Empty in answers about writes.
    #[serde(deserialize_with = "decoded")]
    pub(crate) value: Vec<u8>,
    /// The session that holds it; empty if none does.
    pub(crate) session: String,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// Counts how often it was locked. Written anew by any plain write, so it is no token.
    pub(crate) lock_index: u64,
}

/// One operation of a transaction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Op {
    verb: &'static str,
    key: String,
    #[serde(serialize_with = "encoded", skip_serializing_if = "Option::is_none")]
    value: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "is_zero")]
    flags: u64,
    #[serde(skip_serializing_if = "is_zero")]
    index: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    session: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) partition: Option<String>,
}

impl Op {
    fn new(verb: &'static str, key: &str) -> Self {
        Self {
            verb,
            key: key.to_owned(),
            value: None,
            flags: 0,
            index: 0,
            session: String::new(),
            namespace: None,
            partition: None,
        }
    }

    /// Fails if the key is there.
    pub(crate) fn check_not_exists(key: &str) -> Self {
        Self::new("check-not-exists", key)
    }

    /// Fails if the key was changed since, or is not there.
    pub(crate) fn check_index(key: &str, modify_index: u64) -> Self {
        Self {
            index: modify_index,
            ..Self::new("check-index", key)
        }
    }

    /// Takes the key for a session that lives, or takes it again. Fails if another holds it.
    pub(crate) fn lock(key: &str, session: &str, flags: u64, value: &[u8]) -> Self {
        Self {
            value: Some(value.to_owned()),
            flags,
            session: session.to_owned(),
            ..Self::new("lock", key)
        }
    }

    /// Gives the key up. Fails if the session does not hold it.
    pub(crate) fn unlock(key: &str, session: &str, flags: u64) -> Self {
        Self {
            value: Some(Vec::new()),
            flags,
            session: session.to_owned(),
            ..Self::new("unlock", key)
        }
    }

    /// Removes the key, whoever holds it.
    pub(crate) fn delete(key: &str) -> Self {
        Self::new("delete", key)
    }

    /// Reads all keys that begin so.
    pub(crate) fn get_tree(prefix: &str) -> Self {
        Self::new("get-tree", prefix)
    }
}

/// An operation as it stands in a transaction.
#[derive(Serialize)]
pub(crate) struct Operation<'a> {
    #[serde(rename = "KV")]
    pub(crate) kv: &'a Op,
}

/// The answer to a transaction: what its operations found or wrote, or why it changed nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TxnAnswer {
    pub(crate) results: Option<Vec<TxnResult>>,
    pub(crate) errors: Option<Vec<TxnError>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TxnResult {
    #[serde(rename = "KV")]
    pub(crate) kv: Pair,
}

/// Why an operation refused its transaction.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TxnError {
    /// The operation, counted from 0.
    pub(crate) op_index: usize,
    pub(crate) what: String,
}

/// A session to be made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewSession<'a> {
    pub(crate) name: &'a str,
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
    pub(crate) lock_delay: String,
    pub(crate) behavior: &'static str,
    /// Empty, or Consul would add serfHealth, which ends sessions at a short blip of the network.
    pub(crate) node_checks: [String; 0],
    pub(crate) service_checks: Vec<ServiceCheck>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ServiceCheck {
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

/// A service to be registered at an agent, for the sake of its check.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewService<'a> {
    #[serde(rename = "ID")]
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) check: NewCheck,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewCheck {
    pub(crate) name: &'static str,
    #[serde(rename = "TTL")]
    pub(crate) ttl: String,
    pub(crate) status: &'static str,
    /// Consul removes what a dead process has left after this time, a minute at least.
    pub(crate) deregister_critical_service_after: &'static str,
}

/// The answer to a new session.
#[derive(Debug, Deserialize)]
pub(crate) struct SessionMade {
    #[serde(rename = "ID")]
    pub(crate) id: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn encoded<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(value.as_deref().unwrap_or_default()))
}

/// Consul writes a missing value as null.
fn decoded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(Vec::new()),
        Some(text) => STANDARD.decode(text).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_read_with_and_without_session_and_value() {
        let pair: Pair = serde_json::from_str(
            r#"{"LockIndex":1,"Key":"a","Flags":3304740253564472344,"Value":"AP8=","Session":"s",
                "CreateIndex":12,"ModifyIndex":13}"#,
        )
        .expect("a pair");
        assert_eq!(
            (pair.value, pair.flags, pair.session),
            (vec![0, 255], 0x2ddc_cbc0_58a5_0c18, "s".to_owned())
        );
        let pair: Pair = serde_json::from_str(r#"{"Key":"a","Value":null}"#).expect("a pair");
        assert_eq!((pair.value, pair.session), (vec![], String::new()));
        serde_json::from_str::<Pair>(r#"{"Key":"a","Value":"%"}"#).expect_err("no base64");
    }

    #[test]
    fn operations_say_no_more_than_they_must() {
        let written = |op: Op| serde_json::to_string(&Operation { kv: &op }).expect("json");
        assert_eq!(
            written(Op::lock("k", "s", 7, b"v")),
            r#"{"KV":{"Verb":"lock","Key":"k","Value":"dg==","Flags":7,"Session":"s"}}"#
        );
        assert_eq!(
            written(Op::check_index("k", 9)),
            r#"{"KV":{"Verb":"check-index","Key":"k","Index":9}}"#
        );
    }
}
