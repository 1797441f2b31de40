//! [`Watch`]: a watch that survives its member, and tells how far it has seen.
//!
//! It is a stream of its own to one member. When the member dies, loses its leader, is cut off or hangs, the watch
//! starts again on another one right after the last revision that it delivered: no gap, no duplicate.
//!
//! etcd tells on request how far a watch has seen, but before 3.4.31 and 3.5.13 that answer may overtake events that
//! are still on their way (etcd issue 15220). With such members a watch that wants progress covers all keys of the
//! cluster and passes on what was asked for: every revision has an event there, so none can hide.

use super::cluster::{Cluster, with_leader};
use super::convert;
use super::failure::{Failure, classify};
use super::options::Progress;
use super::revision;
use crate::kv::{Commit, Revision, StoreError};
use crate::rpc;
use crate::rpc::maintenance_client::MaintenanceClient;
use crate::rpc::watch_client::WatchClient;
use crate::rpc::watch_request::RequestUnion;
use bytes::Bytes;
use futures::Stream;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

/// How long a member may take to accept a watch.
const ACCEPT: Duration = Duration::from_secs(5);
/// Pauses between attempts to start again: from the first, doubling, to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long events may take to show a revision by themselves before progress is asked for.
const QUIET: Duration = Duration::from_millis(20);
/// First patch versions with a reliable answer to a request for progress, by minor version of etcd 3.
const ASKABLE: [(u64, u64); 2] = [(4, 31), (5, 13)];

/// A stream to a member.
struct Connection {
    member: usize,
    /// Dropping it ends the stream.
    requests: mpsc::Sender<rpc::WatchRequest>,
    answers: Streaming<rpc::WatchResponse>,
    /// Whether all keys are watched.
    is_wide: bool,
    /// Events of an answer that comes in pieces.
    pieces: Vec<rpc::Event>,
    /// Progress was asked for and has not come yet.
    is_asked: bool,
}

/// A watch.
pub(super) struct Watch {
    cluster: Arc<Cluster>,
    start: Bytes,
    end: Option<Bytes>,
    /// Everything before it was delivered, or is not covered.
    next: Revision,
    /// Up to here the cluster's history was seen; less than `next - 1` only while the watch waits for the future.
    reached: Revision,
    wants_progress: bool,
    ready: VecDeque<Commit>,
    connection: Option<Connection>,
    pause: Duration,
    is_done: bool,
}

/// What happened to a connection.
enum Outcome {
    /// Something may be ready.
    More,
    /// It is of no more use; the watch goes on elsewhere.
    Lost(String),
    /// The watch is over.
    Ended(StoreError),
}

impl Watch {
    /// Starts watching `keys` from `next` on; returns when a member has accepted it.
    pub(super) async fn open(
        cluster: Arc<Cluster>,
        (start, end): (Bytes, Option<Bytes>),
        next: Revision,
        wants_progress: bool,
    ) -> Result<Self, StoreError> {
        let mut watch = Self {
            cluster,
            start,
            end,
            next: next.max(1),
            reached: 0,
            wants_progress,
            ready: VecDeque::new(),
            connection: None,
            pause: PAUSES.0,
            is_done: false,
        };
        let patience = watch.cluster.options.request_timeout;
        match timeout(patience, watch.reconnect()).await {
            Ok(done) => done.map(|()| watch),
            Err(_) => Err(StoreError::Unavailable(watch.cluster.troubles())),
        }
    }

