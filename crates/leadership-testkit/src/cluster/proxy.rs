//! A TCP proxy that can hang or break one client's way to a server, while everybody else still reaches it.

use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    Stall,
    Cut,
}

/// Listens on a port of 127.0.0.1 and forwards to a server. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Owns the listener and all connections.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// A proxy before `target`, forwarding.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a proxy")?;
        let addr = listener.local_addr()?;
        let mode = watch::Sender::new(Mode::Forward);
        let accepting = tokio::spawn(accept(listener, target, mode.subscribe()));
        Ok(Self {
            addr,
            target,
            mode,
            accepting: Mutex::new(Some(accepting)),
        })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Keeps all connections, accepts new ones, forwards nothing: to a client this is a server that hangs.
    pub fn stall(&self) {
        self.mode.send_if_modified(|mode| {
            // A proxy that is cut has nothing to stall.
            let forwarding = *mode == Mode::Forward;
            if forwarding {
                *mode = Mode::Stall;
            }
            forwarding
        });
    }

    /// Closes all connections and refuses new ones.
    pub async fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
        if let Some(accepting) = self.take() {
            // It ends by itself once it has seen the mode; only then is everything closed.
            let _ = accepting.await;
        }
    }

    /// Forwards again, beginning with what has piled up while it stalled; after a cut, on the same port.
    pub async fn resume(&self) -> Result<()> {
        let cut = *self.mode.borrow() == Mode::Cut;
        if !cut {
            self.mode.send_replace(Mode::Forward);
            return Ok(());
        }
        let listener = TcpListener::bind(self.addr).await;
        let listener =
            listener.with_context(|| format!("the proxy's port {} was taken after a cut", self.addr))?;
        self.mode.send_replace(Mode::Forward);
        let accepting = tokio::spawn(accept(listener, self.target, self.mode.subscribe()));
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = Some(accepting);
        Ok(())
    }

    fn take(&self) -> Option<JoinHandle<()>> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.take() {
            accepting.abort();
        }
    }
}

/// Ends when the mode is Cut, and with it every connection.
async fn accept(listener: TcpListener, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    let mode_of_connections = mode.clone();
    loop {
        tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => break,
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, target, mode_of_connections.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connect(client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    if !forwarding(&mut mode).await {
        return;
    }
    // A server that refuses: the client sees its connection close.
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // Requests are small and wait for answers.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        pump(from_client, to_server, mode.clone()),
        pump(from_server, to_client, mode)
    );
}

/// Copies one direction until its end.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        // What was read while stalled waits here, the end of the stream included.
        if !forwarding(&mut mode).await || length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other side may already be gone.
    let _ = to.shutdown().await;
}

/// Waits until the mode is Forward; false when there is no proxy any more.
async fn forwarding(mode: &mut watch::Receiver<Mode>) -> bool {
    mode.wait_for(|mode| *mode == Mode::Forward).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    /// A server that sends everything back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        addr
    }

    async fn exchange(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
        stream.write_all(b"ping").await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn stalls_and_goes_on_with_the_same_connection() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");

        proxy.stall();
        stream.write_all(b"late").await.unwrap();
        let mut answer = [0; 4];
        let waited = timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await;
        assert!(waited.is_err(), "nothing comes through a stalled proxy");
        let mut second = TcpStream::connect(proxy.addr()).await.unwrap();

        proxy.resume().await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, *b"late");
        assert_eq!(exchange(&mut second).await.unwrap(), *b"ping");
    }

    #[tokio::test]
    async fn cuts_and_listens_again_on_the_same_port() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");

        proxy.cut().await;
        assert!(exchange(&mut stream).await.is_err(), "the connection is closed");
        assert!(
            TcpStream::connect(proxy.addr()).await.is_err(),
            "a new one is refused"
        );
        proxy.stall();
        assert!(
            TcpStream::connect(proxy.addr()).await.is_err(),
            "stalling does not undo a cut"
        );

        proxy.resume().await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");
    }

    #[tokio::test]
    async fn closes_everything_when_dropped() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let addr = proxy.addr();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");
        drop(proxy);
        assert!(stream.read_u8().await.is_err(), "the connection is closed");
        assert!(TcpStream::connect(addr).await.is_err());
    }
}
