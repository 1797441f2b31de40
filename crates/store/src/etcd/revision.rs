//! [`Latest`]: the latest revision, asked once for all who want to know at the same time.
//!
//! Every read that must be current asks for it, and an answer is good for everyone who asked before the question was
//! sent. So while one question is under way, those who come share the next one.

use super::cluster::{Cluster, Repeat, kv};
use super::failure::Failure;
use crate::kv::{Revision, StoreError};
use crate::rpc;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

type Question = Shared<BoxFuture<'static, Result<Revision, StoreError>>>;

/// A question, and whether it was sent.
struct Pending {
    was_sent: Arc<AtomicBool>,
    question: Question,
}

/// Asks for the latest revision. May be used concurrently.
pub(super) struct Latest {
    cluster: Arc<Cluster>,
    pending: Mutex<Option<Pending>>,
}

impl std::fmt::Debug for Latest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Latest(..)")
    }
}

impl Latest {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, pending: Mutex::new(None) }
    }

    /// A revision that is not older than anything acknowledged before the call.
    pub(super) async fn get(&self) -> Result<Revision, StoreError> {
        let question = self.question();
        question.await
    }

    fn question(&self) -> Question {
        let mut pending = self.pending.lock();
        let previous = match pending.take() {
            Some(open) if !open.was_sent.load(SeqCst) => {
                let question = open.question.clone();
                *pending = Some(open);
                return question;
            }
            previous => previous.map(|open| open.question),
        };
        let was_sent = Arc::new(AtomicBool::new(false));
        let (cluster, sent) = (self.cluster.clone(), was_sent.clone());
        let question = async move {
            if let Some(previous) = previous {
                // Its answer is of no use here: it may be older than this call.
                let _ = previous.await;
            }
            sent.store(true, SeqCst);
            ask(&cluster).await
        };
        let question = question.boxed().shared();
        *pending = Some(Pending { was_sent, question: question.clone() });
        question
    }
}

/// Any linearizable read tells the revision; this is the cheapest one.
pub(super) async fn ask(cluster: &Cluster) -> Result<Revision, StoreError> {
    let request = rpc::RangeRequest {
        key: Bytes::from_static(b"health"),
        count_only: true,
        ..rpc::RangeRequest::default()
    };
    let send = |channel, request| async move { kv(channel).range(request).await };
    match cluster.call(Repeat::Safe, request, send).await {
        Ok(answer) => {
            cluster.saw(answer.header.as_ref());
            answer.header.map(|header| header.revision).ok_or_else(|| {
                StoreError::Io("etcd answered without a revision; check --etcd-servers".to_owned())
            })
        }
        Err(Failure::Unsure(why)) => Err(StoreError::Unavailable(why)),
        Err(failure) => Err(failure.into_error()),
    }
}
