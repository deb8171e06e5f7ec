//! A store of a file's own, as the suites for all stores want it: clients, an operator, and what can be broken.

use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{DynStore, Place, Session};
use leadership_testkit::cluster::ZkCluster;
use leadership_testkit::conformance::Harness;
use leadership_testkit::known_failures::Networked;
use leadership_testkit::worker::Connect;

use super::{Shared, connect, end_session, number, operator, plain};

#[derive(Default)]
pub(crate) struct World {
    one: Shared,
}

#[async_trait]
impl Harness for World {
    async fn client(&self) -> anyhow::Result<DynStore> {
        connect(&plain(&self.one).await.url(""))
    }

    /// Four ticks of the servers here.
    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        let client = operator(plain(&self.one).await).await;
        Ok(client.delete(&place.key, None).await?)
    }

    async fn end(&self, session: &Session) -> anyhow::Result<()> {
        end_session(plain(&self.one).await, number(session)).await;
        Ok(())
    }
}

impl Networked for World {
    type Cluster = ZkCluster;
    const CONNECT: Connect = connect;
    /// The longest that the servers grant here.
    const LONG: Duration = Duration::from_secs(10);

    fn one(&self) -> &Shared {
        &self.one
    }
}
