//! The watch hub's task: opens the gRPC stream when there is something to watch, creates and cancels watches
//! on it, passes what it tells to the watches' cells, and moves them to another stream or ends them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    KeyValue, WatchFilterType, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream,
};
use leadership_core::StoreError;
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::client::{Endpoints, within};
use crate::error::{Failure, Next, watch_cancelled};
use crate::watch::{Command, End, News, OPERATION, Spec, gone};

/// Opening the stream takes a round trip.
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// A watch as the task knows it.
struct Active {
    spec: Spec,
    cell: watch::Sender<News>,
}

/// A request to be sent on the stream.
enum Request {
    Create(i64),
    Cancel(i64),
}

/// How serving a stream ended.
enum Served {
    /// Nothing is watched any more.
    Idle,
    /// The hub and all watches are dropped.
    Dropped,
    /// The watches go on, on a new stream.
    Move,
    /// The watches have ended.
    Failed(StoreError),
}

/// The hub's task.
pub(crate) struct WatchTask {
    endpoints: Arc<Endpoints>,
    inbox: mpsc::UnboundedReceiver<Command>,
    watches: HashMap<i64, Active>,
    /// What is to be sent on the stream, and the creations sent on it but not confirmed, in their order.
    to_send: VecDeque<Request>,
    unconfirmed: VecDeque<i64>,
    /// Whether the token was refused, and no watch was confirmed since.
    refused: bool,
}

impl WatchTask {
    pub(crate) fn new(endpoints: Arc<Endpoints>, inbox: mpsc::UnboundedReceiver<Command>) -> Self {
        Self {
            endpoints,
            inbox,
            watches: HashMap::new(),
            to_send: VecDeque::new(),
            unconfirmed: VecDeque::new(),
            refused: false,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            match self.serve().await {
                Served::Idle => {}
                Served::Move => debug!(watches = self.watches.len(), "etcd watches move to a new stream"),
                Served::Dropped => return,
                Served::Failed(error) => {
                    debug!(watches = self.watches.len(), %error, "etcd watch stream failed");
                    for (_, active) in self.watches.drain() {
                        active.end(End::Failed(error.clone()));
                    }
                }
            }
        }
    }

