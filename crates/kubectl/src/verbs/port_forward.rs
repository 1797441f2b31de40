//! `port-forward`: local ports that lead into a pod. Each connection has a SPDY session of its own, with a stream of data
//! and one of errors (`portforward.k8s.io`).

use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, list, positional, split, text, value};
use crate::pods::pod_for;
use crate::select::{self, Found};
use crate::session::{Session, duration};
use crate::spdy::{self, Frame};
use bytes::{Bytes, BytesMut};
use clap::ArgMatches;
use futures::TryFutureExt;
use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use http::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const VERB: Verb = Verb {
    name: "port-forward",
    group: Group::Debug,
    about: "Forward local ports to a pod",
    examples: "kubectl port-forward web 8080:80
        kubectl port-forward deployment/web 8080:http
        kubectl port-forward service/web :80
        kubectl port-forward --address=127.0.0.1,192.0.2.1 web 8080:80",
    arguments: |command| {
        command
            .arg(list("address", "ADDRESSES", "Addresses to listen on; localhost unless given"))
            .arg(value("pod-running-timeout", "DURATION", "How long to wait for a pod").default_value("1m"))
            .arg(flags::args("POD | TYPE/NAME  [LOCAL:]REMOTE..."))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Clients number their streams with odd numbers.
const ERRORS: u32 = 1;
const DATA: u32 = 3;

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let Some((name, ports)) = args.split_first().filter(|(_, ports)| !ports.is_empty()) else {
        return fail(
            "TYPE/NAME and list of ports are required for port-forward\nSee 'kubectl port-forward -h' for help and examples",
        );
    };
    let object = select::one(session, std::slice::from_ref(name), "pods").await?;
    let wait = duration(text(matches, "pod-running-timeout").unwrap_or("1m"))?;
    let pod = pod_for(session, name, wait).await?;
    let phase = pod.value["status"]["phase"].as_str().unwrap_or_default();
    if phase != "Running" {
        return fail(format!("unable to forward port because pod is not running. Current status={phase}"));
    }
    let addresses = split(matches, "address");
    let addresses = if addresses.is_empty() { vec!["localhost".to_owned()] } else { addresses };
    let mut listeners = Vec::new();
    for text in ports {
        let (local, remote) = parse(text, &object, &pod)?;
        listeners.extend(listen(session, &addresses, local, remote).await?);
    }
    let forwards = listeners.into_iter().map(|(listener, port)| accept(session, &pod, listener, port));
    tokio::select! {
        ended = try_join_all(forwards) => ended.map(|_| ()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        gone = super::delete::wait_gone(session, &pod, pod.value["metadata"]["uid"].as_str(), None) => {
            gone?;
            fail("lost connection to pod")
        }
    }
}

/// `8080:80`, `80`, `:80`, `8080:http`: local port, and the pod's.
fn parse(text: &str, object: &Found, pod: &Found) -> Result<(u16, u16)> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let remote = remote_port(remote, object, pod)
        .ok_or_else(|| message(format!("error converting {remote:?} into a port of {}", object.display())))?;
    let local = match local {
        "" => 0,
        number => number.parse().or_else(|_| if text.contains(':') { Err(()) } else { Ok(remote) }).map_err(
            |()| message(format!("error parsing local port {number:?}: it must be a number from 0 to 65535")),
        )?,
    };
    Ok((local, remote))
}

/// The pod's port behind a number or a name; a service's port leads to its target.
fn remote_port(text: &str, object: &Found, pod: &Found) -> Option<u16> {
    let number: Option<u16> = text.parse().ok().filter(|port| *port > 0);
    if object.resource.kind == "Service" && object.value["spec"]["clusterIP"] != "None" {
        let mut ports = object.value["spec"]["ports"].as_array()?.iter();
        let port = ports.find(|port| match number {
            Some(number) => port["port"] == number,
            None => port["name"] == text,
        })?;
        return match &port["targetPort"] {
            Value::String(name) => named_port(pod, name),
            Value::Number(target) => u16::try_from(target.as_u64()?).ok(),
            _ => u16::try_from(port["port"].as_u64()?).ok(),
        };
    }
    number.or_else(|| named_port(pod, text))
}

fn named_port(pod: &Found, name: &str) -> Option<u16> {
    let containers = pod.value["spec"]["containers"].as_array()?.iter();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    let port = ports.find(|port| port["name"] == name)?;
    u16::try_from(port["containerPort"].as_u64()?).ok()
}

async fn listen(
    session: &Session,
    addresses: &[String],
    local: u16,
    remote: u16,
) -> Result<Vec<(TcpListener, u16)>> {
    let mut out = Vec::new();
    let mut failures = Vec::new();
    let mut port = local;
    for address in addresses {
        let all: Vec<IpAddr> = match address.as_str() {
            "localhost" => vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
            text => vec![text.parse().map_err(|_| message(format!("{text} is not a valid IP")))?],
        };
        for ip in all {
            match TcpListener::bind(SocketAddr::new(ip, port)).await {
                Ok(listener) => {
                    let bound = listener.local_addr()?;
                    // A port that the system chose is the same on every address.
                    port = bound.port();
                    session.line(format!("Forwarding from {bound} -> {remote}"))?;
                    out.push((listener, remote));
                }
                Err(error) => failures.push(format!("unable to listen on port {port} of {ip}: {error}")),
            }
        }
    }
    if out.is_empty() {
        return fail(format!("unable to listen on any of the requested ports: {}", failures.join("; ")));
    }
    Ok(out)
}

async fn accept(session: &Session, pod: &Found, listener: TcpListener, port: u16) -> Result<()> {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                session.line(format!("Handling connection for {}", listener.local_addr()?.port()))?;
                open.push(forward(session, pod, stream, port).map_err(move |error: Error| (port, error)));
            }
            Some(ended) = open.next() => {
                if let Err((port, error)) = ended {
                    session.streams.warn(&format!("error: an error occurred forwarding to port {port}: {}", error.text()));
                }
            }
        }
    }
}

