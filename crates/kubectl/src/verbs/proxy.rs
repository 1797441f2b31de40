//! `proxy`: the API on a local address, with this command's credentials. Who may use it is decided by host, path and method.
//!
//! Deliberately absent: connections that are upgraded (`exec`, `attach`, which upstream refuses too unless told otherwise,
//! and `portforward`).

use super::{Group, Verb};
use crate::error::{Result, fail, message};
use crate::flags::{self, flag, is_set, number, text, value};
use crate::rest::JSON;
use crate::session::Session;
use bytes::Bytes;
use clap::ArgMatches;
use client::HttpTransport;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use regex::Regex;
use std::convert::Infallible;
use std::path::{Component, Path, PathBuf};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

pub(crate) const VERB: Verb = Verb {
    name: "proxy",
    group: Group::Debug,
    about: "Serve the API on a local address",
    examples: "kubectl proxy
        kubectl proxy --port=0
        kubectl proxy --www=./site --www-prefix=/site/ --api-prefix=/k8s
        kubectl proxy --unix-socket=/tmp/api.sock",
    arguments: |command| {
        command
            .arg(value("address", "ADDRESS", "The address to listen on").default_value("127.0.0.1"))
            .arg(number("port", "8001", "The port to listen on; 0 for any").short('p'))
            .arg(value("unix-socket", "FILE", "Listen on a socket instead").short('u'))
            .arg(value("api-prefix", "PATH", "Below which path to serve the API").default_value("/"))
            .arg(value("www", "DIR", "Serve the files of this directory, too").short('w'))
            .arg(
                value("www-prefix", "PATH", "Below which path to serve files")
                    .short('P')
                    .default_value("/static/"),
            )
            .arg(
                value("accept-hosts", "REGEX", "Hosts that may be asked for, comma-separated")
                    .default_value(r"^localhost$,^127\.0\.0\.1$,^\[::1\]$"),
            )
            .arg(value("accept-paths", "REGEX", "Paths that may be asked for").default_value("^.*"))
            .arg(
                value("reject-paths", "REGEX", "Paths that may not be asked for")
                    .default_value("^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach"),
            )
            .arg(value("reject-methods", "REGEX", "Methods that may not be used").default_value("^$"))
            .arg(flag("disable-filter", "Serve everybody everything; dangerous"))
            .arg(flag("append-server-path", "Put the server's own path before each path"))
            .arg(value("keepalive", "DURATION", "Accepted").hide(true))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Largest body of a request.
const MAX_BODY: usize = 64 << 20;

/// Who may ask for what.
#[derive(Debug)]
struct Filter {
    hosts: Vec<Regex>,
    accepted: Vec<Regex>,
    rejected: Vec<Regex>,
    methods: Vec<Regex>,
}

impl Filter {
    fn of(matches: &ArgMatches) -> Result<Self> {
        let list = |name: &str| -> Result<Vec<Regex>> {
            let all = text(matches, name).unwrap_or_default().split(',').filter(|one| !one.is_empty());
            all.map(|one| {
                Regex::new(one).map_err(|error| message(format!("invalid --{name} {one:?}: {error}")))
            })
            .collect()
        };
        Ok(Self {
            hosts: list("accept-hosts")?,
            accepted: list("accept-paths")?,
            rejected: list("reject-paths")?,
            methods: list("reject-methods")?,
        })
    }

    fn accepts(&self, method: &Method, path: &str, host: &str) -> bool {
        let any = |all: &[Regex], text: &str| all.iter().any(|one| one.is_match(text));
        let host = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => {
                name
            }
            _ => host,
        };
        any(&self.accepted, path)
            && !any(&self.rejected, path)
            && !any(&self.methods, method.as_str())
            && any(&self.hosts, host)
    }
}

/// Where connections come from.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

impl Listener {
    async fn accept(&self) -> std::io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// What answers requests.
struct Server {
    transport: HttpTransport,
    filter: Option<Filter>,
    api: String,
    files: Option<(String, PathBuf)>,
    before: String,
}

type Body = Either<Incoming, Full<Bytes>>;

fn slashed(path: &str) -> String {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.ends_with('/') { path } else { path + "/" }
}

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let rest = session.rest().await?;
    let server = session.config().await?.server.clone();
    let own_path = server
        .split_once("://")
        .and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].trim_end_matches('/').to_owned()));
    let filter = if is_set(matches, "disable-filter") {
        if text(matches, "unix-socket").is_none() {
            session.streams.warn(
                "Request filter disabled, your proxy is vulnerable to XSRF attacks, please be cautious",
            );
        }
        None
    } else {
        Some(Filter::of(matches)?)
    };
    let server = Server {
        transport: rest.transport().clone(),
        filter: filter.filter(|_| text(matches, "unix-socket").is_none()),
        api: slashed(text(matches, "api-prefix").unwrap_or("/")),
        files: text(matches, "www")
            .map(|dir| (slashed(text(matches, "www-prefix").unwrap_or("/static/")), PathBuf::from(dir))),
        before: own_path.filter(|_| is_set(matches, "append-server-path")).unwrap_or_default(),
    };
    if let Some(path) = text(matches, "unix-socket") {
        let listener = UnixListener::bind(path)
            .map_err(|error| message(format!("failed to listen on {path}: {error}")))?;
        session.line(format!("Starting to serve on {path}"))?;
        return server.serve(&Listener::Unix(listener)).await;
    }
    let Ok(port) = u16::try_from(flags::int(matches, "port")) else {
        return fail("invalid --port: it must be between 0 and 65535");
    };
    let address = text(matches, "address").unwrap_or("127.0.0.1");
    let listener = TcpListener::bind((address, port)).await.map_err(|error| {
        message(format!("failed to listen on {address}:{port}: {error}; choose another --port"))
    })?;
    session.line(format!("Starting to serve on {}", listener.local_addr()?))?;
    server.serve(&Listener::Tcp(listener)).await
}

