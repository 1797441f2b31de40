//! A machine that lacks something: space for the store, a cgroup controller. Clear words, running pods untouched, and
//! nothing lost that was acknowledged.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod busybox;
mod registry;
mod support;

use busybox::{apply, can_run, import};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

/// A small file system in memory, there for as long as this is.
struct Small(PathBuf);

impl Small {
    fn mount(dir: &Path, size: &str) -> Self {
        fs::create_dir_all(dir).unwrap();
        linux::mount::filesystem("tmpfs", dir, linux::mount::Attributes::default(), &format!("size={size}"))
            .unwrap();
        Self(dir.to_owned())
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let mut block = 1 << 20;
        while block > 0 {
            // Smaller and smaller pieces, to the last byte.
            if file.write_all(&vec![0; block]).is_err() {
                block /= 2;
            }
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = linux::mount::unmount(&self.0);
    }
}

const RUNNING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: running}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sleep, "1000"]}]
"#;

#[test]
fn a_full_disk_loses_nothing() {
    let test = "a_full_disk_loses_nothing";
    if !can_run(test, &[]) {
        return;
    }
    let mut cluster = Cluster::new(program(), 1).unwrap();
    let small = Small::mount(&cluster.dir().join("store"), "48m");
    cluster.up(&[]).unwrap();
    import(&cluster, &[]);
    apply(&cluster, RUNNING);
    kubectl(&cluster, "wait pod/running --for=condition=Ready --timeout=30s");
    let identity = || {
        let status = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
        cluster.kubectl(&["get", "pod", "running", "-o", &format!("jsonpath={status}")]).unwrap()
    };
    let before = identity();
    // Writes until one is refused; which were acknowledged is known.
    let filler = small.fill();
    let large = "x".repeat(20_000);
    let mut acknowledged = Vec::new();
    let refused = (0..2000).find_map(|number| {
        let name = format!("n{number}");
        let flag = format!("--from-literal=a={large}");
        match cluster.kubectl(&["create", "configmap", &name, &flag]) {
            Ok(_) => {
                acknowledged.push(name);
                None
            }
            Err(error) => Some(error.to_string()),
        }
    });
    let refused = refused.expect("the disk never became full");
    assert!(refused.contains("No space left on device") || refused.contains("no space left"), "{refused}");
    // What is read is still answered, and pods are still there.
    assert_eq!(identity(), before);
    assert_eq!(busybox::shell(&cluster, "running", "echo alive"), "alive\n");

    // Killed and started anew where there still is no space: it says so, and changes nothing.
    cluster.kill().unwrap();
    if let Err(error) = cluster.up(&[]) {
        let error = error.to_string();
        assert!(error.contains("No space left on device") && !error.contains("panicked"), "{error}");
        fs::remove_file(&filler).unwrap();
        cluster.up(&[]).unwrap();
    } else {
        fs::remove_file(&filler).unwrap();
        cluster.kill().unwrap();
        cluster.up(&[]).unwrap();
    }
    for name in &acknowledged {
        let length = kubectl(&cluster, &format!("get configmap {name} -o jsonpath={{.data.a}}")).len();
        assert_eq!(length, large.len(), "{name}");
    }
    let identity = |cluster: &Cluster| {
        let status = "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}";
        cluster.kubectl(&["get", "pod", "running", "-o", &format!("jsonpath={status}")]).unwrap()
    };
    assert_eq!(identity(&cluster), before);
    kubectl(&cluster, "create configmap after --from-literal=a=b");
    cluster.down(&[]).unwrap();
}

const GREEDY: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "head -c 3000000 /dev/zero > /data/x; sleep 1000"], volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {sizeLimit: 1Mi}}]
---
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "head -c 3000000 /dev/zero > /x; sleep 1000"], resources: {limits: {ephemeral-storage: 1Mi}}}]
---
apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: IMAGE, command: [sh, -c, "head -c 3000000 /dev/zero > /data/x; sleep 1000"], resources: {limits: {ephemeral-storage: 8Mi}}, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, emptyDir: {sizeLimit: 4Mi}}]
"#;

#[test]
fn pods_above_their_storage_limits_end() {
    let Some(cluster) = busybox::cluster("pods_above_their_storage_limits_end", &[]) else { return };
    apply(&cluster, GREEDY);
    for (pod, why) in [
        ("volume", "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\"."),
        ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi."),
    ] {
        kubectl(&cluster, &format!("wait pod/{pod} --for=jsonpath={{.status.phase}}=Failed --timeout=60s"));
        let status =
            kubectl(&cluster, &format!("get pod {pod} -o jsonpath={{.status.reason}}:{{.status.message}}"));
        assert_eq!(status.trim(), format!("Evicted:{why}"));
        kubectl(&cluster, &format!("wait pod/{pod} --for=condition=DisruptionTarget --timeout=5s"));
        let events = kubectl(&cluster, &format!("get events --field-selector involvedObject.name={pod}"));
        assert!(events.contains("Evicted"), "{events}");
    }
    assert_eq!(kubectl(&cluster, "get pod modest -o jsonpath={.status.phase}"), "Running");
}

#[test]
fn a_missing_controller_is_named() {
    if !usable("a_missing_controller_is_named") {
        return;
    }
    let dir = tempfile::Builder::new().prefix("wl").tempdir_in("/tmp").unwrap();
    let memory = Path::new("/sys/fs/cgroup/memory");
    if !memory.join("memory.limit_in_bytes").exists() {
        println!(
            "skipped a_missing_controller_is_named: control groups are of version 2, which has no mount to take away"
        );
        return;
    }
    // Only in a mount namespace of its own.
    let mut up = Command::new("unshare");
    up.args(["--mount", "--propagation", "private", "sh", "-c"]);
    up.arg("umount --lazy /sys/fs/cgroup/memory && exec \"$0\" up --isolated --data-dir \"$1\" --port 0");
    let done = up.arg(program()).arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    for part in ["cgroup controllers: memory missing", "mount -t cgroup -o memory"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}