    /// The commits; ends after an error.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Commit, StoreError>> + Send {
        futures::stream::unfold(self, |mut watch| async move {
            if watch.is_done {
                return None;
            }
            let item = watch.next().await;
            watch.is_done = item.is_err();
            Some((item, watch))
        })
    }

    /// The next commit. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Result<Commit, StoreError> {
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Ok(commit);
            }
            let Some(connection) = &mut self.connection else {
                self.reconnect().await?;
                continue;
            };
            let member = connection.member;
            let may_ask = self.wants_progress && !connection.is_wide && !connection.is_asked;
            let answer = tokio::select! {
                biased;
                answer = connection.answers.message() => Some(answer),
                () = self.cluster.closed() => return Err(StoreError::Closed),
                () = self.cluster.leaves(member) => Some(Ok(None)),
                () = fall_behind(&self.cluster, self.next - 1), if may_ask => None,
            };
            let outcome = match answer {
                Some(answer) => self.take(answer),
                None => ask_for_progress(connection),
            };
            match outcome {
                Outcome::More => {}
                Outcome::Ended(error) => return Err(error),
                Outcome::Lost(why) => {
                    if let Some(connection) = self.connection.take() {
                        let url = self.cluster.url(connection.member);
                        tracing::info!(url, why, next = self.next, "a watch leaves its etcd member");
                        self.cluster.suspect(connection.member, &why);
                    }
                }
            }
        }
    }

    /// Connects to a member, for as long as it takes.
    async fn reconnect(&mut self) -> Result<(), StoreError> {
        loop {
            let cluster = self.cluster.clone();
            let attempt = tokio::select! {
                attempt = self.connect() => attempt,
                () = cluster.closed() => return Err(StoreError::Closed),
            };
            match attempt {
                Ok(()) => return Ok(()),
                Err(Failure::Refused(error)) => return Err(error),
                Err(Failure::NotTaken(why) | Failure::Unsure(why)) => {
                    tracing::debug!(why, "a watch finds no etcd member");
                    sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if self.reached > 0 {
            // A cluster that was restored from a snapshot may be younger than what was already delivered: waiting
            // for it to come this far again would hide what happens until then.
            let current = revision::ask(&self.cluster).await.map_err(|e| Failure::NotTaken(e.to_string()))?;
            if current < self.reached {
                return Err(Failure::Refused(StoreError::Future { current }));
            }
        }
        let member = self.cluster.choose(&[]);
        let opened = match timeout(ACCEPT, self.open_stream(member)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::NotTaken(format!("no answer to a watch within {ACCEPT:?}"))),
        };
        match opened {
            Ok(connection) => {
                self.connection = Some(connection);
                Ok(())
            }
            Err(Failure::Refused(error)) => Err(Failure::Refused(error)),
            Err(Failure::NotTaken(why) | Failure::Unsure(why)) => {
                self.cluster.suspect(member, &why);
                Err(Failure::NotTaken(why))
            }
        }
    }

    async fn open_stream(&self, member: usize) -> Result<Connection, Failure> {
        let channel = self.cluster.channel(member);
        let is_wide = self.wants_progress
            && match self.cluster.options.progress {
                Progress::Asked => false,
                Progress::Events => true,
                Progress::Auto => {
                    let asked = MaintenanceClient::new(channel.clone()).status(rpc::StatusRequest {}).await;
                    !is_askable(&asked.map_err(|status| classify(&status))?.into_inner().version)
                }
            };
        let all = (Bytes::new(), Some(Bytes::from_static(convert::END)));
        let (key, range_end) = match is_wide {
            true => convert::keys(&all.0, all.1.as_ref()),
            false => convert::keys(&self.start, self.end.as_ref()),
        };
        let create = rpc::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.next,
            prev_kv: true,
            fragment: true,
            ..rpc::WatchCreateRequest::default()
        };
        let create = rpc::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let (requests, sent) = mpsc::channel(2);
        requests.try_send(create).map_err(|error| Failure::NotTaken(error.to_string()))?;
        let sent = futures::stream::unfold(sent, |mut sent| async move {
            let request = sent.recv().await?;
            Some((request, sent))
        });
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let answers = client.watch(with_leader(sent)).await.map_err(|status| classify(&status))?;
        let answers = answers.into_inner();
        Ok(Connection { member, requests, answers, is_wide, pieces: Vec::new(), is_asked: false })
    }

    fn take(&mut self, answer: Result<Option<rpc::WatchResponse>, Status>) -> Outcome {
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => return Outcome::Lost("it stopped answering, or ended the stream".to_owned()),
            Err(status) => {
                return match classify(&status) {
                    Failure::Refused(error) => Outcome::Ended(error),
                    Failure::NotTaken(why) | Failure::Unsure(why) => Outcome::Lost(why),
                };
            }
        };
        let revision = convert::revision(answer.header.as_ref());
        if answer.canceled {
            return self.canceled(&answer);
        }
        if answer.created {
            return Outcome::More;
        }
        let Some(connection) = &mut self.connection else { return Outcome::More };
        self.pause = PAUSES.0;
        if answer.events.is_empty() && connection.pieces.is_empty() {
            connection.is_asked = false;
            self.progressed(revision);
            return Outcome::More;
        }
        connection.pieces.extend(answer.events);
        if !answer.fragment {
            let events = std::mem::take(&mut connection.pieces);
            let is_wide = connection.is_wide;
            self.deliver(&events, is_wide);
        }
        Outcome::More
    }

    fn canceled(&self, answer: &rpc::WatchResponse) -> Outcome {
        if answer.compact_revision > 0 {
            return Outcome::Ended(StoreError::Compacted { oldest: answer.compact_revision });
        }
        let why = &answer.cancel_reason;
        if why.contains("permission denied") {
            return Outcome::Ended(StoreError::Io(format!(
                "etcd refuses this client: {why}; give a client certificate that its users and roles allow"
            )));
        }
        Outcome::Lost(format!("it canceled the watch: {why}"))
    }

    /// Everything up to `revision` was delivered.
    fn progressed(&mut self, revision: Revision) {
        self.reached = self.reached.max(revision);
        if revision >= self.next {
            self.next = revision + 1;
            if self.wants_progress {
                self.ready.push_back(Commit { revision, events: Vec::new() });
            }
        }
    }

    /// Groups events by commit; they come in order, and a commit's come together.
    fn deliver(&mut self, events: &[rpc::Event], is_wide: bool) {
        let mut last = 0;
        for event in events {
            let Some(kv) = &event.kv else { continue };
            if kv.mod_revision < self.next {
                continue;
            }
            last = last.max(kv.mod_revision);
            if is_wide && !self.covers(&kv.key) {
                continue;
            }
            let Some((revision, event)) = convert::event(event) else { continue };
            match self.ready.back_mut() {
                Some(commit) if commit.revision == revision => commit.events.push(event),
                _ => self.ready.push_back(Commit { revision, events: vec![event] }),
            }
        }
        if last == 0 {
            return;
        }
        self.next = last + 1;
        self.reached = self.reached.max(last);
        if is_wide && self.ready.back().is_none_or(|commit| commit.revision < last) {
            self.ready.push_back(Commit { revision: last, events: Vec::new() });
        }
    }

    fn covers(&self, key: &Bytes) -> bool {
        match &self.end {
            None => *key == self.start,
            Some(end) => *key >= self.start && (end.as_ref() == convert::END || key < end),
        }
    }
}

