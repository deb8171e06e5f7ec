//! Something between us and Consul that sends each request its own way.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What becomes of a request on its way.
pub(crate) enum Way {
    To(SocketAddr),
    /// Answered so, with a status and a text.
    Answer(&'static str, &'static str),
}

/// Something between us and Consul that sends each request its own way, by its first line and header. Each connection
/// is for one request.
pub(crate) async fn between(way: impl Fn(&str) -> Way + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let going = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // Who asked may be gone, and whom it leads to, too.
            let Ok(request) = beginning(&mut client).await else {
                continue;
            };
            let way = way(&request);
            tokio::spawn(go(client, request, way));
        }
    });
    (address, going)
}

/// What has come when all of the header has.
async fn beginning(client: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    while !request.windows(4).any(|part| part == b"\r\n\r\n") {
        if client.read_buf(&mut request).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

async fn go(mut client: TcpStream, request: String, way: Way) -> std::io::Result<()> {
    match way {
        Way::To(target) => {
            let mut server = TcpStream::connect(target).await?;
            let once = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            server.write_all(once.as_bytes()).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        Way::Answer(status, text) => {
            let length = text.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
            client.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}
