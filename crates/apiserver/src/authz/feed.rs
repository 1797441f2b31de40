//! Keeps an in-memory index in step with a resource: list, then watch, over the loopback transport.
//!
//! Deliberately absent: caching objects (the watch cache does) and typed events (sinks decode what they need).

use crate::contract::Context;
use api::StoredObject;
use api::transport::{ListOptions, Target, WatchEvent};
use futures::StreamExt;
use machinery::{GroupVersionResource, Status};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Pause after a failed list or watch. The loopback transport fails only while the store does.
const RETRY: Duration = Duration::from_millis(200);

/// An index that is fed. Calls never overlap for one resource.
pub trait Sink: Send + Sync + 'static {
    /// Everything that exists now; whatever else is known is gone.
    fn replace(&self, objects: &[Arc<StoredObject>]);
    /// A new or changed object.
    fn set(&self, object: &StoredObject);
    /// A deleted object, in its last state.
    fn remove(&self, object: &StoredObject);
}

/// Feeds `sink` with `resource` until the server stops; returns once it was filled for the first time (or the
/// server stops).
pub async fn feed(context: &Context, resource: GroupVersionResource, sink: Arc<dyn Sink>) {
    let (filled, mut is_filled) = watch::channel(false);
    let feeding = context.clone();
    context.tasks.spawn_until_stopped("feed", async move {
        let target = Target::all(resource);
        loop {
            if let Err(error) = run(&feeding, &target, sink.as_ref(), &filled).await
                && !error.is_expired()
            {
                tracing::warn!(resource = %target.resource, %error, "failed to follow a resource; trying again");
                feeding.clock.sleep(RETRY).await;
            }
        }
    });
    // An error means that the feeding task ended, which it does only when the server stops.
    let _ = is_filled.wait_for(|filled| *filled).await;
}

/// Lists and follows until the watch ends.
async fn run(
    context: &Context,
    target: &Target,
    sink: &dyn Sink,
    filled: &watch::Sender<bool>,
) -> Result<(), Status> {
    let listed = context.loopback.list(target, &ListOptions::default()).await?;
    sink.replace(&listed.items);
    filled.send_replace(true);
    let options =
        ListOptions { resource_version: Some(listed.revision.to_string()), ..ListOptions::default() };
    let mut events = context.loopback.watch(target, &options).await?;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => sink.set(&object),
            WatchEvent::Deleted(object) => sink.remove(&object),
            WatchEvent::Bookmark { .. } => {}
        }
    }
    Ok(())
}
