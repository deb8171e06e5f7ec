//! What the tests on a real ZooKeeper share: processes with elections, and a look at the store as an operator
//! has it.

pub(crate) mod ground;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leadership_core::{Config, DynStore, Elections, Session};
use leadership_testkit::cluster::ZkCluster;
pub(crate) use leadership_testkit::trials::*;
use leadership_zk::{ZkConfig, ZkStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, CreateMode, Error as ZkError};

/// The cluster of a file.
pub(crate) type Shared = leadership_testkit::trials::Shared<ZkCluster>;

/// One node: no TLS, no access rules.
pub(crate) async fn plain(shared: &Shared) -> &ZkCluster {
    shared.started(ZkCluster::start(1)).await
}

pub(crate) fn connect(url: &str) -> anyhow::Result<DynStore> {
    Ok(Arc::new(ZkStore::new(ZkConfig::from_url(url)?)?))
}

/// A process's part in the elections of a cluster, without a prefix: paths begin with the election's name.
pub(crate) fn process(cluster: &ZkCluster, ttl: Duration) -> Elections {
    let all: Vec<_> = (0..cluster.size()).map(|i| cluster.addr(i).unwrap()).collect();
    through(&addresses(&all), ttl)
}

/// The same by way of other addresses: `host:port,host:port`.
pub(crate) fn through(addresses: &str, ttl: Duration) -> Elections {
    let store = connect(&format!("zk://{addresses}")).unwrap();
    Elections::new(store, Config::with_ttl(ttl)).unwrap()
}

/// Addresses as [`through`] takes them.
pub(crate) fn addresses(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    addresses.join(",")
}

/// An operator's client, past everything that we build.
pub(crate) async fn operator(cluster: &ZkCluster) -> Client {
    let all: Vec<_> = (0..cluster.size()).map(|i| cluster.addr(i).unwrap()).collect();
    let connector = Client::connector().with_session_timeout(Duration::from_secs(10));
    connector.connect(&addresses(&all)).await.unwrap()
}

/// Makes a node as an operator does, and those above it.
pub(crate) async fn make(client: &Client, path: &str, value: &str, mode: CreateMode) {
    let above = path.rsplit_once('/').unwrap().0;
    if !above.is_empty() {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.mkdir(above, &options).await.unwrap();
    }
    let options = mode.with_acls(Acls::anyone_all());
    client.create(path, value.as_bytes(), &options).await.unwrap();
}

/// An entry as it is in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) value: String,
    pub(crate) czxid: u64,
    pub(crate) owner: i64,
}

/// Everything under an election, in order.
pub(crate) async fn line(client: &Client, election: &str) -> Vec<Entry> {
    let node = format!("/{election}");
    client.sync(&node).await.unwrap();
    let children = match client.list_children(&node).await {
        Err(ZkError::NoNode) => Vec::new(),
        children => children.unwrap(),
    };
    let mut entries = Vec::new();
    for child in children {
        let path = format!("{node}/{child}");
        match client.get_data(&path).await {
            Err(ZkError::NoNode) => {}
            read => {
                let (value, stat) = read.unwrap();
                entries.push(Entry {
                    path,
                    value: String::from_utf8(value).unwrap(),
                    czxid: stat.czxid.unsigned_abs(),
                    owner: stat.ephemeral_owner,
                });
            }
        }
    }
    entries.sort_by_key(|entry| entry.czxid);
    entries
}

/// The values under an election, in order.
pub(crate) async fn names(client: &Client, election: &str) -> Vec<String> {
    let entries = line(client, election).await;
    entries.into_iter().map(|entry| entry.value).collect()
}

/// The sessions that the servers know, as ZooKeeper prints them.
pub(crate) async fn sessions(cluster: &ZkCluster) -> Vec<String> {
    // The others know only their own.
    let leader = if cluster.size() == 1 {
        0
    } else {
        cluster.leader().await.unwrap()
    };
    let dump = cluster.four_letters(leader, "dump").await.unwrap();
    let ids = dump.lines().map(str::trim).filter(|line| line.starts_with("0x"));
    let mut ids: Vec<_> = ids.map(|id| id.trim_end_matches(':').to_owned()).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// What ZooKeeper calls a session.
pub(crate) fn number(session: &Session) -> i64 {
    i64::from_str_radix(session.id.as_str().trim_start_matches("0x"), 16).unwrap()
}

/// Ends somebody else's session.
pub(crate) async fn end_session(cluster: &ZkCluster, number: i64) {
    // The request 1, to close the session (-11).
    let close = [1_i32.to_be_bytes(), (-11_i32).to_be_bytes()].concat();
    let name = format!("{number:#x}");
    while sessions(cluster).await.contains(&name) {
        ask_as(cluster, number, &close).await;
    }
}

/// Takes over somebody else's session for a moment.
pub(crate) async fn take_over(cluster: &ZkCluster, number: i64) {
    // A ping (11), which has the number -2.
    let ping = [(-2_i32).to_be_bytes(), 11_i32.to_be_bytes()].concat();
    ask_as(cluster, number, &ping).await;
}

/// Makes an ephemeral sequential node as another's session.
pub(crate) async fn create_as(cluster: &ZkCluster, number: i64, path: &str) {
    let text = |text: &str| {
        let length = i32::try_from(text.len()).unwrap();
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    // The request 1, to create (1), with no data and all permissions (31) for anybody.
    let mut create = [1_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    create.extend(text(path));
    create.extend(text(""));
    create.extend([1_i32.to_be_bytes(), 31_i32.to_be_bytes()].concat());
    create.extend([text("world"), text("anyone")].concat());
    create.extend(3_i32.to_be_bytes());
    ask_as(cluster, number, &create).await;
}

/// A request on a connection that takes over somebody else's session. ZooKeeper wants the session's password,
/// which a server of this version makes from its number (`ZooKeeperServer.java`, `generatePasswd`). Sent at once,
/// because whose session it is takes it back.
async fn ask_as(cluster: &ZkCluster, number: i64, request: &[u8]) {
    let mut connect = Vec::new();
    connect.extend(0_i32.to_be_bytes());
    connect.extend(0_i64.to_be_bytes());
    connect.extend(4000_i32.to_be_bytes());
    connect.extend(number.to_be_bytes());
    connect.extend(16_i32.to_be_bytes());
    connect.extend(password(number));
    connect.push(0);
    let mut both = Vec::new();
    for request in [&connect[..], request] {
        both.extend(i32::try_from(request.len()).unwrap().to_be_bytes());
        both.extend(request);
    }
    let mut stream = TcpStream::connect(cluster.addr(0).unwrap()).await.unwrap();
    stream.write_all(&both).await.unwrap();
    // The two answers, or the end of the connection.
    let mut answers = vec![0; 41 + 20];
    let _ = timeout(Duration::from_secs(1), stream.read_exact(&mut answers)).await;
}

/// What `java.util.Random` makes of a session's number.
fn password(number: i64) -> [u8; 16] {
    const FACTOR: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((number ^ 0xB341_5C00).cast_unsigned() ^ FACTOR) & MASK;
    let mut password = [0; 16];
    for four in password.chunks_mut(4) {
        seed = (seed.wrapping_mul(FACTOR).wrapping_add(0xB)) & MASK;
        four.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
}
