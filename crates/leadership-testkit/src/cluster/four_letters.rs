//! ZooKeeper's commands of four letters: sent as they are, answered with text until the connection closes.

use anyhow::{Context, Result};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// A paused node accepts connections and then says nothing.
const ANSWER: Duration = Duration::from_secs(3);

pub(super) async fn ask(server: SocketAddr, command: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(command.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let context = || format!("{command} to {server}");
    timeout(ANSWER, exchange)
        .await
        .with_context(context)?
        .with_context(context)
}
