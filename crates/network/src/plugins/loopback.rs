//! `loopback`: sets `lo` up.

use super::Plugin;
use crate::cni::{Args, CniError, CniResult, Code, Interface, IpConfig, NetConf};
use futures::future::BoxFuture;
use ipnet::{IpNet, Ipv4Net};
use linux::link::Netlink;
use std::net::Ipv4Addr;

/// The plugin.
pub(super) struct Loopback;

impl Plugin for Loopback {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add<'a>(&'a self, args: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<CniResult, CniError>> {
        Box::pin(async move {
            let inside = Netlink::open_in(&args.netns)?;
            let lo = inside.require("lo").await?;
            inside.set_up(lo.index).await?;
            if let Some(previous) = &conf.prev_result {
                return Ok(previous.clone());
            }
            let address = Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8);
            Ok(CniResult {
                interfaces: vec![Interface {
                    name: "lo".to_owned(),
                    mac: "00:00:00:00:00:00".to_owned(),
                    sandbox: args.netns.display().to_string(),
                }],
                ips: vec![IpConfig { address: IpNet::V4(address), gateway: None, interface: Some(0) }],
                ..CniResult::default()
            })
        })
    }

    fn del<'a>(&'a self, _: &'a Args, _: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        // The namespace takes its loopback along.
        Box::pin(std::future::ready(Ok(())))
    }

    fn check<'a>(&'a self, args: &'a Args, _: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(async move {
            let lo = Netlink::open_in(&args.netns)?.require("lo").await?;
            if lo.up { Ok(()) } else { Err(CniError::new(Code::Io, "lo is down")) }
        })
    }
}
