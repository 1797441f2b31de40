//! `host-local`: gives out addresses of the node's ranges. State is one file per address, named after it, that
//! says who has it; a lock file makes concurrent calls take turns. The layout is the usual one, so that tools
//! which look there find what they know.

use super::Plugin;
use crate::cni::{Args, CniError, CniResult, Code, IpConfig, NetConf, RouteConfig};
use futures::future::BoxFuture;
use ipnet::{IpNet, Ipv4Net};
use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The plugin.
pub(super) struct HostLocal;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    ranges: Vec<Vec<Range>>,
    #[serde(default)]
    routes: Vec<RouteConfig>,
    #[serde(default = "default_dir")]
    data_dir: PathBuf,
}

fn default_dir() -> PathBuf {
    "/var/lib/cni/networks".into()
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    subnet: Ipv4Net,
    range_start: Option<Ipv4Addr>,
    range_end: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
}

impl Range {
    /// First and last address to give out, as numbers; the gateway lies outside or is skipped.
    fn bounds(&self) -> (u32, u32) {
        let network = u32::from(self.subnet.network());
        let broadcast = u32::from(self.subnet.broadcast());
        let first = self.range_start.map_or(network.saturating_add(1), u32::from);
        let last = self.range_end.map_or(broadcast.saturating_sub(1), u32::from);
        (first, last)
    }

    fn gateway(&self) -> Ipv4Addr {
        self.gateway.unwrap_or_else(|| Ipv4Addr::from(u32::from(self.subnet.network()).saturating_add(1)))
    }
}

/// The network's directory, locked until dropped.
struct Leases {
    dir: PathBuf,
    _lock: File,
}

impl Leases {
    fn open(config: &Config, network: &str) -> io::Result<Self> {
        if network.is_empty() || network.contains('/') || network.starts_with('.') {
            return Err(io::Error::other(format!("network name {network:?} cannot name a directory")));
        }
        let dir = config.data_dir.join(network);
        fs::create_dir_all(&dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self { dir, _lock: lock })
    }

    fn holder(args: &Args) -> String {
        format!("{}\r\n{}", args.container_id, args.ifname)
    }

