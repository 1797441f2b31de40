//! What pods get from their node, seen from inside through a stock kubectl: limits, volumes that follow the API, volumes
//! of their own, and the API server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod busybox;
mod registry;
mod support;

use busybox::{apply, shell, until};
use std::path::{Path, PathBuf};
use support::kubectl;
use testkit::cluster::Cluster;

const CURL: &str = "/usr/bin/curl";

const LIMITED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: first, image: IMAGE, command: [sleep, "1000"], resources: {requests: {cpu: 250m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}}
  - {name: second, image: IMAGE, command: [sleep, "1000"], resources: {requests: {cpu: 100m}, limits: {cpu: "1", memory: 16Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: guaranteed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: only, image: IMAGE, command: [sleep, "1000"], resources: {limits: {cpu: 100m, memory: 16Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: free}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: only, image: IMAGE, command: [sleep, "1000"]}
"#;

/// The pod's directory in each hierarchy, found by its uid.
fn groups(uid: &str, class: &str) -> Vec<PathBuf> {
    let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let tops = roots.chain([PathBuf::from("/sys/fs/cgroup")]).flat_map(|root| {
        let below = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
        below.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("windlass-")))
    });
    let pods = tops.map(|top| top.join("kubepods").join(class).join(format!("pod{uid}")));
    pods.filter(|group| group.is_dir()).collect()
}

/// The value of the first of these files that is there: version 1, then version 2.
fn limit(groups: &[PathBuf], files: [&str; 2]) -> String {
    let mut found = files.iter().flat_map(|file| groups.iter().map(move |group| group.join(file)));
    let path = found.find(|path| path.exists()).unwrap_or_else(|| panic!("{files:?} in {groups:?}"));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// CPU shares, CPU quota, memory limit and pids limit; what version 2 has is told in version 1's words.
fn limits(groups: &[PathBuf]) -> [String; 4] {
    let unified = groups.iter().any(|group| group.join("cpu.weight").exists());
    let pids = limit(groups, ["pids.max", "pids.max"]);
    let memory = limit(groups, ["memory.limit_in_bytes", "memory.max"]);
    if unified {
        let quota = limit(groups, ["cpu.max", "cpu.max"]);
        let quota = quota.split(' ').next().unwrap().replace("max", "-1");
        return [limit(groups, ["cpu.weight", "cpu.weight"]), quota, memory, pids];
    }
    let quota = limit(groups, ["cpu.cfs_quota_us", "cpu.cfs_quota_us"]);
    [limit(groups, ["cpu.shares", "cpu.shares"]), quota, memory, pids]
}

/// The directories of the container's own group, which lies in its pod's.
fn inner(groups: &[PathBuf], id: &str) -> Vec<PathBuf> {
    groups.iter().map(|group| group.join(id)).filter(|group| group.is_dir()).collect()
}

#[test]
fn limits_are_the_kernel_s() {
    let Some(cluster) = busybox::cluster("limits_are_the_kernel_s", &[]) else { return };
    apply(&cluster, LIMITED);
    let get = |pod: &str, path: &str| kubectl(&cluster, &format!("get pod {pod} -o jsonpath={{{path}}}"));
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let shares = |v1: u64| if unified { 1 + (v1 - 2) * 9999 / 262_142 } else { v1 }.to_string();
    let mi = |n: u64| (n << 20).to_string();
    for (pod, class, cpu, quota, memory) in [
        ("limited", "burstable", 358, "150000", mi(80)),
        ("guaranteed", "", 102, "10000", mi(16)),
        ("free", "besteffort", 2, "-1", String::new()),
    ] {
        kubectl(&cluster, &format!("wait pod/{pod} --for=condition=Ready --timeout=30s"));
        let found = groups(&get(pod, ".metadata.uid"), class);
        let [got_cpu, got_quota, got_memory, pids] = limits(&found);
        assert_eq!((got_cpu, got_quota.as_str(), pids.as_str()), (shares(cpu), quota, "max"), "{pod}");
        assert!(memory.is_empty() || got_memory == memory, "{pod}: {got_memory}");
    }
    let found = groups(&get("limited", ".metadata.uid"), "burstable");
    for (index, cpu, quota, memory) in [(0, 256, "50000", mi(64)), (1, 102, "100000", mi(16))] {
        let id = get("limited", &format!(".status.containerStatuses[{index}].containerID"));
        let own = inner(&found, id.rsplit('/').next().unwrap());
        assert_eq!(limits(&own), [shares(cpu), quota.to_owned(), memory, "max".to_owned()]);
    }
    // The container sees its own group and nobody else's.
    let file = if unified { "memory.max" } else { "memory/memory.limit_in_bytes" };
    assert_eq!(shell(&cluster, "limited", &format!("cat /sys/fs/cgroup/{file}")).trim(), mi(64));
    let requests = get("guaranteed", ".spec.containers[0].resources.requests.memory");
    assert_eq!((requests.as_str(), get("guaranteed", ".status.qosClass").as_str()), ("16Mi", "Guaranteed"));
    kubectl(&cluster, "delete pod free --now");
    let gone = groups(&get("limited", ".metadata.uid"), "besteffort");
    assert!(gone.is_empty());
}

const FOLLOWING: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {user: one, gone: soon}
---
apiVersion: v1
kind: Pod
metadata: {name: following}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, fsGroup: 3000}
  containers:
  - name: c
    image: IMAGE
    command: [sleep, "1000"]
    volumeMounts:
    - {name: keys, mountPath: /keys}
    - {name: all, mountPath: /all}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: keys, secret: {secretName: keys}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
  - name: all
    projected:
      sources:
      - secret: {name: keys, items: [{key: user, path: deep/user}]}
      - serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}
