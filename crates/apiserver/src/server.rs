//! [`ApiServer`]: the parts put together and started.

use crate::allocators::Services;
use crate::contract::{Context, UserInfo};
use crate::flowcontrol::FlowControl;
use crate::http::Front;
use crate::local::Local;
use crate::registry::{Plugins, Registry};
use crate::{
    Config, Listen, admission, aggregation, audit, authn, authz, bootstrap, cache, crd, storage, subresources,
};
use api::transport::Transport;
use component::serve::{Handler, Limits, serve};
use component::{SharedClock, Tasks};
use machinery::{GroupResource, Status};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use store::{Store, StoreError};

/// Why an API server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not answer.
    #[error("failed to read the store: {0}; check its directory and free space")]
    Store(#[from] StoreError),
    /// A part of the configuration cannot be used, or the first objects could not be written.
    #[error("failed to start the API server: {0}")]
    Start(#[from] Status),
    /// A listener cannot be used.
    #[error("failed to listen: {0}; check that the address is free")]
    Listen(#[from] std::io::Error),
}

/// A running API server. Ends with the tasks it was started in.
pub struct ApiServer {
    registry: Arc<Registry>,
    context: Context,
    addresses: Vec<SocketAddr>,
    auditor: Option<Arc<audit::Auditor>>,
}

impl ApiServer {
    /// Starts serving on `listeners`; returns when the server is ready. Must be called inside a tokio runtime.
    pub async fn start(
        config: Config,
        listeners: Vec<Listen>,
        store: Arc<dyn Store>,
        clock: SharedClock,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let config = Arc::new(config);
        let store = storage::encryption::encrypted(store, config.encryption.as_ref(), &clock, tasks).await?;
        let feed = cache::Feed::start(store, clock.clone(), tasks).await?;
        let registry = Arc::new(Registry::new(feed, config.event_ttl));
        let (settings, timeout) = (config.flow_control, config.request_timeout);
        let context = Context {
            aggregator: Arc::default(),
            flow: FlowControl::new(settings, timeout, clock.clone(), tasks.clone()),
            lookup: registry.clone(),
            loopback: Arc::new(Local::trusted(registry.clone())),
            clock,
            tasks: tasks.clone(),
            config,
            authorizers: Arc::new(OnceLock::new()),
            authenticators: Arc::new(OnceLock::new()),
        };
        let (plugins, services) = plugins(&context, registry.feed().store().clone())?;
        registry.complete(plugins, context.clone());
        services.keep(&context).await?;
        let servers = bootstrap::objects(&context, registry.feed().store().clone()).await?;
        authn::start(&context).await?;
        authn::trust::publish(&context).await?;
        // Before the authorizers read what there is, so that they are complete from the first request.
        authz::bootstrap::reconcile(&context).await?;
        authz::start(&context).await?;
        crd::start(&context, &registry).await;
        context.flow.start(&context, registry.feed()).await?;
        aggregation::start(&context, &registry).await;
        let auditor = audit::start(&context)?;
        let front: Arc<dyn Handler> =
            Arc::new(Front::new(context.clone(), registry.clone(), auditor.clone(), tasks));
        let mut addresses = Vec::new();
        for listen in listeners {
            addresses.push(serve(listen.listener, listen.tls, Limits::default(), tasks, front.clone())?);
        }
        bootstrap::keep(&context, &servers);
        Ok(Self { registry, context, addresses, auditor })
    }

    /// The addresses served, in the order of the listeners.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The API as `user`, without a socket.
    pub fn transport(&self, user: UserInfo) -> Arc<dyn Transport> {
        let local = Arc::new(Local::new(self.registry.clone(), user.clone()));
        match &self.auditor {
            None => local,
            Some(auditor) => audit::audited(local, auditor.clone(), user),
        }
    }

    /// The registry, for parts of the server.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// What plugins may use.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

fn plugins(context: &Context, store: Arc<dyn Store>) -> Result<(Plugins, Arc<Services>), Status> {
    let mut plugins = Plugins { admission: admission::chain(context)?, ..Plugins::default() };
    for handler in subresources::handlers() {
        let (group, plural) = handler.parent();
        let key = (group.to_owned(), plural.to_owned(), handler.name().to_owned());
        plugins.subresources.insert(key, handler);
    }
    for computed in subresources::virtual_resources() {
        let (group, plural) = computed.resource();
        plugins.virtuals.insert((group.to_owned(), plural.to_owned()), computed);
    }
    let services = Arc::new(Services::new(context, store));
    let storage = GroupResource::new("", "services");
    plugins.hooks.insert(storage, services.clone());
    Ok((plugins, services))
}
