//! The requests in what a client sends to ZooKeeper: frames of a length and as many bytes, which begin with a number
//! and a type (`RequestHeader`, `OpCode` in zookeeper.jute and ZooDefs.java).

use super::proxy::CountRequests;

const SYNC: i32 = 9;
/// Not asked by anybody, but sent by the client: to connect, as the first frame; pings, credentials, and watches that
/// are set anew after a reconnection. They have numbers below zero.
const FIRST_NUMBER: i32 = 0;

/// Counts requests, without what renews a session: pings, and syncs of the root.
#[derive(Debug, Default)]
pub struct ZkRequests {
    /// What has come of a frame that is not complete.
    pending: Vec<u8>,
    connected: bool,
}

impl CountRequests for ZkRequests {
    fn count(&mut self, piece: &[u8]) -> u64 {
        self.pending.extend_from_slice(piece);
        let mut count = 0;
        while let Some(frame) = self.next_frame() {
            // The first one opens the session.
            if std::mem::replace(&mut self.connected, true) && is_request(&frame) {
                count += 1;
            }
        }
        count
    }
}

impl ZkRequests {
    fn next_frame(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(number(&self.pending, 0)?).ok()?;
        let frame = self.pending.get(4..4 + length)?.to_vec();
        self.pending.drain(..4 + length);
        Some(frame)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<i32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

fn is_request(frame: &[u8]) -> bool {
    let renews = number(frame, 4) == Some(SYNC) && frame.get(12..) == Some(b"/");
    number(frame, 0).is_some_and(|number| number >= FIRST_NUMBER) && !renews
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: i32, kind: i32, path: &str) -> Vec<u8> {
        let mut body = [number.to_be_bytes(), kind.to_be_bytes()].concat();
        body.extend(i32::try_from(path.len()).expect("short").to_be_bytes());
        body.extend(path.as_bytes());
        let length = i32::try_from(body.len()).expect("short");
        [&length.to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn requests_count_and_what_renews_a_session_does_not() {
        let connect = frame(0, 0, "");
        let frames = [
            (connect, 0),
            (frame(-2, 11, ""), 0),
            (frame(-4, 100, ""), 0),
            (frame(1, SYNC, "/"), 0),
            (frame(2, SYNC, "/election"), 1),
            (frame(3, 2, "/election/entry"), 1),
        ];
        let mut whole = ZkRequests::default();
        for (frame, count) in &frames {
            assert_eq!(whole.count(frame), *count);
        }
        let all: Vec<u8> = frames.iter().flat_map(|(frame, _)| frame.clone()).collect();
        let mut pieces = ZkRequests::default();
        assert_eq!(all.chunks(3).map(|piece| pieces.count(piece)).sum::<u64>(), 2);
    }
}
