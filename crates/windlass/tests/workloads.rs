//! Pods and workloads through a stock kubectl: what their containers see, how they start, fail and end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod busybox;
mod registry;
mod support;

use busybox::{apply, shell, until};
use support::kubectl;
use testkit::cluster::Cluster;

fn cluster(test: &str) -> Option<Cluster> {
    busybox::cluster(test, &[])
}

const EVERYTHING: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: one, b.txt: two}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {user: me, pass: word}
---
apiVersion: v1
kind: Pod
metadata: {name: everything, labels: {tier: first}}
spec:
  terminationGracePeriodSeconds: 5
  securityContext: {runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000}
  initContainers:
  - {name: first, image: IMAGE, command: [sh, -c, "echo first > /shared/1"], volumeMounts: [{name: shared, mountPath: /shared}]}
  - name: sidecar
    image: IMAGE
    restartPolicy: Always
    command: [sh, -c, "touch /shared/sidecar; trap 'exit 0' TERM; while :; do sleep 0.2; done"]
    startupProbe: {exec: {command: [test, -f, /shared/sidecar]}, periodSeconds: 1}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - {name: second, image: IMAGE, command: [sh, -c, "test -f /shared/sidecar && cat /shared/1 > /shared/2"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, "trap 'exit 0' TERM; echo started; while :; do sleep 0.2; done"]
    env:
    - {name: FROM_MAP, valueFrom: {configMapKeyRef: {name: settings, key: a}}}
    - {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: keys, key: pass}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: BOTH, value: "$(FROM_MAP)-$(FROM_SECRET)"}
    envFrom: [{configMapRef: {name: settings}, prefix: P_}]
    resources: {requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: map, mountPath: /map}
    - {name: secret, mountPath: /secret}
    - {name: downward, mountPath: /downward}
    - {name: projected, mountPath: /projected}
    - {name: host, mountPath: /host, readOnly: true}
    - {name: memory, mountPath: /memory}
    - {name: map, mountPath: /one/b.txt, subPath: b.txt}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
  - {name: map, configMap: {name: settings}}
  - {name: secret, secret: {secretName: keys, defaultMode: 0440}}
  - {name: downward, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: host, hostPath: {path: /etc, type: Directory}}
  - name: projected
    projected:
      sources:
      - configMap: {name: settings, items: [{key: a, path: deep/a}]}
      - serviceAccountToken: {path: token, audience: other, expirationSeconds: 600}
"#;

#[test]
fn containers_see_what_the_pod_says() {
    let Some(cluster) = cluster("containers_see_what_the_pod_says") else { return };
    apply(&cluster, EVERYTHING);
    kubectl(&cluster, "wait pod/everything --for=condition=Ready --timeout=30s");
    let rows = [
        ("id", "uid=1000 gid=2000 groups=2000,3000"),
        ("echo $FROM_MAP $FROM_SECRET $CPU $BOTH $P_a", "one word 200 one-word one"),
        ("cat /shared/2 /map/a /one/b.txt /secret/user /projected/deep/a", "first\nonetwomeone"),
        ("cat /downward/labels", "tier=\"first\""),
        ("stat -L -c %a:%g /secret/pass", "440:3000"),
        ("df -k /memory | tail -1 | tr -s ' ' | cut -d' ' -f2", "8192"),
        ("cut -d. -f1 /projected/token | wc -l", "1"),
        (
            "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
            "33554432",
        ),
        ("grep -c -E 'CapEff:.0000000000000000|NoNewPrivs:.1|Seccomp:.2' /proc/self/status", "3"),
        ("touch /x 2>/dev/null || touch /host/x 2>/dev/null || echo refused", "refused"),
        ("hostname; grep -c $POD_IP.everything /etc/hosts", "everything\n1"),
        ("grep search /etc/resolv.conf", "search default.svc.cluster.local svc.cluster.local cluster.local"),
    ];
    for (script, expected) in rows {
        assert_eq!(shell(&cluster, "everything", script).trim(), expected, "{script}");
    }
    // What changes in the API changes in the volumes.
    cluster.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"a":"changed"}}"#]).unwrap();
    kubectl(&cluster, "label pod everything tier=second --overwrite");
    until(&cluster, "everything", "grep -q changed /map/a && grep -q second /downward/labels");
    // An exit code arrives, a terminal is one, files are copied both ways.
    let failed = cluster.kubectl(&["exec", "everything", "--", "sh", "-c", "exit 7"]).unwrap_err();
    assert!(failed.to_string().contains("exit code 7"), "{failed}");
    let file = cluster.dir().join("copied");
    std::fs::write(&file, "content").unwrap();
    kubectl(&cluster, &format!("cp {} everything:/shared/copied", file.display()));
    kubectl(&cluster, &format!("cp everything:/shared/copied {}", file.with_extension("back").display()));
    assert_eq!(std::fs::read_to_string(file.with_extension("back")).unwrap(), "content");
    assert_eq!(kubectl(&cluster, "logs everything --tail=1 -c main").trim(), "started");
}

