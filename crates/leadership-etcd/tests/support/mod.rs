//! What the tests on a real etcd share: processes with elections, and a look at the store as an operator has it.

pub(crate) mod ground;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use etcd_client::{Client, GetOptions, SortOrder, SortTarget};
use leadership_core::{Config, DynStore, Elections, Place, Session};
use leadership_etcd::{EtcdConfig, EtcdStore};
use leadership_testkit::cluster::EtcdCluster;
pub(crate) use leadership_testkit::trials::*;

/// The cluster of a file.
pub(crate) type Shared = leadership_testkit::trials::Shared<EtcdCluster>;

/// One node: plain HTTP, no passwords.
pub(crate) async fn plain(shared: &Shared) -> &EtcdCluster {
    shared.started(EtcdCluster::start(1)).await
}

/// A process's part in the elections of a cluster, without a prefix: keys begin with the election's name.
pub(crate) fn process(cluster: &EtcdCluster, ttl: Duration) -> Elections {
    through(&cluster.url("")["etcd://".len()..], ttl)
}

/// The same by way of other addresses: `host:port,host:port`.
pub(crate) fn through(addresses: &str, ttl: Duration) -> Elections {
    let store = connect(&format!("etcd://{addresses}")).unwrap();
    Elections::new(store, Config::with_ttl(ttl)).unwrap()
}

pub(crate) fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(EtcdStore::new(EtcdConfig::from_url(url)?)?))
}

/// Addresses as [`through`] takes them.
pub(crate) fn addresses(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(",")
}

/// An operator's client, past everything that we build.
pub(crate) async fn operator(cluster: &EtcdCluster) -> Client {
    let options = cluster
        .authority()
        .map(|_| panic!("the operator comes without TLS"));
    Client::connect(cluster.endpoints(), options).await.unwrap()
}

/// An entry as it is in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) create_revision: u64,
    pub(crate) lease: i64,
}

/// Everything under an election, in order.
pub(crate) async fn line(client: &Client, election: &str) -> Vec<Entry> {
    let options = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Create, SortOrder::Ascend);
    let answer = client
        .kv_client()
        .get(format!("{election}/"), Some(options))
        .await
        .unwrap();
    let entry = |kv: &etcd_client::KeyValue| Entry {
        key: kv.key_str().unwrap().to_owned(),
        value: kv.value_str().unwrap().to_owned(),
        create_revision: kv.create_revision().unsigned_abs(),
        lease: kv.lease(),
    };
    answer.kvs().iter().map(entry).collect()
}

/// The values under an election, in order.
pub(crate) async fn names(client: &Client, election: &str) -> Vec<String> {
    line(client, election)
        .await
        .into_iter()
        .map(|entry| entry.value)
        .collect()
}

pub(crate) async fn leases(client: &Client) -> Vec<i64> {
    let answer = client.lease_client().leases().await.unwrap();
    answer.leases().iter().map(|lease| lease.id()).collect()
}

pub(crate) async fn revoke(client: &Client, lease: i64) {
    client.lease_client().revoke(lease).await.unwrap();
}

/// Deletes a contender's entry.
pub(crate) async fn remove_entry(cluster: &EtcdCluster, place: &Place) -> anyhow::Result<()> {
    let removed = operator(cluster).await.delete(&*place.key, None).await?;
    ensure!(removed.deleted() == 1, "{} was not there", place.key);
    Ok(())
}

/// Ends a contender's session: the lease that it is named after, unless its entries have moved to another one.
pub(crate) async fn revoke_session(cluster: &EtcdCluster, session: &Session) -> anyhow::Result<()> {
    let client = operator(cluster).await;
    let everything = GetOptions::new().with_all_keys().with_keys_only();
    let all = client.kv_client().get("", Some(everything)).await?;
    let end = format!("/{}", session.id);
    let mut entries = all.kvs().iter().filter(|kv| kv.key().ends_with(end.as_bytes()));
    let lease = match entries.next() {
        Some(entry) => entry.lease(),
        None => i64::from_str_radix(session.id.as_str(), 16)?,
    };
    revoke(&client, lease).await;
    Ok(())
}

/// Forgets all that was, as etcd does every few minutes or hours.
pub(crate) async fn compact(client: &Client) {
    let mut kv = client.kv_client();
    let answer = kv.get("now", None).await.unwrap();
    let revision = answer.header().unwrap().revision();
    // Another case may have compacted further meanwhile.
    if let Err(error) = kv.compact(revision, None).await {
        assert!(error.to_string().contains("has been compacted"), "{error}");
    }
}
