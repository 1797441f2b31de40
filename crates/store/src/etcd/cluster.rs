//! [`Cluster`]: the members, which of them can answer, and calls that move on from one that cannot.
//!
//! Every member is probed with a read that needs the cluster's agreement, so a member that was cut off from its
//! peers counts as down although it still accepts connections. Calls stay with one member as long as it is up and
//! leave it as soon as it is not, even when they already wait for its answer.

use super::endpoint::Address;
use super::failure::{Failure, classify};
use super::options::Options;
use crate::kv::{Revision, StoreError};
use crate::rpc;
use crate::rpc::kv_client::KvClient;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response};

/// First pause after every member has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause after every member has failed.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The key that probes read; it need not exist.
const HEALTH_KEY: Bytes = Bytes::from_static(b"health");

/// Whether a member can answer for the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    /// Not probed yet.
    New,
    Up,
    Down,
}

/// Whether a call may be repeated when it may have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Doing it twice is doing it once.
    Safe,
    Never,
}

/// One member.
#[derive(Debug)]
struct Member {
    address: Address,
    channel: ArcSwap<Channel>,
}

/// The members, and which of them can answer.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) options: Options,
    members: Vec<Member>,
    /// Who is asked first.
    preferred: AtomicUsize,
    health: watch::Sender<Vec<Health>>,
    /// The latest revision that any answer has shown.
    seen: watch::Sender<Revision>,
    /// The cluster that the first answer came from; 0 before.
    id: AtomicU64,
    suspected: Notify,
    /// Why each member failed last, for messages.
    whys: parking_lot::Mutex<Vec<String>>,
    closed: watch::Sender<bool>,
}

/// A request that a member without a leader refuses instead of letting it wait.
pub(super) fn with_leader<Q>(message: Q) -> Request<Q> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// Reads and writes; etcd's answers may be as long as the range that was asked for.
pub(super) fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

impl Cluster {
    /// The members of `options`. Must be called inside a tokio runtime.
    pub(super) fn new(options: Options) -> Result<Self, StoreError> {
        let addresses = options.endpoints.iter().map(|url| Address::parse(url, options.tls.is_some()));
        let members = addresses.map(|address| {
            let address = address?;
            let channel = ArcSwap::from_pointee(address.channel(&options)?);
            Ok(Member { address, channel })
        });
        let members = members.collect::<Result<Vec<_>, StoreError>>()?;
        if members.is_empty() {
            return Err(StoreError::Invalid("no etcd endpoints are given; set --etcd-servers".to_owned()));
        }
        let count = members.len();
        Ok(Self {
            // API servers that know the same members should not all ask the first one.
            preferred: AtomicUsize::new(rand::random_range(0..count)),
            health: watch::Sender::new(vec![Health::New; count]),
            seen: watch::Sender::new(0),
            id: AtomicU64::new(0),
            suspected: Notify::new(),
            whys: parking_lot::Mutex::new(vec![String::new(); count]),
            closed: watch::Sender::new(false),
            members,
            options,
        })
    }

