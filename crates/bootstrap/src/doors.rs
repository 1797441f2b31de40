//! Doors into an isolated cluster: every node port is reachable on the host's loopback address, as if the
//! cluster were on the host.
//!
//! The listener is made in the host's network namespace; the connection to the node is made in this process'.
//! TCP only.

use client::{Client, Event, Informer, Selection};
use component::{SharedClock, Tasks};
use k8s_openapi::api::core::v1::Service;
use linux::namespace;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::net::TcpStream;

/// The doors; they close when this is dropped.
pub(crate) struct Doors {
    tasks: Option<Tasks>,
    _informer: Option<Informer<Service>>,
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some(tasks) = &self.tasks {
            tasks.stop();
        }
    }
}

struct State {
    host: OwnedFd,
    node: Ipv4Addr,
    tasks: Tasks,
    /// Open doors by port, and the Services that want each.
    open: Mutex<HashMap<u16, (Tasks, BTreeSet<String>)>>,
}

/// Follows Services and opens a door per node port, if `wanted`. `host` is the host's network namespace, `node`
/// an address where node ports answer.
pub(crate) fn open(
    client: &Client,
    host: &OwnedFd,
    wanted: bool,
    node: Ipv4Addr,
    clock: &SharedClock,
    tasks: &Tasks,
) -> Doors {
    let Ok(host) = host.try_clone() else { return Doors { tasks: None, _informer: None } };
    if !wanted {
        return Doors { tasks: None, _informer: None };
    }
    let tasks = tasks.child();
    let services: Informer<Service> = Informer::start(client, &Selection::default(), clock.clone(), &tasks);
    let state = Arc::new(State { host, node, tasks: tasks.clone(), open: Mutex::default() });
    services.on_event(move |event| state.follow(event));
    Doors { tasks: Some(tasks), _informer: Some(services) }
}

fn node_ports(service: &Service) -> BTreeSet<u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP");
    tcp.filter_map(|port| u16::try_from(port.node_port?).ok()).collect()
}

impl State {
    fn follow(&self, event: &Event<Service>) {
        let service = event.object();
        let key = format!("{:?}/{:?}", service.metadata.namespace, service.metadata.name);
        let now = if event.is_deleted() { BTreeSet::new() } else { node_ports(service) };
        let before = event.old().map(|old| node_ports(old)).unwrap_or_else(|| node_ports(service));
        let mut open = self.open.lock();
        for port in before.difference(&now) {
            if let Some((tasks, users)) = open.get_mut(port) {
                users.remove(&key);
                if users.is_empty() {
                    tasks.stop();
                    open.remove(port);
                }
            }
        }
        for port in now {
            if let Some((_, users)) = open.get_mut(&port) {
                users.insert(key.clone());
                continue;
            }
            match self.listen(port) {
                Ok(tasks) => {
                    open.insert(port, (tasks, BTreeSet::from([key.clone()])));
                }
                Err(error) => {
                    tracing::warn!(port, "failed to open node port on the host's loopback address: {error}")
                }
            }
        }
    }

    fn listen(&self, port: u16) -> Result<Tasks, Box<dyn std::error::Error + Send + Sync>> {
        let host = self.host.as_fd();
        // A socket belongs to the namespace of the thread that makes it; a thread of its own visits the host's.
        let listener = std::thread::scope(|scope| {
            let visit = scope.spawn(|| -> Result<TcpListener, Box<dyn std::error::Error + Send + Sync>> {
                namespace::join(host)?;
                Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?)
            });
            visit.join().unwrap_or_else(|_| Err("the thread that visits the host's network panicked".into()))
        })?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (tasks, node) = (self.tasks.child(), self.node);
        let group = tasks.clone();
        tasks.spawn_until_stopped("door", async move {
            loop {
                let Ok((mut outside, _)) = listener.accept().await else { continue };
                group.spawn_until_stopped("door connection", async move {
                    if let Ok(mut inside) = TcpStream::connect((node, port)).await {
                        // Either side may hang up at any time.
                        let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Ok(tasks)
    }
}