    /// Each lease: its address and who has it.
    fn all(&self) -> io::Result<Vec<(Ipv4Addr, PathBuf, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let address = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            if let Some(address) = address {
                let holder = fs::read_to_string(&path)?;
                found.push((address, path, holder));
            }
        }
        Ok(found)
    }

    fn last(&self, set: usize) -> Option<u32> {
        fs::read_to_string(self.last_file(set)).ok()?.trim().parse::<Ipv4Addr>().ok().map(u32::from)
    }

    fn last_file(&self, set: usize) -> PathBuf {
        self.dir.join(format!("last_reserved_ip.{set}"))
    }

    /// Takes the next free address of a set of ranges, going round after the last one given, so that an
    /// address rests as long as possible before somebody else gets it.
    fn take(&self, set: usize, ranges: &[Range], holder: &str) -> Result<(Ipv4Addr, u8, Ipv4Addr), CniError> {
        let last = self.last(set);
        let candidates = || {
            ranges.iter().flat_map(|range| {
                let (first, end) = range.bounds();
                (first..=end).map(move |address| (address, range))
            })
        };
        let after = candidates().skip_while(|(address, _)| last.is_some_and(|last| *address != last));
        // After the last one given to the end, then from the start.
        for (address, range) in after.skip(usize::from(last.is_some())).chain(candidates()) {
            let ip = Ipv4Addr::from(address);
            if ip == range.gateway() || !range.subnet.contains(&ip) {
                continue;
            }
            let path = self.dir.join(ip.to_string());
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(holder.as_bytes())?;
                    fs::write(self.last_file(set), ip.to_string())?;
                    return Ok((ip, range.subnet.prefix_len(), range.gateway()));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
        }
        let subnets: Vec<String> = ranges.iter().map(|range| range.subnet.to_string()).collect();
        let msg = format!(
            "no free address in {}; delete pods or give the node a larger pod CIDR",
            subnets.join(", ")
        );
        Err(CniError::new(Code::TryAgain, msg))
    }

    fn release(&self, given: impl Fn(&str) -> bool) -> io::Result<()> {
        for (_, path, holder) in self.all()? {
            if given(&holder) {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn config(conf: &NetConf) -> Result<Config, CniError> {
    let ipam = conf.ipam.clone().unwrap_or_default();
    let config: Config = serde_json::from_value(ipam)
        .map_err(|e| CniError::new(Code::InvalidConfig, format!("the ipam configuration is wrong: {e}")))?;
    if config.ranges.iter().all(Vec::is_empty) {
        return Err(CniError::new(Code::InvalidConfig, "ipam.ranges is empty; name at least one subnet"));
    }
    Ok(config)
}

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<CniResult, CniError>> {
        Box::pin(async move {
            let config = config(conf)?;
            let leases = Leases::open(&config, &conf.name)?;
            let holder = Leases::holder(args);
            // A repeated ADD after a crash must not leak the first one's addresses.
            leases.release(|who| who == holder)?;
            let mut result = CniResult { routes: config.routes.clone(), ..CniResult::default() };
            for (set, ranges) in config.ranges.iter().enumerate() {
                let (address, prefix, gateway) = leases.take(set, ranges, &holder)?;
                let address = IpNet::V4(Ipv4Net::new_assert(address, prefix));
                result.ips.push(IpConfig { address, gateway: Some(gateway.into()), interface: None });
            }
            Ok(result)
        })
    }

    fn del<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            let holder = Leases::holder(args);
            Ok(Leases::open(&config(conf)?, &conf.name)?.release(|who| who == holder)?)
        })
    }

    fn check<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            let holder = Leases::holder(args);
            let leases = Leases::open(&config(conf)?, &conf.name)?.all()?;
            if leases.iter().any(|(_, _, who)| *who == holder) {
                return Ok(());
            }
            Err(CniError::new(Code::Io, format!("container {} has no address", args.container_id)))
        })
    }

    fn gc<'a>(&'a self, conf: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            let valid: Vec<String> = conf
                .valid_attachments
                .iter()
                .map(|a| format!("{}\r\n{}", a.container_id, a.ifname))
                .collect();
            Ok(Leases::open(&config(conf)?, &conf.name)?.release(|who| !valid.iter().any(|v| v == who))?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cni::Command;
    use serde_json::json;

    fn call(id: &str) -> Args {
        Args {
            command: Command::Add,
            container_id: id.to_owned(),
            netns: "/n".into(),
            ifname: "eth0".to_owned(),
            path: Vec::new(),
        }
    }

    fn conf(dir: &Path, subnet: &str) -> NetConf {
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge",
            "ipam": {"type": "host-local", "ranges": [[{"subnet": subnet}]], "dataDir": dir}});
        NetConf::parse(conf.to_string().as_bytes()).unwrap()
    }

    async fn take(id: &str, conf: &NetConf) -> Result<String, CniError> {
        HostLocal.add(&call(id), conf).await.map(|result| result.ips[0].address.to_string())
    }

    #[tokio::test]
    async fn addresses_go_round_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let conf = conf(dir.path(), "10.1.0.0/29");
        for (id, address) in [("a", "10.1.0.2/29"), ("b", "10.1.0.3/29")] {
            assert_eq!(take(id, &conf).await.unwrap(), address);
        }
        HostLocal.del(&call("a"), &conf).await.unwrap();
        for (id, address) in
            [("c", "10.1.0.4/29"), ("d", "10.1.0.5/29"), ("e", "10.1.0.6/29"), ("f", "10.1.0.2/29")]
        {
            assert_eq!(take(id, &conf).await.unwrap(), address);
        }
        let full = take("g", &conf).await.unwrap_err();
        assert_eq!(full.code, Code::TryAgain);
        assert!(full.msg.contains("10.1.0.0/29"), "{full}");
    }

    #[tokio::test]
    async fn a_repeated_add_leaks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let conf = conf(dir.path(), "10.1.0.0/29");
        for _ in 0..20 {
            take("same", &conf).await.unwrap();
        }
        HostLocal.check(&call("same"), &conf).await.unwrap();
        HostLocal.gc(&conf).await.unwrap();
        assert!(HostLocal.check(&call("same"), &conf).await.is_err());
    }
}