    /// Number of members.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Returns when the store was dropped.
    pub(super) async fn closed(&self) {
        // The sender lives as long as this.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Takes note of the revision in an answer.
    pub(super) fn saw(&self, header: Option<&rpc::ResponseHeader>) {
        let revision = header.map_or(0, |header| header.revision);
        self.seen.send_if_modified(|seen| {
            let is_new = revision > *seen;
            *seen = revision.max(*seen);
            is_new
        });
    }

    /// The latest revision that any answer has shown.
    pub(super) fn seen(&self) -> Revision {
        *self.seen.borrow()
    }

    /// Returns when an answer has shown a revision after `revision`.
    pub(super) async fn sees_after(&self, revision: Revision) {
        let _ = self.seen.subscribe().wait_for(|seen| *seen > revision).await;
    }

    pub(super) fn url(&self, member: usize) -> &str {
        &self.members[member].address.url
    }

    pub(super) fn channel(&self, member: usize) -> Channel {
        Channel::clone(&self.members[member].channel.load())
    }

    /// Whom to ask: who is up before who is new before who is down, `tried` ones never; from the preferred one on.
    pub(super) fn choose(&self, tried: &[usize]) -> usize {
        let health = self.health.borrow();
        let first = self.preferred.load(Relaxed);
        let order = (0..self.len()).map(|step| (first + step) % self.len());
        let rank = |member: &usize| match health[*member] {
            Health::Up => 0,
            Health::New => 1,
            Health::Down => 2,
        };
        order.filter(|member| !tried.contains(member)).min_by_key(rank).unwrap_or(first)
    }

    /// Returns when `member` is down and another one is up.
    pub(super) async fn leaves(&self, member: usize) {
        let is_over = |health: &Vec<Health>| health[member] == Health::Down && health.contains(&Health::Up);
        let _ = self.health.subscribe().wait_for(is_over).await;
    }

    fn set(&self, member: usize, to: Health, why: &str) {
        why.clone_into(&mut self.whys.lock()[member]);
        self.health.send_if_modified(|health| {
            let is_new = health[member] != to;
            if is_new {
                let url = self.url(member);
                match (&health[member], &to) {
                    (Health::Down, Health::Up) => tracing::info!(url, "the etcd member answers again"),
                    (_, Health::Down) => tracing::warn!(url, why, "an etcd member does not answer"),
                    _ => {}
                }
                health[member] = to;
            }
            is_new
        });
    }

    /// A call to `member` failed: nobody should wait for it before a probe says that it is well.
    pub(super) fn suspect(&self, member: usize, why: &str) {
        if self.health.borrow()[member] != Health::Down {
            self.set(member, Health::Down, why);
            self.suspected.notify_waiters();
        }
    }

    /// What is wrong with each member, for people.
    pub(super) fn troubles(&self) -> String {
        let whys = self.whys.lock();
        let each = self.members.iter().zip(whys.iter());
        let each = each.map(|(member, why)| match why.as_str() {
            "" => format!("{} has not answered yet", member.address.url),
            why if why.contains(&member.address.url) => why.to_owned(),
            why => format!("{}: {why}", member.address.url),
        });
        each.collect::<Vec<_>>().join("; ")
    }

    /// Probes `member` for as long as the store exists.
    pub(super) async fn keep_probing(&self, member: usize) {
        loop {
            let suspected = self.suspected.notified();
            self.probe(member).await;
            tokio::select! {
                () = sleep(self.options.probe_interval) => {}
                () = suspected => {}
            }
        }
    }

    async fn probe(&self, member: usize) {
        let request = rpc::RangeRequest { key: HEALTH_KEY, count_only: true, ..Default::default() };
        let mut kv = kv(self.channel(member));
        let asked = kv.range(with_leader(request));
        let why = match timeout(self.options.probe_timeout, asked).await {
            Ok(Ok(response)) => match self.belongs(response.get_ref().header.as_ref()) {
                true => {
                    self.saw(response.get_ref().header.as_ref());
                    return self.set(member, Health::Up, "");
                }
                false => "it belongs to another cluster; correct --etcd-servers".to_owned(),
            },
            Ok(Err(status)) => match classify(&status) {
                // It answers; what it says is for those who ask.
                Failure::Refused(error) => {
                    return self.set(member, Health::Up, &error.to_string());
                }
                Failure::NotTaken(why) | Failure::Unsure(why) => why,
            },
            Err(_) => {
                // A connection that lost its packets may take minutes to notice; a new one need not.
                if let Ok(channel) = self.members[member].address.channel(&self.options) {
                    self.members[member].channel.store(channel.into());
                }
                format!("no answer within {:?}", self.options.probe_timeout)
            }
        };
        self.set(member, Health::Down, &why);
    }

    /// Whether an answer comes from the cluster that the first one came from.
    fn belongs(&self, header: Option<&rpc::ResponseHeader>) -> bool {
        let id = header.map_or(0, |header| header.cluster_id);
        id == 0
            || match self.id.compare_exchange(0, id, Relaxed, Relaxed) {
                Ok(_) => true,
                Err(known) => known == id,
            }
    }

    /// Calls one member after the other until one answers, for as long as the options say.
    pub(super) async fn call<Q, A, F, Fut>(&self, repeat: Repeat, message: Q, send: F) -> Result<A, Failure>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, tonic::Status>>,
    {
        let deadline = Instant::now() + self.options.request_timeout;
        let mut tried = Vec::new();
        let mut pause = FIRST_PAUSE;
        let mut unsure = false;
        loop {
            let member = self.choose(&tried);
            let why = match self.attempt(member, message.clone(), deadline, &send).await {
                Ok(value) => {
                    self.preferred.store(member, Relaxed);
                    return Ok(value);
                }
                Err(Failure::Refused(error)) => return Err(Failure::Refused(error)),
                Err(Failure::Unsure(why)) if repeat == Repeat::Never => return Err(Failure::Unsure(why)),
                Err(Failure::Unsure(why)) => {
                    unsure = true;
                    why
                }
                Err(Failure::NotTaken(why)) => why,
            };
            tried.push(member);
            if tried.len() == self.len() {
                tried.clear();
                let up = |health: &Vec<Health>| health.contains(&Health::Up);
                let mut health = self.health.subscribe();
                let until = (Instant::now() + pause).min(deadline);
                // Whichever comes first: there is nothing to do with either.
                let _ = timeout_at(until, health.wait_for(up)).await;
                if self.health.borrow().contains(&Health::Up) {
                    sleep(FIRST_PAUSE).await;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            if Instant::now() >= deadline {
                let why = format!("no member of the etcd cluster answers ({why}): {}", self.troubles());
                return Err(if unsure { Failure::Unsure(why) } else { Failure::NotTaken(why) });
            }
        }
    }

    async fn attempt<Q, A, F, Fut>(
        &self,
        member: usize,
        message: Q,
        deadline: Instant,
        send: &F,
    ) -> Result<A, Failure>
    where
        F: Fn(Channel, Request<Q>) -> Fut,
        Fut: Future<Output = Result<Response<A>, tonic::Status>>,
    {
        let mut request = with_leader(message);
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let failure = tokio::select! {
            biased;
            answer = timeout_at(deadline, send(self.channel(member), request)) => match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => classify(&status),
                Err(_) => Failure::Unsure(format!("no answer within {:?}", self.options.request_timeout)),
            },
            () = self.leaves(member) => {
                return Err(Failure::Unsure(format!("{} stopped answering", self.url(member))));
            }
        };
        match &failure {
            Failure::Refused(_) => {}
            Failure::NotTaken(why) if why == "etcdserver: too many requests" => {}
            Failure::NotTaken(why) | Failure::Unsure(why) => self.suspect(member, why),
        }
        Err(failure)
    }
}