    /// Opens a stream when there is something to watch, and serves it until it ends.
    async fn serve(&mut self) -> Served {
        while self.watches.is_empty() {
            match self.inbox.recv().await {
                Some(command) => self.take(command),
                None => return Served::Dropped,
            }
        }
        self.to_send = self.watches.keys().copied().map(Request::Create).collect();
        self.unconfirmed.clear();
        let mut current = self.endpoints.subscribe();
        let (index, mut requests, mut responses) = match self.open().await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Served::Dropped,
            Err(error) => return Served::Failed(error),
        };
        debug!(
            endpoint = self.endpoints.address(index),
            watches = self.watches.len(),
            "etcd watch stream open"
        );
        loop {
            let step = tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(command) => {
                        self.take(command);
                        None
                    }
                    None => Some(Served::Dropped),
                },
                answer = responses.message() => match answer {
                    Ok(Some(response)) => self.handle(index, &response),
                    Ok(None) => {
                        self.endpoints.rotate(index);
                        Some(Served::Failed(gone("etcd ended the watch stream")))
                    }
                    Err(error) => Some(self.failed(index, error.into())),
                },
                sent = send(&mut requests, &mut self.to_send, &self.watches) => match sent {
                    // An answer to a creation comes after it was sent, and we read it after this.
                    Ok(Some(id)) => {
                        self.unconfirmed.push_back(id);
                        None
                    }
                    Ok(None) => None,
                    Err(error) => Some(self.failed(index, error.into())),
                },
                // Requests left this endpoint because it fails them; what is watched through it may hang.
                _ = current.wait_for(|current| *current != index) => Some(Served::Move),
            };
            if let Some(step) = step {
                return step;
            }
            if self.watches.is_empty() {
                debug!(
                    endpoint = self.endpoints.address(index),
                    "etcd watch stream closed: nothing watched"
                );
                return Served::Idle;
            }
        }
    }

    fn failed(&self, index: usize, failure: Failure) -> Served {
        Served::Failed(failure_at(&self.endpoints, index, failure))
    }

    /// Opens the stream with the first creation; `None` if nobody is there to watch any more.
    async fn open(&mut self) -> Result<Option<(usize, WatchRequestSender, WatchResponseStream)>, StoreError> {
        let Some(Request::Create(first)) = self.to_send.pop_front() else {
            return Ok(None);
        };
        let Some(active) = self.watches.get(&first) else {
            return Ok(None);
        };
        let (key, options) = (active.spec.key.clone(), options(first, &active.spec));
        let endpoints = Arc::clone(&self.endpoints);
        let opening = endpoints.call(OPERATION, |clients| {
            let (key, options) = (key.clone(), options.clone());
            async move {
                let stream = clients.watch.clone().watch(key, Some(options)).await?;
                Ok((clients.index, stream))
            }
        });
        let mut opening = std::pin::pin!(within(OPERATION, OPEN_LIMIT, opening));
        let (index, stream) = loop {
            tokio::select! {
                opened = &mut opening => break opened?,
                command = self.inbox.recv() => match command {
                    Some(command) => self.take(command),
                    None => return Ok(None),
                },
            }
        };
        self.unconfirmed.push_back(first);
        if !self.watches.contains_key(&first) {
            self.to_send.push_back(Request::Cancel(first));
        }
        let (requests, responses) = stream.split();
        Ok(Some((index, requests, responses)))
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Add(id, spec, cell) => {
                self.watches.insert(id, Active { spec, cell });
                self.to_send.push_back(Request::Create(id));
            }
            Command::Remove(id) => {
                // One that failed is gone already; one not created yet never will be.
                if self.watches.remove(&id).is_some() {
                    match self
                        .to_send
                        .iter()
                        .position(|r| matches!(r, Request::Create(c) if *c == id))
                    {
                        Some(at) => drop(self.to_send.remove(at)),
                        None => self.to_send.push_back(Request::Cancel(id)),
                    }
                }
            }
        }
    }

    /// Passes an answer on to its watch.
    fn handle(&mut self, index: usize, response: &WatchResponse) -> Option<Served> {
        let mut id = response.watch_id();
        if response.created() {
            // A refused creation is answered with the id -1, so they are told apart by their order.
            let asked = self.unconfirmed.pop_front();
            if id < 0 {
                id = asked.unwrap_or(id);
            }
            self.refused &= response.canceled();
        }
        if response.canceled() {
            return self.cancelled(index, id, response);
        }
        let active = self.watches.get_mut(&id)?;
        let mut seen = None;
        for kv in response.events().iter().filter_map(|event| event.kv()) {
            active.spec.from = active.spec.from.max(kv.mod_revision() + 1);
            seen = Some(kv);
            active.cell.send_modify(|news| {
                // A key without a version is one that was deleted (api/mvccpb/kv.proto). The type of the
                // event says the same, but etcd-client panics at one it does not know.
                if kv.version() == 0 {
                    news.deleted = Some(kv.mod_revision());
                } else {
                    news.put = Some(kv.clone());
                }
            });
        }
        tracing::trace!(
            watch = id,
            revision = seen.map(KeyValue::mod_revision),
            "etcd watch"
        );
        None
    }

    /// Ends the watch that etcd has cancelled, or all of them if they need a new token.
    fn cancelled(&mut self, index: usize, id: i64, response: &WatchResponse) -> Option<Served> {
        if !self.watches.contains_key(&id) {
            return None;
        }
        if response.compact_revision() > 0 {
            self.watches.remove(&id)?.end(End::Compacted);
            return None;
        }
        let failure = watch_cancelled(response.cancel_reason());
        let sign_in = failure.next == Next::SignIn;
        let error = failure_at(&self.endpoints, index, failure);
        if sign_in {
            // The stream keeps the token it was opened with: all move to one with a new token, once.
            let again = std::mem::replace(&mut self.refused, true);
            return Some(if again {
                Served::Failed(error)
            } else {
                Served::Move
            });
        }
        self.watches.remove(&id)?.end(End::Failed(error));
        None
    }
}

impl Active {
    fn end(self, end: End) {
        self.cell.send_modify(|news| news.end = Some(end));
    }
}

fn failure_at(endpoints: &Endpoints, index: usize, failure: Failure) -> StoreError {
    endpoints
        .blame(index, failure)
        .into_error(OPERATION, endpoints.address(index))
}

fn options(id: i64, spec: &Spec) -> WatchOptions {
    let mut options = WatchOptions::new()
        .with_watch_id(id)
        .with_start_revision(spec.from);
    if spec.prefix {
        options = options.with_prefix();
    }
    match (spec.puts, spec.deletes) {
        (true, false) => options.with_filters([WatchFilterType::NoDelete]),
        (false, true) => options.with_filters([WatchFilterType::NoPut]),
        _ => options,
    }
}

/// Sends the next request, if there is one, and tells which watch it created. Cancel safe: a request leaves
/// the queue after it was sent.
async fn send(
    requests: &mut WatchRequestSender,
    to_send: &mut VecDeque<Request>,
    watches: &HashMap<i64, Active>,
) -> Result<Option<i64>, etcd_client::Error> {
    let created = match to_send.front() {
        None => std::future::pending().await,
        Some(Request::Create(id)) => match watches.get(id) {
            Some(active) => {
                requests
                    .watch(active.spec.key.clone(), Some(options(*id, &active.spec)))
                    .await?;
                Some(*id)
            }
            None => None,
        },
        Some(Request::Cancel(id)) => {
            requests.cancel(*id).await?;
            None
        }
    };
    to_send.pop_front();
    Ok(created)
}
