//! `portmap`: makes ports of the host lead to a container (`hostPort`). Without port mappings it only hands
//! the previous result on.

use super::Plugin;
use crate::cni::{Args, CniError, CniResult, Code, NetConf};
use futures::future::BoxFuture;

/// The plugin.
pub(super) struct Portmap;

fn wants_mappings(conf: &NetConf) -> bool {
    let mappings = conf.runtime_config.get("portMappings").and_then(|m| m.as_array());
    mappings.is_some_and(|mappings| !mappings.is_empty())
}

impl Plugin for Portmap {
    fn name(&self) -> &'static str {
        "portmap"
    }

    fn add<'a>(&'a self, _: &'a Args, conf: &'a NetConf) -> BoxFuture<'a, Result<CniResult, CniError>> {
        Box::pin(async move {
            if wants_mappings(conf) {
                let msg = "hostPort is not supported by this version of Windlass; use a NodePort Service";
                return Err(CniError::new(Code::InvalidConfig, msg));
            }
            let missing =
                || CniError::new(Code::InvalidConfig, "portmap must follow another plugin in the list");
            conf.prev_result.clone().ok_or_else(missing)
        })
    }

    fn del<'a>(&'a self, _: &'a Args, _: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn check<'a>(&'a self, _: &'a Args, _: &'a NetConf) -> BoxFuture<'a, Result<(), CniError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
