//! etcd's Watch service: many watches on one stream.
//!
//! A [`session::Session`] is a stream of answers that is driven by the client reading it: nothing is buffered for a
//! client that does not read, because then nobody asks the store for more. Each watch is a [`watching::Watching`].

mod fragment;
mod session;
mod watching;

use self::session::Session;
use super::Front;
use crate::rpc::{WatchRequest, WatchResponse, watch_server};
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl watch_server::Watch for Front {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let session = Session::new(self.clone(), request.into_inner());
        let answers = futures::stream::unfold(session, |mut session| async move {
            let answer = session.next().await?;
            Some((answer, session))
        });
        Ok(Response::new(answers.boxed()))
    }
}
