//! Images: archives, a registry on loopback by tag and digest, and with credentials.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod registry;
mod support;

use registry::{Recipe, Registry};
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

fn ready(test: &str) -> bool {
    if let Some(why) = registry::missing(&[]) {
        println!("skipped {test}: {why}");
        return false;
    }
    usable(test)
}

fn says(cluster: &Cluster, pod: &str, image: &str, flags: &str) -> String {
    kubectl(cluster, &format!("run {pod} --image={image} --restart=Never {flags} -- cat /word"));
    kubectl(cluster, &format!("wait pod/{pod} --for=jsonpath={{.status.phase}}=Succeeded --timeout=30s"));
    kubectl(cluster, &format!("logs {pod}")).trim().to_owned()
}

#[test]
fn archives_are_imported() {
    if !ready("archives_are_imported") {
        return;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data_dir = cluster.dir().display().to_string();
    let import = |file: &str| {
        let mut command = std::process::Command::new(program());
        // A relative path is this command's, not the runtime's.
        command.current_dir(&dir).args(["image", "import", file, "--data-dir", &data_dir]);
        let done = command.output().unwrap();
        let text = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.success(), text)
    };
    let docker = dir.path().join("docker.tar");
    let recipe = Recipe { files: &[("word", "imported")], ..Recipe::default() };
    registry::archive(&docker, "test.local/docker:1", &recipe).unwrap();
    registry::oci_archive(&docker, &dir.path().join("oci.tar"), "test.local/oci:1").unwrap();
    for (file, name) in [("docker.tar", "test.local/docker:1"), ("oci.tar", "test.local/oci:1")] {
        let (fine, said) = import(file);
        assert!(fine && said.contains(&format!("node-1: imported {name}")), "{said}");
    }
    assert_eq!(says(&cluster, "docker", "test.local/docker:1", ""), "imported");
    assert_eq!(says(&cluster, "oci", "test.local/oci:1", "--image-pull-policy=Never"), "imported");

    std::fs::write(dir.path().join("text.tar"), "this is no tar").unwrap();
    let cut = std::fs::read(&docker).unwrap();
    std::fs::write(dir.path().join("cut.tar"), &cut[..cut.len() / 2]).unwrap();
    for broken in ["text.tar", "cut.tar", "absent.tar"] {
        let (fine, said) = import(broken);
        let path = dir.path().join(broken).display().to_string();
        assert!(!fine && said.contains(&path) && said.contains("node-1"), "{said}");
    }

    let listed = cluster.windlass(&["image", "ls", "--data-dir", &data_dir]).unwrap();
    assert!(listed.contains("test.local/docker:1") && listed.contains("test.local/oci:1"), "{listed}");
    kubectl(&cluster, "delete pod oci --now");
    cluster.windlass(&["image", "rm", "test.local/oci:1", "--data-dir", &data_dir]).unwrap();
    let listed = cluster.windlass(&["image", "ls", "--data-dir", &data_dir]).unwrap();
    assert!(!listed.contains("test.local/oci:1"), "{listed}");
    kubectl(&cluster, "run never --image=test.local/oci:1 --image-pull-policy=Never");
    let reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull";
    kubectl(&cluster, &format!("wait pod/never --for={reason} --timeout=30s"));
}

#[test]
fn a_registry_serves_tags_digests_and_those_who_may() {
    let test = "a_registry_serves_tags_digests_and_those_who_may";
    if !ready(test) {
        return;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let open = Registry::serve(&cluster, "node-1", dir.path(), None).unwrap();
    let publish = |registry: &Registry, name, word, flags: &[&str]| {
        let recipe = Recipe { files: &[("word", word)], ..Recipe::default() };
        registry.publish(name, &recipe, flags).unwrap();
    };
    publish(&open, "app:1", "first", &[]);
    assert_eq!(says(&cluster, "first", "localhost:5000/app:1", ""), "first");
    let id = kubectl(&cluster, "get pod first -o jsonpath={.status.containerStatuses[0].imageID}");
    assert!(id.starts_with("localhost:5000/app@sha256:"), "{id}");

    // The tag moves. Who has it keeps it, unless told to ask; the digest stays what it was.
    publish(&open, "app:1", "second", &[]);
    assert_eq!(says(&cluster, "kept", "localhost:5000/app:1", "--image-pull-policy=IfNotPresent"), "first");
    assert_eq!(says(&cluster, "asked", "localhost:5000/app:1", "--image-pull-policy=Always"), "second");
    assert_eq!(says(&cluster, "pinned", &id, ""), "first");

    kubectl(&cluster, "run absent --image=localhost:5000/absent:1");
    let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff";
    kubectl(&cluster, &format!("wait pod/absent --for={waiting} --timeout=30s"));
    let events = kubectl(&cluster, "get events --field-selector involvedObject.name=absent");
    assert!(events.contains("Failed to pull image \"localhost:5000/absent:1\""), "{events}");
    drop(open);

    // What "htpasswd -B" makes of the password "secret".
    let users = "puller:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
    let closed = Registry::serve(&cluster, "node-1", dir.path(), Some(users)).unwrap();
    publish(&closed, "private:1", "private", &["--dest-creds=puller:secret"]);
    kubectl(&cluster, "run denied --image=localhost:5000/private:1");
    kubectl(&cluster, &format!("wait pod/denied --for={waiting} --timeout=30s"));
    kubectl(
        &cluster,
        "create secret docker-registry pull --docker-server=localhost:5000 --docker-username=puller \
         --docker-password=secret",
    );
    let with = r#"--overrides={"spec":{"imagePullSecrets":[{"name":"pull"}]}}"#;
    assert_eq!(says(&cluster, "allowed", "localhost:5000/private:1", with), "private");
}