"#;

#[test]
fn secrets_follow_the_api_and_stay_in_memory() {
    let Some(cluster) = busybox::cluster("secrets_follow_the_api_and_stay_in_memory", &[]) else { return };
    apply(&cluster, FOLLOWING);
    kubectl(&cluster, "wait pod/following --for=condition=Ready --timeout=30s");
    let sh = |script: &str| shell(&cluster, "following", script).trim().to_owned();
    assert_eq!(sh("cat /keys/user /keys/gone /all/deep/user"), "onesoonone");
    for dir in ["/keys", "/all", "/memory", "/var/run/secrets/kubernetes.io/serviceaccount"] {
        assert_eq!(sh(&format!("stat -f -c %T {dir}")), "tmpfs", "{dir}");
    }
    // The user of the pod may read what its group owns, and nobody else the token.
    assert_eq!(sh("stat -L -c %a:%g /keys/user /all/token"), "644:3000\n640:3000");
    let claims = sh("cut -d. -f2 /all/token | tr _- /+ | base64 -d 2>/dev/null; true");
    assert!(claims.contains(r#""aud":["vault"]"#) && claims.contains("following"), "{claims}");

    kubectl(
        &cluster,
        r#"patch secret keys --type=merge -p {"stringData":{"user":"two"},"data":{"gone":null}}"#,
    );
    until(&cluster, "following", "test $(cat /keys/user)$(cat /all/deep/user) = twotwo -a ! -e /keys/gone");
    // What is larger than the volume does not fit.
    let full = sh("head -c 8000000 /dev/zero > /memory/x; du -k /memory/x | cut -f1");
    assert!((4000..=4096).contains(&full.parse::<u32>().unwrap()), "{full}");
    let error = sh("echo more > /memory/y 2>&1; cat /memory/y; true");
    assert!(error.is_empty() || error.contains("No space left"), "{error}");
}

#[test]
#[ignore = "takes eight minutes: a token lives for ten at least, and is renewed after four fifths of that"]
fn tokens_are_renewed_in_their_volume() {
    let Some(cluster) = busybox::cluster("tokens_are_renewed_in_their_volume", &[]) else { return };
    apply(&cluster, FOLLOWING);
    kubectl(&cluster, "wait pod/following --for=condition=Ready --timeout=30s");
    let first = shell(&cluster, "following", "cat /all/token");
    let renewed = format!("test \"$(cat /all/token)\" != {}", first.trim());
    let waits = format!("for i in $(seq 130); do {renewed} && exit 0; sleep 4; done; exit 1");
    shell(&cluster, "following", &waits);
    let lifetime = "cut -d. -f2 /all/token | tr _- /+ | base64 -d 2>/dev/null | grep -o '\"exp\":[0-9]*'";
    assert_ne!(shell(&cluster, "following", lifetime), "");
    assert_eq!(shell(&cluster, "following", "stat -L -c %a:%g /all/token"), "640:3000\n");
}

const CLIENT: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get, list]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  serviceAccountName: reader
  securityContext: {runAsUser: 1000, runAsNonRoot: true}
  containers: [{name: c, image: IMAGE, command: [sleep, "1000"]}]
"#;

#[test]
fn a_pod_reaches_the_api_server() {
    let Some(cluster) = busybox::cluster("a_pod_reaches_the_api_server", &[CURL]) else { return };
    apply(&cluster, CLIENT);
    kubectl(&cluster, "wait pod/client --for=condition=Ready --timeout=30s");
    let ask = |flags: &str, url: &str| {
        let script = format!(
            "cd /var/run/secrets/kubernetes.io/serviceaccount; curl -sS {flags} -w '\\n%{{http_code}}' {url} 2>&1 || true"
        );
        shell(&cluster, "client", &script)
    };
    let trusted = r#"--cacert ca.crt -H "Authorization: Bearer $(cat token)""#;
    let pods = "https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/pods";
    let refused = ask(trusted, pods);
    let says = "pods is forbidden: User \\\"system:serviceaccount:default:reader\\\" cannot list resource";
    assert!(refused.contains(says) && refused.ends_with("\n403"), "{refused}");
    kubectl(&cluster, "create rolebinding reader --role=reader --serviceaccount=default:reader");
    let listed = ask(trusted, pods);
    assert!(listed.contains("PodList") && listed.ends_with("\n200"), "{listed}");
    // By every name of the Service, its address and what the environment says; with TLS 1.2 too.
    for host in [
        "kubernetes",
        "kubernetes.default.svc.cluster.local",
        "10.96.0.1",
        "$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT_HTTPS",
    ] {
        let answer = ask(&format!("{trusted} --tls-max 1.2"), &format!("https://{host}/version"));
        assert!(answer.contains("gitVersion") && answer.ends_with("\n200"), "{host}: {answer}");
    }
    // Nobody is trusted who has not the cluster's certificate, and nobody is let in with a wrong token.
    let other = cluster.dir().join("pki/front-proxy-ca.crt");
    kubectl(&cluster, &format!("cp {} client:/tmp/other.crt", other.display()));
    let distrusted = ask("--cacert /tmp/other.crt", "https://kubernetes.default.svc/version");
    assert!(distrusted.contains("SSL certificate problem"), "{distrusted}");
    let wrong = ask("--cacert ca.crt -H 'Authorization: Bearer nonsense'", pods);
    assert!(wrong.ends_with("\n401"), "{wrong}");
}

const WRITTEN: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: written}
spec:
  restartPolicy: Never
  initContainers:
  - {name: writer, image: IMAGE, command: [sh, -c, "printf \"A='one'\\nLINES='1\\n2'\\n\" > /data/env"], volumeMounts: [{name: data, mountPath: /data}]}
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "echo $A; echo \"$LINES\"; echo ${NONE-unset}"]
    env:
    - {name: A, valueFrom: {fileKeyRef: {volumeName: data, path: env, key: A}}}
    - {name: LINES, valueFrom: {fileKeyRef: {volumeName: data, path: env, key: LINES}}}
    - {name: NONE, valueFrom: {fileKeyRef: {volumeName: data, path: env, key: NONE, optional: true}}}
  volumes: [{name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: lacking}
spec:
  containers:
  - {name: c, image: IMAGE, command: [env], env: [{name: A, valueFrom: {fileKeyRef: {volumeName: data, path: env, key: A}}}]}
  volumes: [{name: data, emptyDir: {}}]
"#;

#[test]
fn variables_come_from_files() {
    let Some(cluster) = busybox::cluster("variables_come_from_files", &[]) else { return };
    apply(&cluster, WRITTEN);
    kubectl(&cluster, "wait pod/written --for=jsonpath={.status.phase}=Succeeded --timeout=30s");
    assert_eq!(kubectl(&cluster, "logs written -c c"), "one\n1\n2\nunset\n");
    let reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CreateContainerConfigError";
    kubectl(&cluster, &format!("wait pod/lacking --for={reason} --timeout=30s"));
}

#[test]
fn static_pods_run_from_manifests() {
    let Some(mut cluster) = busybox::cluster("static_pods_run_from_manifests", &[]) else { return };
    let file = cluster.dir().join("nodes/node-1/manifests/web.yaml");
    let write = |word: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: c, image: '{}', command: [sh, -c, \
             'echo {word}; exec sleep 1000']}}\n",
            busybox::IMAGE
        );
        std::fs::write(&file, text).unwrap();
    };
    write("first");
    let there = |cluster: &Cluster| {
        let create = "wait pod/web-node-1 --for=create --timeout=30s";
        // Older clients do not know that condition.
        while cluster.kubectl(&create.split(' ').collect::<Vec<_>>()).is_err()
            && cluster.kubectl(&["get", "pod", "web-node-1"]).is_err()
        {}
        kubectl(cluster, "wait pod/web-node-1 --for=condition=Ready --timeout=30s");
        kubectl(cluster, "get pod web-node-1 -o jsonpath={.status.containerStatuses[0].containerID}")
    };
    let first = there(&cluster);
    assert_eq!(kubectl(&cluster, "logs -l app=web"), "first\n");
    assert_eq!(shell(&cluster, "web-node-1", "echo inside"), "inside\n");
    let owner = "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}";
    assert_eq!(kubectl(&cluster, &format!("get pod web-node-1 -o {owner}")), "Node/node-1");

    // The API has no say: what is deleted there comes back, and the container has not noticed.
    kubectl(&cluster, "delete pod web-node-1 --wait=false");
    assert_eq!(there(&cluster), first);
    cluster.kill().unwrap();
    cluster.up(&[]).unwrap();
    assert_eq!(there(&cluster), first);

    // The file has: another content is another pod, no file is none. A broken one changes nothing else.
    std::fs::write(file.with_file_name("broken.yaml"), "kind: Pod\n").unwrap();
    write("second");
    while kubectl(
        &cluster,
        "get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[0].containerID}",
    )
    .contains(&first)
    {}
    assert_ne!(there(&cluster), first);
    assert_eq!(kubectl(&cluster, "logs web-node-1"), "second\n");
    std::fs::remove_file(&file).unwrap();
    kubectl(&cluster, "wait pod/web-node-1 --for=delete --timeout=30s");
}

