//! etcd: the faults that all clusters have, and what only it has.

use super::{PATIENCE, eventually};
use anyhow::{Context, Result};
use leadership_testkit::cluster::{EtcdCluster, Proxy};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

async fn put(cluster: &EtcdCluster, key: &str, value: &str) -> Result<()> {
    let output = cluster.etcdctl(&["put", key, value]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    Ok(())
}

async fn get(cluster: &EtcdCluster, key: &str) -> Result<String> {
    let output = cluster.etcdctl(&["get", "--print-value-only", key]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    Ok(output.stdout.trim_end().to_owned())
}

/// What a server answers to plain HTTP.
async fn version(server: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"GET /version HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn one_node_survives_a_pause_a_kill_and_a_stop() -> Result<()> {
    let cluster = EtcdCluster::start(1).await?;
    assert!(cluster.is_healthy(0).await?);
    assert_eq!(cluster.endpoints(), [format!("http://{}", cluster.addr(0)?)]);
    assert_eq!(cluster.url("/a/b"), format!("etcd://{}/a/b", cluster.addr(0)?));
    put(&cluster, "k", "v").await?;
    assert!(cluster.counter(0, "etcd_mvcc_put_total").await? >= 1.0);

    cluster.pause(0).await?;
    assert!(!cluster.is_healthy(0).await?, "a paused node does not answer");
    cluster.unpause(0).await?;
    cluster.wait_healthy(0).await?;

    cluster.kill(0).await?;
    assert!(!cluster.is_healthy(0).await?);
    assert!(
        TcpStream::connect(cluster.addr(0)?).await.is_err(),
        "a dead node refuses connections"
    );
    cluster.start_node(0).await?;
    cluster.wait_healthy(0).await?;

    cluster.stop(0).await?;
    cluster.start_node(0).await?;
    cluster.wait_healthy(0).await?;
    assert_eq!(get(&cluster, "k").await?, "v", "data and port are the old ones");
    cluster.remove().await
}

#[tokio::test]
async fn three_nodes_elect_another_leader_while_theirs_is_cut_off() -> Result<()> {
    let cluster = EtcdCluster::start(3).await?;
    let old = cluster.leader().await?;
    let others: Vec<_> = (0..3).filter(|i| *i != old).collect();

    cluster.partition(old).await?;
    eventually("the one that is cut off knows", || async {
        Ok(!cluster.is_healthy(old).await?)
    })
    .await?;
    TcpStream::connect(cluster.addr(old)?)
        .await
        .context("clients still reach it")?;
    cluster.wait_healthy(others[0]).await?;
    cluster.wait_healthy(others[1]).await?;
    assert_ne!(cluster.leader().await?, old);

    cluster.heal(old).await?;
    cluster.wait_all_healthy().await
}

#[tokio::test]
async fn three_nodes_stay_cut_off_from_one_that_was_started_again() -> Result<()> {
    let cluster = EtcdCluster::start(3).await?;
    cluster.partition(0).await?;
    cluster.kill(1).await?;
    eventually("one of three is no majority", || async {
        Ok(!cluster.is_healthy(2).await?)
    })
    .await?;
    cluster.start_node(1).await?;
    cluster.wait_healthy(1).await?;
    cluster.wait_healthy(2).await?;
    assert!(!cluster.is_healthy(0).await?);
    cluster.heal(0).await?;
    cluster.wait_all_healthy().await
}

#[tokio::test]
async fn three_nodes_do_without_a_paused_one() -> Result<()> {
    let cluster = EtcdCluster::start(3).await?;
    cluster.pause(0).await?;
    cluster.wait_healthy(1).await?;
    put(&cluster, "k", "v").await?;
    cluster.unpause(0).await?;
    cluster.wait_all_healthy().await?;
    assert_eq!(get(&cluster, "k").await?, "v");
    Ok(())
}

#[tokio::test]
async fn tls_and_passwords_are_demanded() -> Result<()> {
    let cluster = EtcdCluster::builder().tls().auth("s3cret").start().await?;
    assert!(cluster.endpoints()[0].starts_with("https://127.0.0.1:"));
    assert!(cluster.url("p").starts_with("etcd://root:s3cret@127.0.0.1:"));
    let authority = cluster.authority().context("it has TLS")?;
    assert!(authority.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
    put(&cluster, "k", "v").await?;
    assert_eq!(get(&cluster, "k").await?, "v");

    let wrong = cluster.etcdctl(&["--user=root:wrong", "get", "k"]).await?;
    assert!(!wrong.success());
    assert!(wrong.stderr.contains("authentication failed"), "{wrong:?}");
    let plain = version(cluster.addr(0)?).await.unwrap_or_default();
    assert!(!plain.contains("etcdserver"), "without TLS: {plain}");
    Ok(())
}

#[tokio::test]
async fn etcdctl_stands_in_an_election_until_it_is_interrupted() -> Result<()> {
    let cluster = EtcdCluster::builder().tls().auth("s3cret").start().await?;
    let mut first = cluster.spawn_etcdctl(&["elect", "e", "one"]).await?;
    let key = first.next_line(PATIENCE).await?.context("it leads")?;
    assert!(key.starts_with("e/"), "{key}");
    assert_eq!(first.next_line(PATIENCE).await?.as_deref(), Some("one"));

    let mut second = cluster.spawn_etcdctl(&["elect", "e", "two"]).await?;
    assert!(
        second.next_line(Duration::from_millis(300)).await.is_err(),
        "it waits"
    );
    first.interrupt().await?;
    assert!(second.next_line(PATIENCE).await?.is_some());
    assert_eq!(second.next_line(PATIENCE).await?.as_deref(), Some("two"));
    second.kill().await?;
    assert_eq!(second.next_line(PATIENCE).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_proxy_hangs_the_way_to_a_node() -> Result<()> {
    let cluster = EtcdCluster::start(1).await?;
    let proxy = Proxy::start(cluster.addr(0)?).await?;
    let ask = || version(proxy.addr());
    assert!(ask().await?.contains("etcdserver"));
    proxy.stall();
    assert!(
        timeout(Duration::from_millis(300), ask()).await.is_err(),
        "it hangs"
    );
    proxy.resume().await?;
    assert!(ask().await?.contains("etcdserver"));
    proxy.cut().await;
    assert!(ask().await.is_err());
    Ok(())
}

/// A test that returns early or panics drops its cluster wherever it happens to be.
#[test]
fn a_cluster_may_be_dropped_outside_of_a_runtime() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let cluster = runtime.block_on(EtcdCluster::start(1))?;
    let addr = cluster.addr(0)?;
    drop(cluster);
    assert!(
        std::net::TcpStream::connect(addr).is_err(),
        "the container is gone"
    );
    Ok(())
}
