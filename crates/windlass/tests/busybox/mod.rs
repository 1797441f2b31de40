//! Pods of busybox (and other programs of this machine) for tests: a cluster with their image, and a shell in them.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use crate::registry::{self, Recipe};
use crate::support::{program, usable};
use std::path::Path;
use testkit::cluster::Cluster;

/// The image that manifests call `IMAGE`.
pub(crate) const IMAGE: &str = "test.local/busybox:1";

/// Whether a cluster with an image of busybox and `programs` can run here; says so when not.
pub(crate) fn can_run(test: &str, programs: &[&str]) -> bool {
    let needed = programs.iter().chain(&["/bin/busybox"]);
    if let Some(absent) = needed.into_iter().find(|program| !Path::new(program).exists()) {
        println!("skipped {test}: {absent} is not installed");
        return false;
    }
    usable(test)
}

/// Imports the image of busybox and `programs` into every node.
pub(crate) fn import(cluster: &Cluster, programs: &[&str]) {
    let file = cluster.dir().join("busybox.tar");
    registry::archive(&file, IMAGE, &Recipe { programs, ..Recipe::default() }).unwrap();
    let (file, dir) = (file.display().to_string(), cluster.dir().display().to_string());
    cluster.windlass(&["image", "import", &file, "--data-dir", &dir]).unwrap();
}

/// A cluster of one node with the image, or none where it cannot run.
pub(crate) fn cluster(test: &str, programs: &[&str]) -> Option<Cluster> {
    if !can_run(test, programs) {
        return None;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    import(&cluster, programs);
    Some(cluster)
}

/// Applies a manifest in which `IMAGE` stands for the image.
pub(crate) fn apply(cluster: &Cluster, manifest: &str) {
    cluster.apply(&manifest.replace("IMAGE", IMAGE)).unwrap();
}

/// What a script prints in the pod.
pub(crate) fn shell(cluster: &Cluster, pod: &str, script: &str) -> String {
    cluster
        .kubectl(&["exec", pod, "--", "sh", "-c", script])
        .unwrap_or_else(|error| panic!("{script}: {error:#}"))
}

/// Waits until the script succeeds inside the pod, for at most a minute; the container does the waiting.
pub(crate) fn until(cluster: &Cluster, pod: &str, script: &str) {
    let looped = format!("for i in $(seq 300); do {script} && exit 0; sleep 0.2; done; exit 1");
    shell(cluster, pod, &looped);
}