/// Returns when the cluster is known to be ahead of what the watch has seen, and it is time to ask about it.
async fn fall_behind(cluster: &Cluster, reached: Revision) {
    cluster.sees_after(reached).await;
    sleep(QUIET).await;
}

fn ask_for_progress(connection: &mut Connection) -> Outcome {
    let ask = RequestUnion::ProgressRequest(rpc::WatchProgressRequest {});
    match connection.requests.try_send(rpc::WatchRequest { request_union: Some(ask) }) {
        Ok(()) => {
            connection.is_asked = true;
            Outcome::More
        }
        Err(_) => Outcome::Lost("it no longer takes requests".to_owned()),
    }
}

/// Whether members of this version can be trusted with requests for progress.
fn is_askable(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u64>().ok());
    let (Some(major), Some(minor), patch) = (numbers.next(), numbers.next(), numbers.next()) else {
        return false;
    };
    if major != 3 {
        return major > 3;
    }
    match ASKABLE.iter().find(|(known, _)| *known == minor) {
        Some((_, since)) => patch.unwrap_or(0) >= *since,
        None => minor > 5,
    }
}

/// The oldest revision that can be read: a watch from the beginning is told.
pub(super) async fn oldest(cluster: &Arc<Cluster>) -> Option<Revision> {
    let key = Bytes::from_static(b"health");
    let mut watch = Watch::open(cluster.clone(), (key, None), 1, false).await.ok()?;
    match timeout(ACCEPT, watch.next()).await {
        Ok(Err(StoreError::Compacted { oldest })) => Some(oldest),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_be_asked_for_progress() {
        for (version, expected) in [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.5.0-rc.1", false),
            ("3.6.0", true),
            ("3.3.9", false),
            ("4.0.0", true),
            ("", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_askable(version), expected, "{version}");
        }
    }
}
