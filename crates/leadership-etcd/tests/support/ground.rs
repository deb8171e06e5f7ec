//! A store of a file's own, as the suites for all stores want it: clients, an operator, and what can be broken.

use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{DynStore, Place, Session};
use leadership_testkit::cluster::EtcdCluster;
use leadership_testkit::conformance::Harness;
use leadership_testkit::known_failures::Networked;
use leadership_testkit::worker::Connect;
use tokio::runtime::Handle;

use super::{Shared, connect, plain, remove_entry, revoke_session};

#[derive(Default)]
pub(crate) struct World {
    one: Shared,
}

impl World {
    /// A harness's futures may move between threads, and that of the first start may not.
    fn cluster(&self) -> &EtcdCluster {
        tokio::task::block_in_place(|| Handle::current().block_on(plain(&self.one)))
    }
}

#[async_trait]
impl Harness for World {
    async fn client(&self) -> anyhow::Result<DynStore> {
        connect(&self.cluster().url(""))
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        remove_entry(self.cluster(), place).await
    }

    async fn end(&self, session: &Session) -> anyhow::Result<()> {
        revoke_session(self.cluster(), session).await
    }
}

impl Networked for World {
    type Cluster = EtcdCluster;
    const CONNECT: Connect = connect;
    const LONG: Duration = Duration::from_secs(10);

    fn one(&self) -> &Shared {
        &self.one
    }
}