/// One connection, over a session of its own.
async fn forward(session: &Session, pod: &Found, local: TcpStream, port: u16) -> Result<()> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}/portforward", pod.path()))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("X-Stream-Protocol-Version", "portforward.k8s.io")
        .body(Bytes::new())
        .map_err(|error| message(format!("failed to build a request: {error}")))?;
    let (_, upgraded) = session.rest().await?.transport().upgrade(request).await?;
    let (mut from_pod, mut to_pod) = tokio::io::split(TokioIo::new(upgraded));
    let (mut from_local, mut to_local) = local.into_split();
    let port = port.to_string();
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
    let mut writer = spdy::Writer::default();
    // Nothing is ever sent on the stream of errors.
    to_pod.write_all(&writer.open(ERRORS, true, &headers("error"))).await?;
    to_pod.write_all(&writer.open(DATA, false, &headers("data"))).await?;
    let to_pod = tokio::sync::Mutex::new(to_pod);
    let send = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            let length = from_local.read(&mut buffer).await.unwrap_or(0);
            let flags = if length == 0 { spdy::FIN } else { 0 };
            to_pod.lock().await.write_all(&spdy::data(DATA, flags, &buffer[..length])).await?;
            if length == 0 {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let receive = async {
        let (mut buffer, mut complaint) = (BytesMut::new(), Vec::new());
        let mut open = [true; 2];
        while open != [false; 2] {
            let Some(frame) = spdy::decode(&mut buffer) else {
                if from_pod.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    break;
                }
                continue;
            };
            match frame {
                Frame::Data { stream: DATA, fin, payload } => {
                    if to_local.write_all(&payload).await.is_err() {
                        break;
                    }
                    if fin {
                        open[0] = false;
                        let _ = to_local.shutdown().await;
                    }
                }
                Frame::Data { stream: ERRORS, fin, payload } => {
                    complaint.extend_from_slice(&payload);
                    open[1] &= !fin;
                }
                Frame::Ping(id) => to_pod.lock().await.write_all(&spdy::pong(id)).await?,
                Frame::Reset { .. } | Frame::GoAway => break,
                Frame::Data { .. } | Frame::Other => {}
            }
        }
        if complaint.is_empty() {
            Ok(())
        } else {
            fail(String::from_utf8_lossy(&complaint).trim().to_owned())
        }
    };
    tokio::pin!(send, receive);
    tokio::select! {
        done = &mut receive => done,
        sent = &mut send => {
            sent?;
            receive.await
        }
    }
}
