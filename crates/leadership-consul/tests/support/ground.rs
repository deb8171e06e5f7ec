//! A store of a file's own, as the suites for all stores want it: clients, an operator, and what can be broken.

use std::time::Duration;

use async_trait::async_trait;
use leadership_core::{DynStore, Place, Session};
use leadership_testkit::cluster::ConsulCluster;
use leadership_testkit::conformance::Harness;
use leadership_testkit::known_failures::Networked;
use leadership_testkit::worker::Connect;

use super::{Shared, connect, destroy, plain, remove_held};

#[derive(Default)]
pub(crate) struct World {
    one: Shared,
}

#[async_trait]
impl Harness for World {
    async fn client(&self) -> anyhow::Result<DynStore> {
        connect(&plain(&self.one).await.url(""))
    }

    /// Half of it is the check's, half the lock-delay.
    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }

    /// Whoever leads has the lock, and is removed with it; whoever waits has an entry only.
    async fn remove(&self, place: &Place) -> anyhow::Result<()> {
        remove_held(plain(&self.one).await, place).await;
        Ok(())
    }

    async fn end(&self, session: &Session) -> anyhow::Result<()> {
        destroy(plain(&self.one).await, session.id.as_str()).await;
        Ok(())
    }
}

impl Networked for World {
    type Cluster = ConsulCluster;
    const CONNECT: Connect = connect;
    const LONG: Duration = Duration::from_secs(30);

    fn one(&self) -> &Shared {
        &self.one
    }
}