const TROUBLED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: unwell}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: c, image: IMAGE, command: [sh, -c, "echo life; sleep 1000"], livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}}
---
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec:
  containers:
  - {name: c, image: IMAGE, command: [sh, -c, "echo crashed; echo because > /dev/termination-log; exit 3"]}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: IMAGE, command: [sh, -c, "head -c 100000000 /dev/zero | tail"], resources: {limits: {memory: 16Mi}}}
"#;

#[test]
fn failures_are_told_and_back_off() {
    let Some(cluster) = cluster("failures_are_told_and_back_off") else { return };
    apply(&cluster, TROUBLED);
    let waiting = "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff";
    // Also one that was stopped for its probe must wait before it starts again.
    for pod in ["crashing", "unwell"] {
        kubectl(&cluster, &format!("wait pod/{pod} {waiting} --timeout=40s"));
    }
    let last = "jsonpath={.status.containerStatuses[0].lastState.terminated";
    let told = |pod: &str, field: &str| kubectl(&cluster, &format!("get pod {pod} -o {last}.{field}}}"));
    assert_eq!(told("crashing", "exitCode"), "3");
    assert_eq!(told("crashing", "message").trim(), "because");
    assert_eq!(kubectl(&cluster, "logs crashing -p").trim(), "crashed");
    assert_eq!(told("unwell", "exitCode"), "137");
    let events = kubectl(&cluster, "get events --field-selector involvedObject.name=unwell");
    assert!(events.contains("Liveness probe failed") && events.contains("will be restarted"), "{events}");
    let killed = "jsonpath={.status.containerStatuses[0].state.terminated.reason}=OOMKilled";
    kubectl(&cluster, &format!("wait pod/greedy --for={killed} --timeout=30s"));
}

const ENDING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: hooked}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "trap 'echo term >> /log/lines; exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart: {exec: {command: [sh, -c, "echo post >> /log/lines"]}}
      preStop: {exec: {command: [sh, -c, "sleep 1; echo pre >> /log/lines"]}}
    volumeMounts: [{name: log, mountPath: /log}]
  volumes: [{name: log, hostPath: {path: LOG, type: DirectoryOrCreate}}]
