//! Garbage in the place of Consul, and ends at any moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use async_trait::async_trait;
use leadership_testkit::attacks::{self, Answer, Attacked, Then};
use leadership_testkit::cluster::ConsulCluster;
use support::ground::World;
use support::{call, keys, sessions};

#[async_trait(?Send)]
impl Attacked for World {
    /// A lock that was freed stays, as Go's `api.Lock` leaves it. And a check of which nobody knows, because its
    /// registration was not answered, Consul removes by itself, a minute after it has failed.
    async fn left(cluster: &ConsulCluster) -> anyhow::Result<Vec<String>> {
        let mut left = sessions(cluster).await;
        let checks = call(cluster, "GET", "/v1/agent/checks", "").await;
        let checks = checks.as_object().into_iter().flatten();
        let alive = checks.filter(|(_, check)| check["Status"] != "critical");
        left.extend(alive.map(|(id, _)| id.clone()));
        let entries = keys(cluster, "tests").await;
        left.extend(entries.into_iter().filter(|key| key.contains(".line/")));
        Ok(left)
    }

    async fn requests(cluster: &ConsulCluster) -> anyhow::Result<f64> {
        let mut requests = 0.0;
        for node in 0..cluster.size() {
            requests += cluster.requests(node).await?;
        }
        Ok(requests)
    }

    /// Eight at a time; an answer that is no line has eight MiB at most.
    const ANSWERS_MAX: u64 = 8 * (8 << 20);

    fn half_answers() -> Vec<Answer> {
        const HEAD: &str = "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Type: application/json\r\n";
        let with = |rest: &str| format!("{HEAD}{rest}");
        vec![
            Answer::new("half a head", &HEAD[..20], Then::Close),
            Answer::new("half a head, then silence", HEAD, Then::Hang),
            Answer::new("a head without end", with("X-Padding: "), Then::Flood),
            Answer::new(
                "half a body",
                with("Content-Length: 99\r\n\r\n[{\"Key\":"),
                Then::Close,
            ),
            Answer::new(
                "half a body, then silence",
                with("Content-Length: 99\r\n\r\n[{\"Key\":"),
                Then::Hang,
            ),
            Answer::new(
                "an immense body",
                with("Content-Length: 9223372036854775807\r\n\r\n[ "),
                Then::Flood,
            ),
            Answer::new(
                "a body without end",
                with("Connection: close\r\n\r\n[ "),
                Then::Flood,
            ),
            Answer::new(
                "a length that is none",
                with("Content-Length: -1\r\n\r\n[]"),
                Then::Hang,
            ),
            Answer::new(
                "a body that is no JSON",
                with("Content-Length: 5\r\n\r\nhello"),
                Then::Hang,
            ),
            Answer::new(
                "JSON of something else",
                with("Content-Length: 7\r\n\r\n{\"a\":1}"),
                Then::Hang,
            ),
            Answer::new(
                "chunks without end",
                with("Transfer-Encoding: chunked\r\n\r\n2\r\n[ \r\n"),
                Then::Flood,
            ),
        ]
    }
}

fn main() {
    let mut cases = attacks::over_the_network::<World>();
    cases.extend(attacks::crowd());
    support::main(cases);
}
