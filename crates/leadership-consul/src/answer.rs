//! What an address answers: read up to a length, and believed where it is what Consul answers. A page for maintenance
//! or a balancer in Consul's place has statuses as well.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Response, StatusCode};

use crate::error::Failure;
use crate::line::RECURSE;

/// Consul's answer about a line of two thousand contenders is smaller, each with the largest value, in base64.
const LINE_MAX: usize = 256 << 20;
/// Any other answer is about one key, check or session.
const ANSWER_MAX: usize = 8 << 20;
/// How agents say that they have no such check or service (agent/agent_endpoint.go), where it is no failure of theirs.
const UNKNOWN: [&str; 2] = ["Unknown check", "Unknown service"];

/// An answer of Consul, whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `X-Consul-Index`; 0 where there is none.
    pub(crate) index: u64,
    pub(crate) body: Bytes,
    /// Which address answered.
    pub(crate) from: usize,
}

impl Answer {
    /// Reads the answer to a request for `path`, which the address `from` gave. What is not Consul's is a failure.
    pub(crate) async fn read(response: Response<Incoming>, path: &str, from: usize) -> Result<Self, Failure> {
        let (head, body) = response.into_parts();
        let is_line = head.status.is_success() && path.contains(RECURSE);
        let body = whole(body, if is_line { LINE_MAX } else { ANSWER_MAX }).await?;
        let index = head
            .headers
            .get("x-consul-index")
            .and_then(|index| index.to_str().ok()?.parse().ok());
        let answer = Self {
            status: head.status,
            index: index.unwrap_or(0),
            body,
            from,
        };
        match answer.status {
            // The callers know what these mean.
            status if status.is_success() => {}
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => {}
            status => return Err(Failure::answer(status, &answer.body)),
        }
        if answer.is_consuls(path) {
            Ok(answer)
        } else {
            Err(Failure::not_consul(answer.status))
        }
    }

    /// Whether Consul answers so. With every key it tells an index, even with one that is not there. Of a session that it
    /// has renewed it tells all, of one that is not there the id, and of one that it has ended no more than that it did;
    /// what an agent does for us it does without a word.
    fn is_consuls(&self, path: &str) -> bool {
        const RENEWED: &str = "/v1/session/renew/";
        if path.starts_with("/v1/kv/") {
            return self.index > 0;
        }
        let is_missing = self.status == StatusCode::NOT_FOUND;
        let says = |part: &str| String::from_utf8_lossy(&self.body).contains(part);
        if let Some(session) = path.strip_prefix(RENEWED) {
            return says(session) && (is_missing || says("\"ID\""));
        }
        if path.starts_with("/v1/session/destroy/") {
            return !is_missing && says("true");
        }
        match path.starts_with("/v1/agent/") {
            true if is_missing => UNKNOWN.iter().any(|text| says(text)),
            true => self.body.is_empty(),
            false => !is_missing,
        }
    }
}

/// All of a body that has no more than `most` bytes; of a longer one as little as tells it, because it may have no end.
async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, Failure> {
    let announced = body.size_hint().lower();
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > most {
        return Err(Failure::too_long(most));
    }
    let mut whole = Vec::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::transport(&error, false))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > most - whole.len() {
            return Err(Failure::too_long(most));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::Method;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{ANSWER_MAX, RECURSE};
    use crate::client::{Api, Ask};
    use crate::config::ConsulConfig;

    /// Asks a server whose every answer is longer than one about a single key.
    async fn asked(path: &str) -> Result<usize, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound").to_string();
        let server = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("asked");
            let read = client.read(&mut [0; 4096]).await;
            assert!(matches!(read, Ok(1..)));
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: {}\r\n\r\n",
                ANSWER_MAX + 1
            );
            // Whoever has read enough closes the connection.
            if client.write_all(head.as_bytes()).await.is_ok() {
                let _closed = client.write_all(&vec![b' '; ANSWER_MAX + 1]).await;
            }
        });
        let api = Api::new(&ConsulConfig::new([addr]).expect("config")).expect("made");
        let ask = Ask {
            operation: "test",
            method: Method::GET,
            path: path.to_owned(),
            body: Vec::new(),
            limit: Duration::from_secs(20),
        };
        let answer = api.ask(&ask).await;
        server.abort();
        answer
            .map(|answer| answer.body.len())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_line_may_be_longer_than_any_other_answer() {
        let line = asked(&format!("/v1/kv/e.line/?consistent{RECURSE}")).await;
        assert_eq!(line, Ok(ANSWER_MAX + 1));
        let key = asked("/v1/kv/e?consistent").await.expect_err("refused");
        assert!(key.contains("more than 8 MiB"), "{key}");
    }
}