---
apiVersion: v1
kind: Pod
metadata: {name: backend, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: IMAGE
    command: [sh, -c, "mkdir /w; echo page > /w/index.html; exec httpd -f -p 80 -h /w"]
    readinessProbe: {exec: {command: [test, -f, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
    startupProbe: {httpGet: {path: /index.html, port: 80}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80}]}
"#;

#[test]
fn hooks_run_and_readiness_gates_traffic() {
    let Some(cluster) = cluster("hooks_run_and_readiness_gates_traffic") else { return };
    let log = cluster.dir().join("log");
    apply(&cluster, &ENDING.replace("LOG", &log.display().to_string()));
    kubectl(&cluster, "wait pod/hooked --for=condition=Ready --timeout=30s");
    kubectl(&cluster, "delete pod hooked");
    assert_eq!(std::fs::read_to_string(log.join("lines")).unwrap(), "post\npre\nterm\n");

    kubectl(
        &cluster,
        "wait pod/backend --for=jsonpath={.status.containerStatuses[0].started}=true --timeout=30s",
    );
    assert_eq!(kubectl(&cluster, "get endpoints server -o jsonpath={.subsets[*].addresses}"), "");
    shell(&cluster, "backend", "touch /tmp/ready");
    kubectl(&cluster, "wait pod/backend --for=condition=Ready --timeout=20s");
    until(&cluster, "backend", "test $(wget -q -O- http://server) = page");
    shell(&cluster, "backend", "rm /tmp/ready");
    kubectl(&cluster, "wait pod/backend --for=condition=Ready=false --timeout=20s");
    kubectl(
        &cluster,
        "wait endpoints/server --for=jsonpath={.subsets[0].notReadyAddresses[0].ip} --timeout=20s",
    );
}

const WORK: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: IMAGE, command: [echo, done]}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: OnFailure
          containers: [{name: c, image: IMAGE, command: [date]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: IMAGE, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: keeper}
spec: {clusterIP: None, selector: {app: keeper}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: keeper}
spec:
  serviceName: keeper
  replicas: 2
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: c, image: IMAGE, command: [sh, -c, "hostname >> /data/log; exec sleep 1000"], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: IMAGE, command: [sleep, "1000"]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}
"#;

#[test]
fn workloads_work() {
    let Some(cluster) = cluster("workloads_work") else { return };
    apply(&cluster, WORK);
    kubectl(&cluster, "wait job/job --for=condition=Complete --timeout=40s");
    assert_eq!(kubectl(&cluster, "get job job -o jsonpath={.status.succeeded}"), "3");
    kubectl(&cluster, "create job by-hand --from=cronjob/cron");
    kubectl(&cluster, "wait job/by-hand --for=condition=Complete --timeout=30s");
    for what in ["daemonset/everywhere", "statefulset/keeper", "deployment/web"] {
        kubectl(&cluster, &format!("rollout status {what} --timeout=40s"));
    }
    // A stable name, and data that outlives the pod.
    kubectl(&cluster, "delete pod keeper-0");
    kubectl(&cluster, "rollout status statefulset/keeper --timeout=30s");
    kubectl(&cluster, "wait pod/keeper-0 --for=condition=Ready --timeout=20s");
    assert_eq!(shell(&cluster, "keeper-0", "cat /data/log"), "keeper-0\nkeeper-0\n");
    until(&cluster, "keeper-0", "nslookup keeper-1.keeper.default.svc.cluster.local >/dev/null");

    // The budget holds a drain back.
    kubectl(&cluster, "wait pdb/web --for=jsonpath={.status.currentHealthy}=2 --timeout=20s");
    let drain = ["drain", "node-1", "--ignore-daemonsets", "--pod-selector=app=web", "--timeout=2s"];
    let refused = cluster.kubectl(&drain).unwrap_err().to_string();
    assert!(refused.contains("violate the pod's disruption budget"), "{refused}");
    kubectl(&cluster, "uncordon node-1");

    // An orphan stays; what is not orphaned goes.
    kubectl(&cluster, "delete deployment web --cascade=orphan");
    assert_eq!(kubectl(&cluster, "get replicasets -l app=web -o name").lines().count(), 1);
    kubectl(&cluster, "delete replicaset -l app=web --cascade=foreground");
    assert_eq!(kubectl(&cluster, "get replicasets,pods -l app=web -o name"), "");
}

const BOATS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Length, type: integer, jsonPath: .spec.length}]
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {length: {type: integer, minimum: 1}}}}}}
"#;

#[test]
fn namespaces_custom_objects_and_rights() {
    let Some(cluster) = cluster("namespaces_custom_objects_and_rights") else { return };
    kubectl(&cluster, "create namespace harbour");
    apply(&cluster, BOATS);
    kubectl(&cluster, "wait crd/boats.example.com --for=condition=Established --timeout=20s");
    let boat = |length: u32| {
        let metadata = r#""metadata":{"name":"b","namespace":"harbour"}"#;
        format!(r#"{{"apiVersion":"example.com/v1","kind":"Boat",{metadata},"spec":{{"length":{length}}}}}"#)
    };
    cluster.apply(&boat(3)).unwrap();
    assert!(kubectl(&cluster, "get bt -n harbour").contains("LENGTH"));
    let refused = cluster.apply(&boat(0)).unwrap_err().to_string();
    assert!(refused.contains("spec.length") && refused.contains("greater than or equal to 1"), "{refused}");

    kubectl(&cluster, "-n harbour create serviceaccount clerk");
    kubectl(&cluster, "-n harbour create role reader --verb=get,list --resource=pods");
    kubectl(&cluster, "-n harbour create rolebinding reader --role=reader --serviceaccount=harbour:clerk");
    let who = "--as=system:serviceaccount:harbour:clerk";
    assert_eq!(kubectl(&cluster, &format!("-n harbour auth can-i list pods {who}")).trim(), "yes");
    let refused = cluster.kubectl(&["-n", "harbour", "get", "secrets", who]).unwrap_err().to_string();
    let says =
        "User \"system:serviceaccount:harbour:clerk\" cannot list resource \"secrets\" in API group \"\"";
    assert!(refused.contains(says), "{refused}");

    // A configuration larger than any page, so that the object's metadata is far from its beginning.
    let file = cluster.dir().join("large");
    std::fs::write(&file, "x".repeat(100_000)).unwrap();
    kubectl(&cluster, &format!("-n harbour create configmap large --from-file={}", file.display()));
    let length = kubectl(&cluster, "-n harbour get configmap large -o jsonpath={.data.large}").len();
    assert_eq!(length, 100_000);

    // The namespace goes with everything in it.
    kubectl(&cluster, "delete namespace harbour --timeout=40s");
    assert_eq!(kubectl(&cluster, "get bt -A -o name"), "");
}
