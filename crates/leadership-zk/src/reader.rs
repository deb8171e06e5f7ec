//! The reader: a link for what belongs to no session of ours, and the room on it for what is watched.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leadership_core::StoreError;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::debug;

use crate::client::{Link, Servers, WATCHED_MAX, lock};

/// How long the reader's session is kept without a sign of life. Nothing lives and dies with it.
const READER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reader that lost its connection may take to get it back. Its client tries less and less often, and would
/// find servers that are there again only seconds later; a new one finds them at once.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// A link on which one may watch so many bytes of paths, until this is dropped.
pub(crate) struct Room {
    link: Arc<Link>,
    bytes: usize,
}

impl Room {
    /// Taken before anything is watched: many ask at once when a link is new. `None` if there is not so much, of `max`.
    pub(crate) fn take(link: &Arc<Link>, bytes: usize, max: usize) -> Option<Self> {
        take(&link.taken, bytes, max).then(|| Self {
            link: Arc::clone(link),
            bytes,
        })
    }

    /// Takes more if this is not enough, also where it does not fit: then nobody else does.
    pub(crate) fn widen(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.link.taken.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
    }
}

impl Deref for Room {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.link.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Takes bytes if they fit; where nothing is taken, any do.
fn take(taken: &AtomicUsize, bytes: usize, max: usize) -> bool {
    let fits = |taken: usize| (taken == 0 || taken + bytes <= max).then_some(taken + bytes);
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
        .is_ok()
}

/// A link for reading what belongs to no session of ours: made when first needed, and anew when it has ended.
pub(crate) struct Reader {
    servers: Arc<Servers>,
    link: Mutex<Arc<OnceCell<Arc<Link>>>>,
}

impl Reader {
    pub(crate) fn new(servers: Arc<Servers>) -> Self {
        Self {
            servers,
            link: Mutex::default(),
        }
    }

    /// The link, connected a moment ago. Several that wait for it wait for one. Cancel safe.
    pub(crate) async fn link(&self, operation: &'static str) -> Result<Arc<Link>, StoreError> {
        let cell = self.cell();
        if let Some(link) = cell.get() {
            if let Ok(Ok(_)) = timeout(READER_PATIENCE, link.client()).await {
                return Ok(Arc::clone(link));
            }
            link.end();
        }
        let connect = || async {
            let link = self.servers.connect(operation, READER_TIMEOUT).await?;
            debug!(session = link.name(), "ZooKeeper reader connected");
            Ok(Arc::new(link))
        };
        // Another one than before, if that was just ended.
        self.cell().get_or_try_init(connect).await.map(Arc::clone)
    }

    /// The link, with room to watch so many bytes of paths: another one if they do not fit.
    pub(crate) async fn room(&self, operation: &'static str, bytes: usize) -> Result<Room, StoreError> {
        loop {
            let link = self.link(operation).await?;
            if let Some(room) = Room::take(&link, bytes, WATCHED_MAX) {
                return Ok(room);
            }
            // What a full one watches goes on, for as long as somebody holds it.
            let mut cell = lock(&self.link);
            if cell.get().is_some_and(|last| Arc::ptr_eq(last, &link)) {
                *cell = Arc::default();
            }
        }
    }

    /// Where the link is, or will be: another place once it is over.
    fn cell(&self) -> Arc<OnceCell<Arc<Link>>> {
        let mut cell = lock(&self.link);
        if cell.get().is_some_and(|link| link.is_over()) {
            *cell = Arc::default();
        }
        Arc::clone(&cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_can_be_watched_anew() {
        let take = |taken: &AtomicUsize, bytes| take(taken, bytes, WATCHED_MAX);
        let taken = AtomicUsize::new(0);
        let count = (0..9999).take_while(|_| take(&taken, 164)).count();
        assert_eq!(count, WATCHED_MAX / 164);
        taken.fetch_sub(164, Ordering::Relaxed);
        assert!(
            take(&taken, 164) && !take(&taken, 164),
            "what is given back is free"
        );
        // Or no link would ever do.
        assert!(take(&AtomicUsize::new(0), WATCHED_MAX + 1));
    }
}