const CLAIMING: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: claiming}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true GROUP}
  containers: [{name: c, image: IMAGE, command: [sleep, "1000"], volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;

/// Directories of local-path volumes.
fn directories(cluster: &Cluster) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cluster.dir().join("local-path")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_claim_is_for_any_user_and_goes_with_its_directory() {
    let test = "a_claim_is_for_any_user_and_goes_with_its_directory";
    let Some(cluster) = busybox::cluster(test, &[]) else { return };
    let run = |group: &str| {
        apply(&cluster, &CLAIMING.replace(" GROUP", group));
        kubectl(&cluster, "wait pod/claiming --for=condition=Ready --timeout=60s");
    };
    run("");
    assert_eq!(shell(&cluster, "claiming", "echo kept > /data/word; stat -c %a:%u:%g /data"), "777:0:0\n");
    kubectl(&cluster, "delete pod claiming");
    // The group of the next one owns what is there.
    run(", fsGroup: 3000, fsGroupChangePolicy: OnRootMismatch");
    let seen = shell(&cluster, "claiming", "cat /data/word; stat -c %a:%g /data /data/word; id -G");
    assert_eq!(seen, "kept\n2777:3000\n664:3000\n1000 3000\n");
    let volume = kubectl(&cluster, "get pvc data -o jsonpath={.spec.volumeName}");
    assert_eq!(directories(&cluster), [cluster.dir().join("local-path").join(&volume)]);

    // Used, then released: directory and volume go, and nothing is left of the helpers.
    kubectl(&cluster, "delete pod claiming");
    kubectl(&cluster, "delete pvc data");
    kubectl(&cluster, &format!("wait pv/{volume} --for=delete --timeout=60s"));
    assert_eq!(directories(&cluster), Vec::<PathBuf>::new());
    kubectl(
        &cluster,
        "-n kube-system wait pod -l app.kubernetes.io/name=local-path-helper --for=delete --timeout=30s",
    );

    // Kept where the user says so.
    run("");
    let volume = kubectl(&cluster, "get pvc data -o jsonpath={.spec.volumeName}");
    kubectl(
        &cluster,
        &format!(r#"patch pv {volume} -p {{"spec":{{"persistentVolumeReclaimPolicy":"Retain"}}}}"#),
    );
    kubectl(&cluster, "delete pod/claiming pvc/data");
    kubectl(&cluster, &format!("wait pv/{volume} --for=jsonpath={{.status.phase}}=Released --timeout=30s"));
    kubectl(&cluster, &format!("delete pv {volume} --timeout=30s"));
    assert_eq!(directories(&cluster).len(), 1);
}
