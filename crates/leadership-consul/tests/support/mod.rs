//! What the tests on a real Consul share: processes with elections, and a look at the store as an operator has it.

pub(crate) mod ground;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use leadership_consul::{ConsulConfig, ConsulStore};
use leadership_core::{Config, DynStore, Elections, Place};
use leadership_testkit::cluster::ConsulCluster;
pub(crate) use leadership_testkit::trials::*;

/// The cluster of a file.
pub(crate) type Shared = leadership_testkit::trials::Shared<ConsulCluster>;

/// One server: plain HTTP, no access rules.
pub(crate) async fn plain(shared: &Shared) -> &ConsulCluster {
    shared.started(ConsulCluster::start(1)).await
}

pub(crate) fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(ConsulStore::new(ConsulConfig::from_url(url)?)?))
}

/// A process's part in the elections of a cluster, without a prefix: keys begin with the election's name.
pub(crate) fn process(cluster: &ConsulCluster, ttl: Duration) -> Elections {
    through(&cluster.url(""), ttl)
}

/// The same by another URL.
pub(crate) fn through(url: &str, ttl: Duration) -> Elections {
    Elections::new(connect(url).unwrap(), Config::with_ttl(ttl)).unwrap()
}

/// What an API call answers that must succeed.
pub(crate) async fn call(cluster: &ConsulCluster, method: &str, path: &str, body: &str) -> serde_json::Value {
    let (status, answer) = cluster.http(0, method, path, body).await.unwrap();
    assert!(status == 200, "{method} {path}: {status} {answer}");
    serde_json::from_str(&answer).unwrap_or(serde_json::Value::Null)
}

/// The key of an election, if it is there.
pub(crate) async fn key(cluster: &ConsulCluster, key: &str) -> Option<serde_json::Value> {
    let path = format!("/v1/kv/{key}?consistent");
    let (status, answer) = cluster.http(0, "GET", &path, "").await.unwrap();
    assert!(status == 200 || status == 404, "{status} {answer}");
    serde_json::from_str::<Vec<serde_json::Value>>(&answer)
        .ok()?
        .pop()
}

/// The session that holds a key.
pub(crate) async fn holder(cluster: &ConsulCluster, name: &str) -> Option<String> {
    let session = key(cluster, name).await?.get("Session")?.as_str()?.to_owned();
    (!session.is_empty()).then_some(session)
}

/// Deletes what a contender has: whoever leads has the lock, and is removed with it; whoever waits has an entry only.
pub(crate) async fn remove_held(cluster: &ConsulCluster, place: &Place) {
    let election = place.election.as_str();
    let leads = holder(cluster, election).await.as_deref() == Some(place.session.as_str());
    let key = if leads { election } else { &*place.key };
    call(cluster, "DELETE", &format!("/v1/kv/{key}"), "").await;
}

/// Ends a contender's session.
pub(crate) async fn destroy(cluster: &ConsulCluster, session: &str) {
    call(cluster, "PUT", &format!("/v1/session/destroy/{session}"), "").await;
}

/// The names of all keys that begin so.
pub(crate) async fn keys(cluster: &ConsulCluster, prefix: &str) -> Vec<String> {
    let path = format!("/v1/kv/{prefix}?keys&consistent");
    let (_, answer) = cluster.http(0, "GET", &path, "").await.unwrap();
    serde_json::from_str(&answer).unwrap_or_default()
}

/// A contender's entry as it is in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) session: String,
    pub(crate) value: String,
    pub(crate) create_index: u64,
}

/// Everybody in line, in order.
pub(crate) async fn line(cluster: &ConsulCluster, election: &str) -> Vec<Entry> {
    let path = format!("/v1/kv/{election}.line/?recurse&consistent");
    let (status, answer) = cluster.http(0, "GET", &path, "").await.unwrap();
    assert!(status == 200 || status == 404, "{status} {answer}");
    let pairs = serde_json::from_str::<Vec<serde_json::Value>>(&answer).unwrap_or_default();
    let text = |pair: &serde_json::Value, field: &str| pair[field].as_str().unwrap_or_default().to_owned();
    let mut entries: Vec<_> = pairs
        .iter()
        .map(|pair| Entry {
            key: text(pair, "Key"),
            session: text(pair, "Session"),
            value: String::from_utf8(STANDARD.decode(text(pair, "Value")).unwrap()).unwrap(),
            create_index: pair["CreateIndex"].as_u64().unwrap(),
        })
        .collect();
    entries.sort_by_key(|entry| entry.create_index);
    entries
}

/// The sessions of a cluster.
pub(crate) async fn sessions(cluster: &ConsulCluster) -> Vec<String> {
    let list = call(cluster, "GET", "/v1/session/list?consistent", "").await;
    let ids = list.as_array().into_iter().flatten();
    ids.filter_map(|session| Some(session.get("ID")?.as_str()?.to_owned()))
        .collect()
}

/// The services with a check of ours at node 0's agent.
pub(crate) async fn services(cluster: &ConsulCluster) -> Vec<String> {
    let list = call(cluster, "GET", "/v1/agent/services", "").await;
    list.as_object()
        .into_iter()
        .flat_map(|list| list.keys().cloned())
        .collect()
}
