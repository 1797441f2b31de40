//! gRPC probes: `grpc.health.v1.Health/Check` in clear text.

use super::tcp::address;
use super::worker::Outcome;
use http::uri::PathAndQuery;
use std::time::Duration;
use tonic::transport::Endpoint;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn ask(to: &str, service: &str, timeout: Duration) -> Result<i32, tonic::Status> {
    let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    let endpoint = Endpoint::from_shared(format!("http://{to}")).map_err(unavailable)?;
    let channel = endpoint.connect_timeout(timeout).connect().await.map_err(unavailable)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(unavailable)?;
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    Ok(client.unary(request, path, codec).await?.into_inner().status)
}

/// Asks once.
pub(crate) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let to = address(host, port);
    let timed_out = || {
        let limit = crate::pod::backoff::go_duration(timeout);
        Outcome::Failure(format!(
            "timeout: failed to connect service {to:?} within {limit}: context deadline exceeded"
        ))
    };
    match tokio::time::timeout(timeout, ask(&to, service, timeout)).await {
        Err(_) => timed_out(),
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => Outcome::Failure(format!("service unhealthy (responded with {status:?})")),
        Ok(Err(status)) if status.code() == tonic::Code::DeadlineExceeded => timed_out(),
        Ok(Err(status)) => Outcome::Failure(format!("error: health rpc failed: {}", status.message())),
    }
}
