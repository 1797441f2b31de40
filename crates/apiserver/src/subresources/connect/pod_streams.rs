//! `pods/exec`, `pods/attach`, `pods/portforward`: streams into a pod, through its kubelet.

use super::kubelet::{self, Wording};
use crate::authz;
use crate::contract::{ConnectCall, Context, SubresourceHandler};
use crate::request::Query;
use async_trait::async_trait;
use component::serve::Response;
use machinery::{FieldErrors, FieldPath, GroupKind, Status};

/// One kind of stream.
pub(super) struct Stream {
    name: &'static str,
    kind: &'static str,
    /// First segment of the kubelet's path.
    endpoint: &'static str,
    /// Whether it goes into a container.
    container: bool,
    /// Whether it runs a command.
    command: bool,
}

impl Stream {
    pub(super) const EXEC: Self =
        Self { name: "exec", kind: "PodExecOptions", endpoint: "exec", container: true, command: true };
    pub(super) const ATTACH: Self = Self {
        name: "attach",
        kind: "PodAttachOptions",
        endpoint: "attach",
        container: true,
        command: false,
    };
    pub(super) const PORT_FORWARD: Self = Self {
        name: "portforward",
        kind: "PodPortForwardOptions",
        endpoint: "portForward",
        container: false,
        command: false,
    };

    /// The kubelet's query: its names for the streams differ from the API's.
    fn query<'a>(&self, query: &'a Query) -> Result<Vec<(&'static str, &'a str)>, Status> {
        let mut pairs = Vec::new();
        if !self.container {
            // Over SPDY, ports come with the streams; over WebSocket, here.
            let ports = query.all("ports").flat_map(|ports| ports.split(','));
            pairs.extend(ports.filter(|port| !port.is_empty()).map(|port| ("port", port)));
            return Ok(pairs);
        }
        let defaults = !self.command;
        for (theirs, ours, default) in [
            ("stdin", "input", false),
            ("stdout", "output", defaults),
            ("stderr", "error", defaults),
            ("tty", "tty", false),
        ] {
            if query.tri(theirs).unwrap_or(default) {
                pairs.push((ours, "1"));
            }
        }
        let mut errors = FieldErrors::new();
        let tty = pairs.iter().any(|(name, _)| *name == "tty");
        if tty {
            pairs.retain(|(name, _)| *name != "error");
        }
        if !pairs.iter().any(|(name, _)| *name != "tty") {
            errors.required(FieldPath::root(), "at least one of stdin, stdout, stderr must be specified");
        }
        if self.command {
            pairs.extend(query.all("command").map(|word| ("command", word)));
            if !pairs.iter().any(|(name, _)| *name == "command") {
                errors.required(FieldPath::new("command"), "");
            }
        }
        if errors.is_empty() {
            Ok(pairs)
        } else {
            Err(Status::invalid(&GroupKind::new("", self.kind), "", &errors))
        }
    }
}

#[async_trait]
impl SubresourceHandler for Stream {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn connects(&self) -> bool {
        true
    }

    async fn connect(&self, context: &Context, call: ConnectCall) -> Result<Response, Status> {
        if call.info.verb != "create" {
            // A WebSocket starts with GET, but it is no less than the POST of SPDY: who may only read pods may
            // not run commands in them.
            let mut attributes = call.info.attributes(&call.user);
            attributes.verb = "create".into();
            authz::check(context, &attributes).await?;
        }
        let pairs = self.query(&call.info.query)?;
        let pod = kubelet::pod(context, &call).await?;
        let mut path = format!("/{}/{}/{}", self.endpoint, call.info.namespace, call.info.name);
        if self.container {
            let container = kubelet::container(&pod, call.info.query.get("container"))?;
            path.push('/');
            path.push_str(container);
        }
        let Some(node) = kubelet::node_of(&pod) else {
            return Err(Status::bad_request(format!("pod {} does not have a host assigned", call.info.name)));
        };
        if !component::upgrade::is_upgrade(call.request.headers()) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let path = kubelet::with_query(&path, pairs);
        kubelet::send(context, node, call.request, &path, Wording::Stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_renamed_for_the_kubelet() {
        let query =
            Query::parse(Some("command=sh&command=-c&stdin=true&stdout=1&stderr=true&tty=true&container=c"));
        assert_eq!(
            Stream::EXEC.query(&query).unwrap(),
            [("input", "1"), ("output", "1"), ("tty", "1"), ("command", "sh"), ("command", "-c")]
        );
        assert_eq!(Stream::EXEC.query(&Query::parse(Some("command=sh"))).unwrap_err().code, 422);
        assert_eq!(Stream::EXEC.query(&Query::parse(Some("stdout=1"))).unwrap_err().code, 422);
        let none = Query::parse(None);
        let defaults = Stream::ATTACH.query(&none).unwrap();
        assert_eq!(defaults, [("output", "1"), ("error", "1")]);
        let ports = Query::parse(Some("ports=80,81"));
        assert_eq!(Stream::PORT_FORWARD.query(&ports).unwrap(), [("port", "80"), ("port", "81")]);
    }
}
