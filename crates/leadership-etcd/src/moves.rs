//! Moving a session's entries to a new lease, when etcd has elected another leader: why, and what is next, is in
//! [`leases`](crate::leases).
//!
//! Each step may be given up and be applied late. A move names the lease that it takes the entry from, so it does nothing
//! to one that has moved on; and an entry cannot be put on a lease that is gone.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use futures_util::stream::{self, StreamExt};
use leadership_core::{Outcome, Session, StoreError};
use tracing::debug;

use crate::client::{Endpoints, within};
use crate::leases::{Leases, Next};
use crate::session::{REVOKE_LIMIT, grant, new_lease, revoke};

/// How long a request may take that moves entries to a new lease; tried again with the next renewal.
const MOVE_LIMIT: Duration = Duration::from_secs(2);
/// How many entries of a session are moved at once.
const MOVES: usize = 16;

/// Who moves a session's entries to a lease of etcd's present term.
pub(crate) struct Mover {
    endpoints: Arc<Endpoints>,
    leases: Leases,
    session: Session,
}

impl Mover {
    pub(crate) fn new(endpoints: Arc<Endpoints>, leases: Leases, session: Session) -> Self {
        Self {
            endpoints,
            leases,
            session,
        }
    }

    /// Moves what can be moved now; tells of a lease that may have been granted for nothing, and where.
    pub(crate) async fn run(self) -> (Arc<Endpoints>, Option<i64>) {
        let unneeded = match self.move_entries().await {
            Ok(unneeded) => unneeded,
            Err((error, unneeded)) => {
                debug!(
                    session = %self.session.id,
                    %error,
                    "entries stay on a lease that earlier leaders of etcd know"
                );
                unneeded
            }
        };
        (Arc::clone(&self.endpoints), unneeded)
    }

    /// Does what is next until nothing is.
    async fn move_entries(&self) -> Result<Option<i64>, (StoreError, Option<i64>)> {
        let (endpoints, leases, session) = (&self.endpoints, &self.leases, &self.session);
        loop {
            match leases.next(&session.id) {
                Next::Rest => return Ok(None),
                Next::Grant(term) => {
                    let lease = new_lease();
                    let granted = grant("renew", endpoints, lease, session.ttl.as_secs());
                    let granted = match within("renew", MOVE_LIMIT, granted).await {
                        Ok(granted) => granted,
                        Err(error) if error.outcome() == Outcome::Unknown => {
                            return Err((error, Some(lease)));
                        }
                        Err(error) => return Err((error, None)),
                    };
                    let as_long = u64::try_from(granted.ttl()).is_ok_and(|ttl| ttl >= session.ttl.as_secs());
                    if !as_long || !leases.granted(&session.id, lease, term) {
                        return Ok(Some(lease));
                    }
                }
                Next::Renew(lease) => {
                    let renewed = endpoints.call("renew", |clients| async move {
                        clients.lease.clone().keep_alive(lease).await.map(drop)
                    });
                    if let Err(error) = within("renew", MOVE_LIMIT, renewed).await {
                        leases.abandon(&session.id, lease);
                        return Err((error, Some(lease)));
                    }
                    leases.ready(&session.id, lease);
                }
                Next::Move { keys, from, to, all } => {
                    let moves = keys.into_iter().map(|key| move_entry(endpoints, key, from, to));
                    let moved: Vec<_> = stream::iter(moves).buffer_unordered(MOVES).collect().await;
                    // Each of them is tried, whatever became of others.
                    let moved: Result<(), _> = moved.into_iter().collect();
                    moved.map_err(|error| (error, None))?;
                    if !all {
                        return Ok(None);
                    }
                    // It has nothing left to lose, and ends by itself if this fails.
                    leases.drop_lease(&session.id, from);
                    let _ = tokio::time::timeout(REVOKE_LIMIT, revoke(endpoints, from)).await;
                    debug!(
                        session = %session.id,
                        lease = format!("{to:x}"),
                        "moved to a lease that no earlier leader of etcd knows"
                    );
                }
            }
        }
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.leases.rest(&self.session.id);
    }
}

/// Moves an entry, as it is, if it is there and on this lease.
async fn move_entry(endpoints: &Endpoints, key: String, from: i64, to: i64) -> Result<(), StoreError> {
    let options = PutOptions::new().with_lease(to).with_ignore_value();
    let txn = Txn::new()
        .when([Compare::lease(key.clone(), CompareOp::Equal, from)])
        .and_then([TxnOp::put(key, "", Some(options))]);
    let moved = endpoints.call("renew", |clients| {
        let txn = txn.clone();
        async move { clients.kv.clone().txn(txn).await }
    });
    within("renew", MOVE_LIMIT, moved).await.map(drop)
}