impl Server {
    /// Serves every connection that comes, until one cannot be accepted.
    async fn serve(&self, listener: &Listener) -> Result<()> {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                stream = listener.accept() => {
                    let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request).await) });
                    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream?), service);
                    connections.push(serving);
                }
                // A connection that broke is its client's matter.
                Some(_) = connections.next() => {}
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if self.filter.as_ref().is_some_and(|filter| !filter.accepts(request.method(), &path, &host)) {
            return plain(StatusCode::FORBIDDEN, "Forbidden");
        }
        if let Some((prefix, directory)) = &self.files
            && let Some(rest) = path.strip_prefix(prefix.as_str())
        {
            return file(directory, rest).await;
        }
        let Some(rest) =
            slashed(&path).starts_with(&self.api).then(|| path.get(self.api.len() - 1..).unwrap_or("/"))
        else {
            return plain(StatusCode::NOT_FOUND, "404 page not found");
        };
        if request.headers().contains_key(header::UPGRADE) {
            return plain(
                StatusCode::NOT_IMPLEMENTED,
                "upgraded connections are not proxied: use kubectl exec, attach or port-forward",
            );
        }
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{rest}{query}", self.before);
        self.forward(request, &target).await
    }

    async fn forward(&self, request: Request<Incoming>, target: &str) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        };
        let mut forwarded = Request::builder().method(head.method).uri(target);
        for (name, value) in &head.headers {
            // The connection's own headers are not for the server, and credentials are ours.
            let own = [
                header::HOST,
                header::CONNECTION,
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                header::AUTHORIZATION,
                header::ACCEPT_ENCODING,
            ];
            if !own.contains(name) {
                forwarded = forwarded.header(name, value);
            }
        }
        let Ok(forwarded) = forwarded.body(body.to_bytes()) else {
            return plain(StatusCode::BAD_REQUEST, "the request cannot be forwarded");
        };
        match self.transport.raw(forwarded).await {
            Ok(response) => {
                let mut response = response;
                response.headers_mut().remove(header::CONNECTION);
                response.headers_mut().remove(header::TRANSFER_ENCODING);
                response.map(Either::Left)
            }
            Err(status) => {
                let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::BAD_GATEWAY);
                let mut response = plain(code, &serde_json::to_string(&status).unwrap_or_default());
                response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(JSON));
                response
            }
        }
    }
}

fn plain(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(text.to_owned()))));
    *response.status_mut() = code;
    response
}

/// A file below a directory; never one outside of it.
async fn file(directory: &Path, rest: &str) -> Response<Body> {
    let relative = Path::new(rest);
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) && !rest.is_empty() {
        return plain(StatusCode::FORBIDDEN, "Forbidden");
    }
    let mut path = directory.join(relative);
    if path.is_dir() {
        path.push("index.html");
    }
    let inside = |path: &Path| -> Option<bool> {
        Some(path.canonicalize().ok()?.starts_with(directory.canonicalize().ok()?))
    };
    if inside(&path) == Some(false) {
        return plain(StatusCode::FORBIDDEN, "Forbidden");
    }
    let Ok(content) = tokio::fs::read(&path).await else {
        return plain(StatusCode::NOT_FOUND, "404 page not found");
    };
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html" | "htm") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("json") => JSON,
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(content))));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_turned_away() {
        let matches = (VERB.arguments)(clap::Command::new("proxy")).get_matches_from(["proxy"]);
        let filter = Filter::of(&matches).unwrap();
        let rows = [
            ("/api/v1/pods", "localhost:8001", true),
            ("/api/v1/pods", "127.0.0.1", true),
            ("/api/v1/pods", "evil.example:8001", false),
            ("/api/v1/namespaces/a/pods/b/exec", "localhost", false),
            ("/api/v1/namespaces/a/pods/b/log", "[::1]:8001", true),
        ];
        for (path, host, expected) in rows {
            assert_eq!(filter.accepts(&Method::GET, path, host), expected, "{path} {host}");
        }
    }
}
