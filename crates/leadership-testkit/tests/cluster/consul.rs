//! Consul: the faults that all clusters have, and what only it has.

use super::{PATIENCE, eventually};
use anyhow::{Context, Result};
use leadership_testkit::cluster::ConsulCluster;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

async fn put(cluster: &ConsulCluster, key: &str, value: &str) -> Result<()> {
    let output = cluster.consul(&["kv", "put", key, value]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    Ok(())
}

async fn get(cluster: &ConsulCluster, key: &str) -> Result<String> {
    let output = cluster.consul(&["kv", "get", key]).await?;
    anyhow::ensure!(output.success(), "{output:?}");
    Ok(output.stdout.trim_end().to_owned())
}

#[tokio::test]
async fn one_node_survives_a_pause_a_kill_and_a_stop() -> Result<()> {
    let cluster = ConsulCluster::start(1).await?;
    assert!(cluster.is_healthy(0).await?);
    assert_eq!(cluster.url("/a/b"), format!("consul://{}/a/b", cluster.addr(0)?));
    put(&cluster, "k", "v").await?;
    let (status, body) = cluster.http(0, "GET", "/v1/kv/k?raw", "").await?;
    assert_eq!((status, body.as_str()), (200, "v"));

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
async fn nodes_that_were_killed_together_come_back_with_their_own_addresses() -> Result<()> {
    let cluster = ConsulCluster::start(3).await?;
    let addresses = async || {
        let (_, members) = cluster.http(0, "GET", "/v1/catalog/nodes?consistent", "").await?;
        let members: Vec<serde_json::Value> = serde_json::from_str(&members)?;
        let mut members: Vec<_> = members
            .iter()
            .map(|member| (member["Node"].to_string(), member["Address"].to_string()))
            .collect();
        members.sort();
        anyhow::Ok(members)
    };
    let before = addresses().await?;
    for node in 0..3 {
        cluster.kill(node).await?;
    }
    // In another order than the first time.
    for node in (0..3).rev() {
        cluster.start_node(node).await?;
    }
    cluster.wait_all_healthy().await?;
    assert_eq!(addresses().await?, before);
    cluster.remove().await
}

#[tokio::test]
async fn three_nodes_elect_another_leader_while_theirs_is_cut_off() -> Result<()> {
    let cluster = ConsulCluster::start(3).await?;
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
    eventually("another one leads", || async {
        Ok(cluster.leader().await? != old)
    })
    .await?;

    cluster.heal(old).await?;
    cluster.wait_all_healthy().await
}

#[tokio::test]
async fn three_nodes_replace_a_killed_leader() -> Result<()> {
    let cluster = ConsulCluster::start(3).await?;
    let old = cluster.leader().await?;
    cluster.kill(old).await?;
    assert_ne!(cluster.leader().await?, old);
    cluster.start_node(old).await?;
    cluster.wait_all_healthy().await
}

#[tokio::test]
async fn three_nodes_stay_cut_off_from_one_that_was_started_again() -> Result<()> {
    let cluster = ConsulCluster::start(3).await?;
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
async fn tokens_are_demanded() -> Result<()> {
    let cluster = ConsulCluster::builder().acl().nodes(3).start().await?;
    assert!(cluster.token().is_some());
    put(&cluster, "k", "v").await?;
    assert_eq!(get(&cluster, "k").await?, "v");
    let nobody = cluster.exec(0, &["consul", "kv", "put", "k", "w"]).await?;
    assert!(!nobody.success());
    assert!(nobody.stderr.contains("Permission denied"), "{nobody:?}");
    assert_eq!(get(&cluster, "k").await?, "v");
    Ok(())
}

#[tokio::test]
async fn certificates_of_clients_are_demanded() -> Result<()> {
    let mut cluster = ConsulCluster::builder().tls().start().await?;
    let agent = cluster.add_client_agent().await?;
    put(&cluster, "k", "v").await?;
    for i in [0, agent] {
        let get = ["consul", "kv", "get", "-http-addr=https://127.0.0.1:8501"];
        let trust = ["-ca-file=/tls/ca.pem"];
        let identity = ["-client-cert=/tls/server.pem", "-client-key=/tls/server-key.pem"];
        let known = cluster
            .exec(i, &[&get[..], &trust, &identity, &["k"]].concat())
            .await?;
        assert_eq!(known.stdout, "v\n", "{known:?}");
        let unknown = cluster.exec(i, &[&get[..], &trust, &["k"]].concat()).await?;
        assert!(!unknown.success(), "{unknown:?}");
        let distrustful = cluster.exec(i, &[&get[..], &identity, &["k"]].concat()).await?;
        assert!(
            distrustful.stderr.contains("unknown authority"),
            "{distrustful:?}"
        );

        let mut plain = TcpStream::connect(cluster.addr(i)?).await?;
        plain.write_all(b"GET /v1/kv/k?raw HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        plain.read_to_string(&mut answer).await?;
        assert!(answer.contains("400 Bad Request"), "without TLS: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_agent_is_restarted_with_and_without_its_data() -> Result<()> {
    let mut cluster = ConsulCluster::start(3).await?;
    let servers = cluster.url("p");
    let agent = cluster.add_client_agent().await?;
    assert_eq!((agent, cluster.size()), (3, 4));
    assert_eq!(cluster.url("p"), servers, "of servers only");
    let addr = cluster.addr(agent)?;
    assert_eq!(cluster.node_url(agent, "p")?, format!("consul://{addr}/p"));
    put(&cluster, "k", "v").await?;
    let (_, value) = cluster.http(agent, "GET", "/v1/kv/k?raw", "").await?;
    assert_eq!(value, "v", "it asks the servers");
    assert_ne!(cluster.leader().await?, agent);

    let path = format!("/v1/catalog/node/{}", cluster.node_name(agent));
    let id = || async {
        let (_, body) = cluster.http(0, "GET", &path, "").await?;
        let id = body.split_once("\"ID\":\"").context("it has an id")?.1;
        anyhow::Ok(id.split('"').next().unwrap_or_default().to_owned())
    };
    let first = id().await?;
    let refused = cluster.wipe_data(agent).await;
    assert!(refused.is_err(), "it runs");

    cluster.kill(agent).await?;
    cluster.start_node(agent).await?;
    cluster.wait_healthy(agent).await?;
    assert_eq!(id().await?, first);

    cluster.kill(agent).await?;
    cluster.wipe_data(agent).await?;
    let path = format!("/v1/health/node/{}", cluster.node_name(agent));
    eventually("the servers know that it is dead", || async {
        let (_, body) = cluster.http(0, "GET", &path, "").await?;
        Ok(body.contains("critical"))
    })
    .await?;
    cluster.start_node(agent).await?;
    eventually("the same name comes with another id", || async {
        Ok(id().await? != first)
    })
    .await?;
    cluster.wait_healthy(agent).await
}

#[tokio::test]
async fn consul_lock_holds_a_lock_until_it_is_interrupted() -> Result<()> {
    let cluster = ConsulCluster::builder().acl().start().await?;
    let mut first = cluster
        .spawn_consul(&["lock", "e", "echo one; exec sleep 600"])
        .await?;
    assert_eq!(first.next_line(PATIENCE).await?.as_deref(), Some("one"));
    let mut second = cluster
        .spawn_consul(&["lock", "e", "echo two; exec sleep 600"])
        .await?;
    assert!(
        second.next_line(Duration::from_millis(500)).await.is_err(),
        "it waits"
    );
    first.interrupt().await?;
    assert_eq!(second.next_line(PATIENCE).await?.as_deref(), Some("two"));
    Ok(())
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() -> Result<()> {
    let cluster = ConsulCluster::builder().max_connections(4).start().await?;
    let mut byte = [0];
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(cluster.addr(0)?).await?;
        // With an answer it is known that the server, and not only Docker, has accepted it.
        stream
            .write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: consul\r\n\r\n")
            .await?;
        assert_eq!(stream.read(&mut byte).await?, 1);
        held.push(stream);
    }
    let mut fifth = TcpStream::connect(cluster.addr(0)?).await?;
    let end = timeout(PATIENCE, fifth.read(&mut byte)).await?;
    assert!(matches!(end, Ok(0) | Err(_)), "the fifth is closed");
    held[0]
        .write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: consul\r\n\r\n")
        .await
        .context("the first stays open")?;
    Ok(())
}
