//! Garbage in the place of etcd, many at once, and ends at any moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use async_trait::async_trait;
use leadership_testkit::attacks::{self, Answer, Attacked, Then};
use leadership_testkit::cluster::EtcdCluster;
use support::ground::World;
use support::{leases, line, operator};

#[async_trait(?Send)]
impl Attacked for World {
    async fn left(cluster: &EtcdCluster) -> anyhow::Result<Vec<String>> {
        let client = operator(cluster).await;
        let mut left: Vec<String> = leases(&client).await.iter().map(|id| format!("{id:x}")).collect();
        left.extend(line(&client, "tests").await.into_iter().map(|entry| entry.key));
        Ok(left)
    }

    async fn requests(cluster: &EtcdCluster) -> anyhow::Result<f64> {
        let mut requests = 0.0;
        for node in 0..cluster.size() {
            let counters = cluster.metrics(node).await?;
            // What is sent on a stream that is open counts as well: watches and renewals.
            let received = counters
                .lines()
                .filter(|line| line.starts_with("grpc_server_msg_received_total{"))
                .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            requests += received.sum::<f64>();
        }
        Ok(requests)
    }

    /// HTTP/2 has windows, and tonic reads the length before the message.
    const ANSWERS_MAX: u64 = 0;

    fn half_answers() -> Vec<Answer> {
        /// Length, type, flags and stream of an HTTP/2 frame.
        fn frame(length: [u8; 3], kind: u8, flags: u8, stream: u8) -> [u8; 9] {
            let [a, b, c] = length;
            [a, b, c, kind, flags, 0, 0, 0, stream]
        }
        let settings = frame([0; 3], 4, 0, 0);
        // 200, and the type of all that is gRPC.
        let head = [&frame([0, 0, 19], 1, 4, 1)[..], b"\x88\x5f\x10application/grpc"].concat();
        let promise = [
            &frame([0, 0, 8], 0, 0, 1)[..],
            &[0, 0x7f, 0xff, 0xff, 0xff, 10, 11, 12],
        ]
        .concat();
        vec![
            Answer::new("half a frame", &settings[..5], Then::Close),
            Answer::new("half a frame, then silence", &settings[..5], Then::Hang),
            Answer::new("settings, then silence", settings, Then::Hang),
            Answer::new(
                "an immense frame",
                [settings, frame([0xff; 3], 0, 0, 1)].concat(),
                Then::Flood,
            ),
            Answer::new("half an answer", [&settings[..], &head].concat(), Then::Close),
            Answer::new(
                "half an answer, then silence",
                [&settings[..], &head].concat(),
                Then::Hang,
            ),
            Answer::new(
                "an immense message",
                [&settings[..], &head, &promise].concat(),
                Then::Hang,
            ),
            Answer::new(
                "another protocol",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                Then::Hang,
            ),
        ]
    }
}

fn main() {
    let mut cases = attacks::over_the_network::<World>();
    cases.extend(attacks::crowd());
    support::main(cases);
}
