//! The plugins, one file each, and the table that the binary dispatches on.

mod bridge;
mod host_local;
mod loopback;
mod portmap;

use crate::cni::{Args, CniError, CniResult, Code, Command, NetConf, VERSIONS};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::io::{Read, Write};

/// A CNI plugin. ADD answers a result; the others answer nothing.
pub trait Plugin: Sync {
    /// The name it is exec'd under.
    fn name(&self) -> &'static str;
    /// Attaches a container.
    fn add<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<CniResult, CniError>>;
    /// Detaches a container; what is already gone is fine.
    fn del<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>>;
    /// Fails when the container is not attached as `conf.prev_result` says.
    fn check<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>>;
    /// Removes what belongs to none of `conf.valid_attachments`.
    fn gc<'a>(&'a self, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        let _ = conf;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Every plugin.
pub const TABLE: &[&dyn Plugin] =
    &[&bridge::Bridge, &host_local::HostLocal, &loopback::Loopback, &portmap::Portmap];

/// The plugin called `name`.
pub fn find(name: &str) -> Option<&'static dyn Plugin> {
    TABLE.iter().copied().find(|plugin| plugin.name() == name)
}

/// Runs a plugin as an executable: reads the environment and standard input, writes standard output, returns
/// the exit code. Starts its own single-threaded tokio runtime.
pub fn main(plugin: &dyn Plugin) -> u8 {
    let mut input = Vec::new();
    let read = std::io::stdin().take(1 << 20).read_to_end(&mut input).map_err(CniError::from);
    let args = read.and_then(|_| Args::from_env(|name| std::env::var(name).ok()));
    let (code, output) = match args {
        Err(error) => (1, Some(error.to_json(VERSIONS[VERSIONS.len() - 1]))),
        Ok(args) => run(plugin, &args, &input),
    };
    if let Some(output) = output {
        // The runtime that would read this is gone if writing fails; the exit code still says how it went.
        let _ = writeln!(std::io::stdout(), "{output}");
    }
    code
}

fn run(plugin: &dyn Plugin, args: &Args, input: &[u8]) -> (u8, Option<Value>) {
    let newest = VERSIONS[VERSIONS.len() - 1];
    if args.command == Command::Version {
        return (0, Some(json!({"cniVersion": newest, "supportedVersions": VERSIONS})));
    }
    let conf = match NetConf::parse(input) {
        Ok(conf) => conf,
        Err(error) => return (1, Some(error.to_json(newest))),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (1, Some(CniError::from(error).to_json(&conf.cni_version))),
    };
    match runtime.block_on(dispatch(plugin, args, &conf)) {
        Ok(output) => (0, output),
        Err(error) => (1, Some(error.to_json(&conf.cni_version))),
    }
}

async fn dispatch(plugin: &dyn Plugin, args: &Args, conf: &NetConf) -> Result<Option<Value>, CniError> {
    match args.command {
        Command::Add => {
            let mut result = plugin.add(args, conf).await?;
            result.cni_version.clone_from(&conf.cni_version);
            let value =
                serde_json::to_value(result).map_err(|e| CniError::new(Code::Decode, e.to_string()))?;
            Ok(Some(value))
        }
        Command::Del => plugin.del(args, conf).await.map(|()| None),
        Command::Check => plugin.check(args, conf).await.map(|()| None),
        Command::Gc => plugin.gc(conf).await.map(|()| None),
        Command::Status | Command::Version => Ok(None),
    }
}
