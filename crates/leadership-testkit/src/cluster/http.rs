//! The little HTTP that health checks, counters and looking into Consul need, without a client library.

use anyhow::{Context, Result};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A paused node accepts connections and then says nothing.
const ANSWER: Duration = Duration::from_secs(3);

/// Status and body of one GET.
pub(super) async fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    request(server, "GET", path, "", "").await
}

/// Status and body of any request; `headers` are whole lines.
pub(super) async fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Result<(u16, String)> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request.as_bytes()).await?;
        // HTTP/1.0: the server closes the connection after the answer.
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let context = || format!("{method} http://{server}{path}");
    let answer = timeout(ANSWER, exchange)
        .await
        .with_context(context)?
        .with_context(context)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(context)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .with_context(context)?;
    Ok((status, body.to_owned()))
}
