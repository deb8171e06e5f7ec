//! All stores with TLS in one program, which has two providers of cryptography and chooses none: nothing panics, and
//! an election is held on each.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leadership::{Config, Elections, connect};
use leadership_testkit::cluster::{Authority, ConsulCluster, EtcdCluster, ZkCluster};
use leadership_testkit::trials::{self, cases, elected, election, soon};

#[derive(Default)]
struct World;

fn main() {
    trials::main::<World>(cases![every_store_with_tls_in_one_program]);
}

/// Certificates in files, as applications have them; removed on drop.
struct Files(PathBuf);

impl Files {
    fn new(store: &str, authority: &Authority) -> Self {
        let folder = std::env::temp_dir().join(format!("leadership-tls-{}-{store}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let identity = authority.identity().unwrap();
        std::fs::write(folder.join("ca.pem"), authority.certificate()).unwrap();
        std::fs::write(folder.join("cert.pem"), identity.certificate).unwrap();
        std::fs::write(folder.join("key.pem"), identity.key).unwrap();
        Self(folder)
    }

    fn options(&self) -> String {
        let path = |name: &str| Path::new(&self.0).join(name).display().to_string();
        format!(
            "ca={}&cert={}&key={}",
            path("ca.pem"),
            path("cert.pem"),
            path("key.pem")
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn every_store_with_tls_in_one_program(_: Arc<World>) {
    let (etcd, consul, zk) = tokio::try_join!(
        EtcdCluster::builder().tls().start(),
        ConsulCluster::builder().tls().start(),
        ZkCluster::builder().tls().start(),
    )
    .unwrap();
    let stores = [
        ("etcd", etcd.url("tls"), etcd.authority()),
        ("consul", consul.url("tls"), consul.authority()),
        ("zk", zk.url("tls"), zk.authority()),
    ];
    let mut leading = Vec::new();
    for (store, url, authority) in stores {
        let files = Files::new(store, authority.unwrap());
        let url = format!("{url}?{}", files.options());
        let connected = soon(store, connect(&url)).await.unwrap();
        let elections = Elections::new(connected, Config::with_ttl(Duration::from_secs(5))).unwrap();
        let candidate = elections.stand(election(store), store).unwrap();
        elected(&candidate).await;
        leading.push((elections, candidate));
    }
    assert!(leading.iter().all(|(_, candidate)| candidate.is_leader()));
    for (elections, _) in leading {
        elections.close().await;
    }
}
