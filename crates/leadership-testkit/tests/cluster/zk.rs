//! ZooKeeper: the faults that all clusters have, and what only it has.

use super::eventually;
use anyhow::{Context, Result};
use leadership_testkit::cluster::ZkCluster;
use std::time::Duration;
use tokio::net::TcpStream;

async fn create(cluster: &ZkCluster, path: &str, value: &str) -> Result<()> {
    let output = cluster.zk_cli(&["create", path, value]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    Ok(())
}

async fn get(cluster: &ZkCluster, path: &str) -> Result<String> {
    let output = cluster.zk_cli(&["get", path]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    // Before it the client tells of its connection.
    Ok(output.stdout.lines().last().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn one_node_survives_a_pause_a_kill_and_a_stop() -> Result<()> {
    let cluster = ZkCluster::start(1).await?;
    assert!(cluster.is_healthy(0).await?);
    assert_eq!(cluster.url("/a/b"), format!("zk://{}/a/b", cluster.addr(0)?));
    create(&cluster, "/k", "v").await?;
    assert!(cluster.counter(0, "zk_packets_received").await? >= 1.0);

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
    assert_eq!(get(&cluster, "/k").await?, "v", "data and port are the old ones");
    cluster.remove().await
}

#[tokio::test]
async fn three_nodes_elect_another_leader_while_theirs_is_cut_off() -> Result<()> {
    let cluster = ZkCluster::start(3).await?;
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
async fn three_nodes_replace_a_killed_leader() -> Result<()> {
    let cluster = ZkCluster::start(3).await?;
    let old = cluster.leader().await?;
    cluster.kill(old).await?;
    assert_ne!(cluster.leader().await?, old);
    cluster.start_node(old).await?;
    cluster.wait_all_healthy().await
}

#[tokio::test]
async fn three_nodes_stay_cut_off_from_one_that_was_started_again() -> Result<()> {
    let cluster = ZkCluster::start(3).await?;
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
async fn certificates_of_clients_are_demanded() -> Result<()> {
    let cluster = ZkCluster::builder().tls().start().await?;
    create(&cluster, "/k", "v").await?;
    let trust = "-Dzookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty \
                 -Dzookeeper.client.secure=true -Dzookeeper.ssl.trustStore.location=/tls/ca.pem";
    let identity = "-Dzookeeper.ssl.keyStore.location=/tls/server-all.pem";
    let get = |port, options: String| {
        let cluster = &cluster;
        async move {
            let server = format!("127.0.0.1:{port}");
            let options = format!("CLIENT_JVMFLAGS={options}");
            let get = ["zkCli.sh", "-timeout", "2000", "-server", &server, "get", "/k"];
            cluster.exec(0, &[&["env", &options][..], &get].concat()).await
        }
    };
    let known = get(2281, format!("{trust} {identity}")).await?;
    assert!(known.success() && known.stdout.ends_with("\nv\n"), "{known:?}");
    let unknown = get(2281, trust.to_owned()).await?;
    assert!(!unknown.success(), "{unknown:?}");
    let plain = get(2281, String::new()).await?;
    assert!(!plain.success(), "{plain:?}");
    let plain = get(2181, String::new()).await?;
    assert!(plain.success(), "the other port is as always: {plain:?}");
    Ok(())
}

#[tokio::test]
async fn times_are_those_asked_for() -> Result<()> {
    let cluster = ZkCluster::builder()
        .tick(Duration::from_millis(300))
        .max_session(Duration::from_secs(5))
        .container_check(Duration::from_millis(100))
        .start()
        .await?;
    let settings = cluster.four_letters(0, "conf").await?;
    for setting in ["tickTime=300", "minSessionTimeout=600", "maxSessionTimeout=5000"] {
        assert!(settings.contains(setting), "no {setting} in {settings}");
    }
    // A container goes when its last child has gone.
    for command in [
        &["create", "-c", "/c"][..],
        &["create", "/c/n"],
        &["delete", "/c/n"],
    ] {
        let done = cluster.zk_cli(command).await?;
        assert!(done.success(), "{done:?}");
    }
    eventually("it is removed", || async {
        let stat = cluster.zk_cli(&["stat", "/c"]).await?;
        Ok(!stat.success())
    })
    .await
}
