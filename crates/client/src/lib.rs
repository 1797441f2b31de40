//! How every component talks to the API server: typed access ([`Api`]), caches that follow a resource
//! ([`Informer`]), work queues, reconcile loops, leader election and events.
//!
//! All of it runs over [`api::transport::Transport`]: in process over the API server itself, or over HTTP
//! ([`http::HttpTransport`]) against anyone's cluster. Deliberately absent: knowledge of particular kinds, and
//! any way around the API.

pub mod backoff;
pub mod client;
pub mod config;
pub mod controller;
pub mod dynamic;
pub mod events;
pub mod http;
pub mod informer;
pub mod key;
pub mod leader;
pub mod queue;
pub mod retry;
pub mod testing;
pub mod time;
pub mod typed;

pub use api::transport::{DeleteOptions, ListOptions, Patch, Propagation, WriteOptions};
pub use backoff::Backoff;
pub use client::Client;
pub use config::{Config, Kubeconfig};
pub use controller::{Requeue, run_workers};
pub use dynamic::Dynamic;
pub use events::{EventRecorder, EventType};
pub use http::HttpTransport;
pub use informer::{Event, Informer, InformerFactory, Selection, Store};
pub use key::ObjectKey;
pub use leader::{LeaderConfig, LeaderElector};
pub use queue::WorkQueue;
pub use retry::retry_on_conflict;
pub use typed::{Api, Page, Removed, Watched};
