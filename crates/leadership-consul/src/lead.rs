//! Who leads an election, as a stream: watches the lock, and reads the entry of whoever has just taken it.

use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::stream::unfold;
use leadership_core::{Leader, SessionId, StoreError, Token};

use crate::line::{Keys, Line};
use crate::watch::{OPERATION, Seen, Watch};

/// How long to who follows. Nothing else tells it that a server hangs, and while it does, the follower tells of a leader
/// that is none: so it asks more often than those who lead and wait.
const WAIT_FOLLOWING: Duration = Duration::from_secs(5);

/// Follows who leads an election.
pub(crate) fn leader(line: Arc<Line>, keys: Keys) -> BoxStream<'static, Result<Option<Leader>, StoreError>> {
    let watch = Watch::new(&line, &*keys.lock, WAIT_FOLLOWING);
    let follow = FollowLock {
        line,
        keys,
        watch,
        holder: None,
        last: None,
        failed: false,
    };
    Box::pin(unfold(follow, FollowLock::next))
}

/// One holding of the lock.
#[derive(PartialEq, Eq)]
struct Held {
    session: String,
    /// When the key was made, and how often it has been locked since.
    since: (u64, u64),
}

struct FollowLock {
    line: Arc<Line>,
    keys: Keys,
    watch: Watch,
    /// Who held the lock last since when, and the token of its term if its entry tells.
    holder: Option<(Held, Option<Token>)>,
    last: Option<Option<Leader>>,
    failed: bool,
}

impl FollowLock {
    async fn next(mut self) -> Option<(Result<Option<Leader>, StoreError>, Self)> {
        if self.failed {
            return None;
        }
        loop {
            match Box::pin(self.look()).await {
                Ok(leader) if self.last.as_ref() == Some(&leader) => {}
                Ok(leader) => {
                    self.last = Some(leader.clone());
                    return Some((Ok(leader), self));
                }
                Err(error) => {
                    self.failed = true;
                    return Some((Err(error), self));
                }
            }
        }
    }

    async fn look(&mut self) -> Result<Option<Leader>, StoreError> {
        let pair = loop {
            if let Seen::Changed(pair) = self.watch.look(&self.line).await? {
                break pair;
            }
        };
        let Some(pair) = pair.filter(|pair| !pair.session.is_empty()) else {
            self.holder = None;
            return Ok(None);
        };
        let held = Held {
            session: pair.session.clone(),
            since: (pair.create_index, pair.lock_index),
        };
        let token = match &self.holder {
            Some((same, token)) if *same == held => *token,
            _ => {
                let session = SessionId::new(&*pair.session);
                let entry = self.line.entry(OPERATION, &self.keys, &session).await?;
                entry
                    .filter(|entry| entry.leading)
                    .map(|entry| Token(entry.version))
            }
        };
        self.holder = Some((held, token));
        Ok(Some(Leader {
            value: pair.value,
            token,
            // Where one that knows no line has none, it still tells it from another.
            key: self.keys.entry(&pair.session).into(),
        }))
    }
}
