//! `hello`: a page that says which pod answers; the first thing that a newcomer deploys.

use anyhow::{Context, Result};
use clap::Args;
use component::Tasks;
use component::serve::{Limits, Request, Response, full, serve};
use futures::future::BoxFuture;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Flags of `windlass hello`.
#[derive(Args, Clone, Debug)]
pub struct HelloOptions {
    /// Address to serve on
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// What to say
    #[arg(long, default_value = "Hello from Windlass", env = "HELLO_MESSAGE")]
    pub message: String,
}

/// Serves until it is told to stop.
pub fn run(options: &HelloOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = options.clone();
    runtime.block_on(async move {
        let listener = TcpListener::bind(options.listen)
            .with_context(|| format!("failed to listen on {}; is something else there?", options.listen))?;
        let pod = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let page = format!("{}\npod: {pod}\n", options.message);
        let answer = move |_: Request| -> BoxFuture<'static, Response> {
            Box::pin(std::future::ready(Response::new(full(page.clone()))))
        };
        let tasks = Tasks::new();
        serve(listener, None, Limits::default(), &tasks, Arc::new(answer))?;
        signal(SignalKind::terminate())?.recv().await;
        tasks.stop_and_wait(std::time::Duration::from_secs(5)).await;
        Ok(())
    })
}
