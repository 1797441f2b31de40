//! `bridge`: hangs a container on a bridge with a veth pair and gives it addresses and routes.

use super::Plugin;
use crate::cni::{Args, CniError, CniResult, Code, Command, Interface, NetConf};
use futures::future::BoxFuture;
use ipnet::{IpNet, Ipv4Net};
use linux::link::{Netlink, Route};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// The plugin.
pub(super) struct Bridge;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default = "default_bridge")]
    bridge: String,
    #[serde(default)]
    is_gateway: bool,
    #[serde(default)]
    is_default_gateway: bool,
    #[serde(default)]
    hairpin_mode: bool,
    #[serde(default = "default_mtu")]
    mtu: u32,
}

fn default_bridge() -> String {
    "cni0".to_owned()
}

fn default_mtu() -> u32 {
    1500
}

/// The host's end of a container's pair: the same for every call, so that a repeated ADD finds the first one's.
fn host_name(args: &Args) -> String {
    // Not std's hasher: a newer build must find what an older one made.
    let digest = Sha256::new()
        .chain_update(&args.container_id)
        .chain_update([0])
        .chain_update(&args.ifname)
        .finalize();
    format!("veth{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

fn mac(address: &[u8]) -> String {
    address.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// Runs the address management plugin as the spec's section on delegation says: same environment, same
/// configuration.
async fn delegate(args: &Args, conf: &NetConf, command: Command) -> Result<CniResult, CniError> {
    let bad = |msg: String| CniError::new(Code::InvalidConfig, msg);
    let kind = conf.ipam.as_ref().and_then(|ipam| ipam.get("type")).and_then(|kind| kind.as_str());
    let kind = kind.ok_or_else(|| bad("ipam.type is not set".to_owned()))?;
    if kind.contains('/') {
        return Err(bad(format!("ipam.type {kind:?} must be the name of a plugin")));
    }
    let program = args.path.iter().map(|dir| dir.join(kind)).find(|path| path.exists());
    let program = program.ok_or_else(|| bad(format!("no plugin {kind:?} in CNI_PATH")))?;
    let mut input = serde_json::Map::from_iter(conf.extra.clone());
    input.insert("cniVersion".into(), conf.cni_version.clone().into());
    input.insert("name".into(), conf.name.clone().into());
    input.insert("ipam".into(), conf.ipam.clone().unwrap_or_default());
    let command = match command {
        Command::Add => "ADD",
        Command::Check => "CHECK",
        _ => "DEL",
    };
    let mut child = tokio::process::Command::new(&program)
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| CniError::new(Code::Io, format!("failed to run {}: {e}", program.display())))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::Value::Object(input).to_string().as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let said = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default();
        let msg = said.get("msg").and_then(|msg| msg.as_str()).unwrap_or("it said nothing");
        return Err(CniError::new(Code::Io, format!("{kind} failed: {msg}")));
    }
    if command != "ADD" {
        return Ok(CniResult::default());
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| CniError::new(Code::Decode, format!("{kind} answered nonsense: {e}")))
}

async fn attach(args: &Args, conf: &NetConf) -> Result<CniResult, CniError> {
    let config: Config = conf.own()?;
    let host = Netlink::open()?;
    let bridge = host.ensure_bridge(&config.bridge, config.mtu).await?;
    let name = host_name(args);
    // A leftover of a run that was killed between its steps.
    host.delete_by_name(&name).await?;
    let netns = File::open(&args.netns).map_err(|e| {
        CniError::new(Code::Io, format!("failed to open the namespace {}: {e}", args.netns.display()))
    })?;
    host.add_veth(&name, &args.ifname, &netns, config.mtu).await?;
    let veth = host.require(&name).await?;
    host.set_controller(veth.index, bridge.index, config.hairpin_mode).await?;
    host.set_up(veth.index).await?;

    let mut result = delegate(args, conf, Command::Add).await?;
    let inside = Netlink::open_in(&args.netns)?;
    let link = inside.require(&args.ifname).await?;
    inside.set_up(link.index).await?;
    for ip in &mut result.ips {
        ip.interface = Some(2);
        inside.ensure_address(link.index, ip.address).await?;
        if (config.is_gateway || config.is_default_gateway)
            && let (Some(IpAddr::V4(gateway)), IpNet::V4(net)) = (ip.gateway, ip.address)
        {
            let address = Ipv4Net::new_assert(gateway, net.prefix_len());
            host.ensure_address(bridge.index, IpNet::V4(address)).await?;
        }
    }
    let gateway = result.ips.iter().find_map(|ip| match ip.gateway {
        Some(IpAddr::V4(gateway)) => Some(gateway),
        _ => None,
    });
    for route in routes(&config, &result, link.index, gateway) {
        inside.ensure_route(&route).await?;
    }
    if config.is_gateway {
        enable_forwarding(&config.bridge)?;
    }
    result.interfaces = vec![
        Interface { name: config.bridge, mac: mac(&bridge.address), sandbox: String::new() },
        Interface { name, mac: mac(&veth.address), sandbox: String::new() },
        Interface {
            name: args.ifname.clone(),
            mac: mac(&link.address),
            sandbox: args.netns.display().to_string(),
        },
    ];
    Ok(result)
}

fn routes(config: &Config, result: &CniResult, link: u32, gateway: Option<Ipv4Addr>) -> Vec<Route> {
    let mut wanted: Vec<Route> = Vec::new();
    for route in &result.routes {
        if let IpNet::V4(destination) = route.dst {
            let hop = match route.gw {
                Some(IpAddr::V4(hop)) => Some(hop),
                _ => gateway,
            };
            wanted.push(Route { destination, gateway: hop, link, onlink: false });
        }
    }
    let default = Ipv4Net::default();
    if config.is_default_gateway && !wanted.iter().any(|route| route.destination == default) {
        wanted.push(Route { destination: default, gateway, link, onlink: false });
    }
    wanted
}

/// Lets the host route between its bridge and the rest, and lets Services between two pods of one bridge be
/// translated back on their way (bridged frames must pass the firewall for that).
fn enable_forwarding(bridge: &str) -> std::io::Result<()> {
    set("/proc/sys/net/ipv4/ip_forward", "1")?;
    let call = Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
    if call.exists() {
        set("/proc/sys/net/bridge/bridge-nf-call-iptables", "1")?;
    }
    set(&format!("/proc/sys/net/ipv4/conf/{bridge}/send_redirects"), "0")
}

/// Writes a kernel setting, unless it has the value already: some hosts mount `/proc/sys` read-only.
fn set(path: &str, value: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value)
        .map_err(|e| std::io::Error::new(e.kind(), format!("failed to set {path}: {e}")))
}

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<CniResult, CniError>> {
        Box::pin(async move {
            let attached = attach(args, conf).await;
            if attached.is_err() {
                // Give back what was taken; the first error is the one to tell.
                let _ = self.del(args, conf).await;
            }
            attached
        })
    }

    fn del<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            if conf.ipam.is_some() {
                delegate(args, conf, Command::Del).await?;
            }
            Netlink::open()?.delete_by_name(&host_name(args)).await?;
            Ok(())
        })
    }

    fn check<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            delegate(args, conf, Command::Check).await?;
            Netlink::open()?.require(&host_name(args)).await?;
            let inside = Netlink::open_in(&args.netns)?;
            let link = inside.require(&args.ifname).await?;
            let addresses = inside.addresses(link.index).await?;
            let expected = conf.prev_result.iter().flat_map(|result| &result.ips);
            for ip in expected {
                if !addresses.contains(&ip.address) {
                    return Err(CniError::new(
                        Code::Io,
                        format!("{} lost its address {}", args.ifname, ip.address),
                    ));
                }
            }
            Ok(())
        })
    }
}
