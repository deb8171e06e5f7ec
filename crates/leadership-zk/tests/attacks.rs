//! Garbage in the place of ZooKeeper, many at once, and ends at any moment.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod support;

use async_trait::async_trait;
use leadership_testkit::attacks::{self, Answer, Attacked, FLOOD, Then};
use leadership_testkit::cluster::ZkCluster;
use support::ground::World;
use support::sessions;

#[async_trait(?Send)]
impl Attacked for World {
    /// Entries are of sessions, and what is above them the server removes by itself.
    async fn left(cluster: &ZkCluster) -> anyhow::Result<Vec<String>> {
        Ok(sessions(cluster).await)
    }

    async fn requests(cluster: &ZkCluster) -> anyhow::Result<f64> {
        let mut requests = 0.0;
        for node in 0..cluster.size() {
            requests += cluster.counter(node, "zk_packets_received").await?;
        }
        Ok(requests)
    }

    /// zookeeper-client reads a frame whatever its length, until the time of the request is over. So it is all that is
    /// sent to it, at one connection of the candidate's and one of the follower's.
    const ANSWERS_MAX: u64 = 2 * FLOOD as u64;

    fn half_answers() -> Vec<Answer> {
        // The protocol's version, a timeout of two seconds, the session's number and password, and that it may write.
        let session = [
            &37_i32.to_be_bytes()[..],
            &0_i32.to_be_bytes(),
            &2000_i32.to_be_bytes(),
            &7_i64.to_be_bytes(),
            &16_i32.to_be_bytes(),
            &[1; 16],
            &[0],
        ]
        .concat();
        let and = |rest: &[u8]| [&session[..], rest].concat();
        vec![
            Answer::new("half a session", &session[..10], Then::Close),
            Answer::new("half a session, then silence", &session[..10], Then::Hang),
            Answer::new("a session, then silence", &session[..], Then::Hang),
            Answer::new("a session, then the end", &session[..], Then::Close),
            Answer::new(
                "a session, then half an answer",
                and(&[0, 0, 0, 20, 0, 0]),
                Then::Close,
            ),
            Answer::new(
                "a session, then an odd answer",
                and(&[0, 0, 0, 4, 9, 9, 9, 9]),
                Then::Hang,
            ),
            Answer::new("sessions without end", &session[..], Then::Flood),
            Answer::new("an immense frame", [0x7f, 0xff, 0xff, 0xff], Then::Flood),
            Answer::new(
                "a session, then an immense frame",
                and(&[0x7f, 0xff, 0xff, 0xff]),
                Then::Hang,
            ),
            Answer::new("a length below zero", [0xff; 4], Then::Hang),
        ]
    }
}

fn main() {
    let mut cases = attacks::over_the_network::<World>();
    cases.extend(attacks::crowd());
    support::main(cases);
}
