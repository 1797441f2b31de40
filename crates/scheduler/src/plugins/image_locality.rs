//! `ImageLocality`: nodes that have the pod's images already are better, the larger the images and the more
//! nodes have them (so that one node with a rare image does not attract everything).

use crate::cache::NodeInfo;
use crate::framework::{Cycle, Framework, Handle, MAX_NODE_SCORE, Plugin, Score};
use std::sync::Arc;

const MEBIBYTE: i64 = 1 << 20;
/// Images smaller than this together do not matter; above the maximum (per container) more does not either.
const MIN: i64 = 23 * MEBIBYTE;
const MAX_PER_CONTAINER: i64 = 1000 * MEBIBYTE;

struct ImageLocality;

pub(super) fn register(framework: &mut Framework, _: &Handle) {
    framework.score.push(Arc::new(ImageLocality));
}

/// The name as node status lists it: with a tag.
fn normalized(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

fn size_on(node: &NodeInfo, image: &str) -> Option<i64> {
    let status = node.node.as_ref()?.status.as_ref()?;
    let found =
        status.images.iter().flatten().find(|i| i.names.iter().flatten().any(|name| name == image))?;
    found.size_bytes
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
}

impl Score for ImageLocality {
    fn weight(&self) -> i64 {
        1
    }

    fn score(&self, cycle: &Cycle, node: &NodeInfo) -> i64 {
        let Some(spec) = &cycle.pod.pod.spec else { return 0 };
        let images = spec.containers.iter().filter_map(|container| container.image.as_deref());
        let total_nodes = i64::try_from(cycle.nodes.len()).unwrap_or(i64::MAX).max(1);
        let sum: i64 = images
            .filter_map(|image| {
                let image = normalized(image);
                let size = size_on(node, &image)?;
                let having = cycle.nodes.values().filter(|node| size_on(node, &image).is_some()).count();
                Some(size.saturating_mul(i64::try_from(having).unwrap_or(0)) / total_nodes)
            })
            .sum();
        let containers = i64::try_from(spec.containers.len()).unwrap_or(1).max(1);
        let max = MAX_PER_CONTAINER.saturating_mul(containers);
        (sum.clamp(MIN, max) - MIN).saturating_mul(MAX_NODE_SCORE) / (max - MIN)
    }
}
