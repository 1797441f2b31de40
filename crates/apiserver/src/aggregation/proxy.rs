//! Requests handed to a remote API server: with this server's certificate, for the user in `X-Remote-*` headers.
//!
//! A redirect is neither followed nor passed on (CVE-2022-3172), and what the client said of itself in such headers
//! does not reach the remote server. Deliberately absent: any understanding of bodies.

use super::remote::{Remote, identify};
use crate::authn::strip_credentials;
use crate::contract::{Context, UserInfo};
use crate::http::text_response;
use component::serve::{Request, Response};
use component::upgrade::forward;
use http::{HeaderValue, header};
use machinery::{Reason, Status};

impl Remote {
    /// Answers a request that is about the remote server's group and version.
    pub(crate) async fn proxy(
        &self,
        context: &Context,
        user: &UserInfo,
        mut request: Request,
    ) -> Result<Response, Status> {
        let unavailable = || text_response(503, "service unavailable\n");
        if !self.is_available() {
            return Ok(unavailable());
        }
        let upstream = match self.upstream(context).await {
            Ok(upstream) => upstream,
            Err(why) => {
                tracing::debug!(service = self.object, why, "failed to find a remote API server");
                return Ok(unavailable());
            }
        };
        let headers = request.headers_mut();
        strip_credentials(headers);
        identify(headers, user);
        headers.insert(header::HOST, HeaderValue::try_from(self.host()).map_err(Status::internal)?);
        let response = forward(request, &upstream, &context.tasks)
            .await
            .map_err(|error| Status::unavailable(format!("error trying to reach service: {error}")))?;
        if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
            return Err(Status::new(
                502,
                Reason::Other("BadGateway".to_owned()),
                "the backend attempted to redirect this request, which is not permitted",
            ));
        }
        Ok(response)
    }
}
