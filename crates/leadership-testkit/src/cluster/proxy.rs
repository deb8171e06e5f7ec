//! A TCP proxy that can hang, break or garble one client's way to a server, while everybody else still reaches it.

use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
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
    /// What comes from the server is changed, as much as there is of it.
    Garble,
    Stall,
    StallRequests,
    StallReplies,
    Cut,
}

/// One of the two ways of a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    ToServer,
    ToClient,
}

impl Mode {
    fn lets_pass(self, way: Way) -> bool {
        match self {
            Self::Forward | Self::Garble => true,
            Self::StallRequests => matches!(way, Way::ToClient),
            Self::StallReplies => matches!(way, Way::ToServer),
            Self::Stall | Self::Cut => false,
        }
    }
}

/// Counts the requests in what one client sends on one connection, which comes in any pieces.
pub trait CountRequests: Send {
    /// How many requests begin in this piece.
    fn count(&mut self, piece: &[u8]) -> u64;
}

/// What counts on a new connection.
type Counter = fn() -> Box<dyn CountRequests>;

/// Counts nothing.
struct Uncounted;

impl CountRequests for Uncounted {
    fn count(&mut self, _: &[u8]) -> u64 {
        0
    }
}

/// Listens on a port of 127.0.0.1 and forwards to a server. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    target: Target,
    mode: watch::Sender<Mode>,
    /// Owns the listener and all connections.
    accepting: Mutex<Option<JoinHandle<()>>>,
}

/// Where connections lead, and what is counted on them.
#[derive(Clone, Debug)]
struct Target {
    addr: SocketAddr,
    counter: Counter,
    counted: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy before `target`, forwarding.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        Self::counting(target, || Box::new(Uncounted)).await
    }

    /// A proxy before `addr`, forwarding, which counts requests.
    pub async fn counting(addr: SocketAddr, counter: Counter) -> Result<Self> {
        let target = Target {
            addr,
            counter,
            counted: Arc::default(),
            open: Arc::default(),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("no port for a proxy")?;
        let addr = listener.local_addr()?;
        let mode = watch::Sender::new(Mode::Forward);
        let accepting = tokio::spawn(accept(listener, target.clone(), mode.subscribe()));
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

    /// Requests that have come so far.
    pub fn counted(&self) -> u64 {
        self.target.counted.load(Ordering::Relaxed)
    }

    /// Connections that clients have to it now.
    pub fn connections(&self) -> usize {
        self.target.open.load(Ordering::Relaxed)
    }

    /// Changes every byte of all answers: to a client this is a server that says nothing of sense.
    pub fn garble(&self) {
        self.mode.send_if_modified(|mode| {
            let forwarding = *mode == Mode::Forward;
            if forwarding {
                *mode = Mode::Garble;
            }
            forwarding
        });
    }

    /// Keeps all connections, accepts new ones, forwards nothing: to a client this is a server that hangs.
    pub fn stall(&self) {
        self.hang(Mode::Stall);
    }

    /// The same for what clients send: what the server sends arrives.
    pub fn stall_requests(&self) {
        self.hang(Mode::StallRequests);
    }

    /// The same for what the server sends: requests arrive, and nobody hears the answer.
    pub fn stall_replies(&self) {
        self.hang(Mode::StallReplies);
    }

    fn hang(&self, how: Mode) {
        self.mode.send_if_modified(|mode| {
            // A proxy that is cut has nothing to stall.
            let changes = !matches!(*mode, Mode::Cut) && *mode != how;
            if changes {
                *mode = how;
            }
            changes
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
        let accepting = tokio::spawn(accept(listener, self.target.clone(), self.mode.subscribe()));
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
async fn accept(listener: TcpListener, target: Target, mut mode: watch::Receiver<Mode>) {
    let mut connections = JoinSet::new();
    let mode_of_connections = mode.clone();
    loop {
        tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => break,
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, target.clone(), mode_of_connections.clone()));
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// A connection that is open.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(client: TcpStream, target: Target, mut mode: watch::Receiver<Mode>) {
    target.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(Arc::clone(&target.open));
    // Whoever hears nothing in one direction has a connection all the same.
    let open = |mode: &Mode| !matches!(mode, Mode::Stall | Mode::Cut);
    if mode.wait_for(open).await.is_err() {
        return;
    }
    // A server that refuses: the client sees its connection close.
    let Ok(server) = TcpStream::connect(target.addr).await else {
        return;
    };
    // Requests are small and wait for answers.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut counter = (target.counter)();
    let count = |piece: &mut [u8]| {
        target.counted.fetch_add(counter.count(piece), Ordering::Relaxed);
    };
    tokio::join!(
        pump(from_client, to_server, (mode.clone(), Way::ToServer), count),
        pump(from_server, to_client, (mode.clone(), Way::ToClient), |piece| {
            if *mode.borrow() == Mode::Garble {
                piece.iter_mut().for_each(|byte| *byte = !*byte);
            }
        })
    );
}

/// Copies one direction until its end.
async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    (mut mode, way): (watch::Receiver<Mode>, Way),
    mut look: impl FnMut(&mut [u8]),
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer).await {
        look(&mut buffer[..length]);
        // What was read while stalled waits here, the end of the stream included.
        if !passing(&mut mode, way).await || length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The other side may already be gone.
    let _ = to.shutdown().await;
}

/// Waits until this way is open; false when there is no proxy any more.
async fn passing(mode: &mut watch::Receiver<Mode>, way: Way) -> bool {
    mode.wait_for(|mode| mode.lets_pass(way)).await.is_ok()
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
    async fn stalls_one_way_and_lets_the_other_pass() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let mut word = [0; 4];
        let while_stalled = Duration::from_millis(100);

        proxy.stall_requests();
        client.write_all(b"asks").await.unwrap();
        server.write_all(b"says").await.unwrap();
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(word, *b"says");
        let heard = timeout(while_stalled, server.read_exact(&mut word)).await;
        assert!(heard.is_err(), "no request passes");

        proxy.stall_replies();
        server.read_exact(&mut word).await.unwrap();
        assert_eq!(word, *b"asks");
        server.write_all(b"says").await.unwrap();
        let heard = timeout(while_stalled, client.read_exact(&mut word)).await;
        assert!(heard.is_err(), "no reply passes");

        proxy.resume().await.unwrap();
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(word, *b"says");
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
    async fn garbles_answers_and_counts_connections() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");
        assert_eq!(proxy.connections(), 1);
        proxy.garble();
        assert_eq!(exchange(&mut stream).await.unwrap(), b"ping".map(|byte| !byte));
        proxy.resume().await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap(), *b"ping");
        drop(stream);
        timeout(Duration::from_secs(5), async {
            while proxy.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
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
