//! The whole command line against one live cluster: with every stock kubectl that is installed, and with our own, whose
//! output must be the stock one's byte for byte where both show the same state.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod registry;
mod support;

use registry::Recipe;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use support::{program, usable};
use testkit::cluster::Cluster;
use testkit::net;

const IMAGE: &str = "test.local/busybox:1";
/// Stock ones beside that of PATH.
const STOCK: &str = "/usr/lib/google-cloud-sdk/bin/kubectl";

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: test.local/busybox:1
        command: [sh, -c, "echo begun; mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 8080 -h /www"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'test.local/busybox:1', stdin: true, stdinOnce: true, command: [sh, -c, "read line; echo got $line"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'test.local/busybox:1', command: [sh, -c, "if [ -f /state/x ]; then echo second; sleep 1000; fi; touch /state/x; echo first; exit 1"], volumeMounts: [{name: s, mountPath: /state}]}]
  volumes: [{name: s, emptyDir: {}}]
"#;

/// Waits inside a container until the terminal has the size that is sent after the start.
const SIZE: &str = "test -t 0 && for i in $(seq 100); do stty size 2>/dev/null | grep \"33 77\" && exit 0; sleep 0.1; done; exit 1";

/// One kubectl in a namespace of its own.
struct Runner<'c> {
    cluster: &'c Cluster,
    program: Vec<String>,
    namespace: String,
}

impl Runner<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).arg("--kubeconfig").arg(self.cluster.kubeconfig());
        command.args(["-n", &self.namespace]).args(words).env("HOME", self.cluster.dir());
        command
    }

    fn output(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs a command that must succeed; answers what it prints.
    fn with(&self, words: &[&str], input: &str) -> String {
        let done = self.output(words, input);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{:?} {words:?}: {}\n{out}{err}", self.program, done.status);
        out.into_owned()
    }

    fn ok(&self, line: &str) -> String {
        self.with(&line.split(' ').collect::<Vec<_>>(), "")
    }

    /// Runs a command whose output must contain a text.
    fn says(&self, line: &str, expected: &str) {
        let out = self.ok(line);
        assert!(out.contains(expected), "{:?} {line}: {expected:?} is not in\n{out}", self.program);
    }

    /// Starts a command and reads lines until one contains `last`.
    fn until(&self, line: &str, last: &str) -> (Child, String) {
        let words: Vec<&str> = line.split(' ').collect();
        let mut child = self.command(&words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let found = lines.find(|line| line.contains(last));
        let found = found.unwrap_or_else(|| panic!("{:?} {line} ended without {last:?}", self.program));
        // Keeps reading, so that it never writes into a closed pipe.
        std::thread::spawn(move || lines.for_each(drop));
        (child, found)
    }
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn cluster(test: &str) -> Option<Cluster> {
    if let Some(why) = registry::missing(&[]) {
        println!("skipped {test}: {why}");
        return None;
    }
    if !usable(test) {
        return None;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    let file = cluster.dir().join("busybox.tar");
    registry::archive(&file, IMAGE, &Recipe::default()).unwrap();
    let (file, dir) = (file.display().to_string(), cluster.dir().display().to_string());
    cluster.windlass(&["image", "import", &file, "--data-dir", &dir]).unwrap();
    Some(cluster)
}

/// Every kubectl that is here, by a name that serves as a namespace; our own is the last.
fn programs(test: &str) -> Vec<(String, Vec<String>)> {
    let mut out = vec![("stock".to_owned(), vec!["kubectl".to_owned()])];
    for version in ["1.27", "1.30", "1.33"] {
        let path = format!("{STOCK}.{version}");
        if Path::new(&path).exists() {
            out.push((format!("v{}", version.replace('.', "-")), vec![path]));
        } else {
            println!("skipped {test} with {path}: it is not installed");
        }
    }
    out.push(("ours".to_owned(), vec![program().display().to_string(), "kubectl".to_owned()]));
    out
}

#[test]
fn every_kubectl_can_do_everything() {
    let test = "every_kubectl_can_do_everything";
    let Some(cluster) = cluster(test) else { return };
    for (namespace, program) in programs(test) {
        println!("== {program:?}");
        let run = Runner { cluster: &cluster, program, namespace };
        run.ok(&format!("create namespace {}", run.namespace));
        let file = cluster.dir().join("all.yaml");
        std::fs::write(&file, MANIFEST).unwrap();
        let file = file.display().to_string();
        run.says(&format!("apply -f {file}"), "deployment.apps/web created");
        run.says(&format!("apply -f {file}"), "deployment.apps/web unchanged");
        showing(&run);
        changing(&run);
        rolling_out(&run);
        running(&run);
        streams(&run, &cluster);
        of_the_cluster(&run);
        run.says("delete deployment web", "deployment.apps \"web\" deleted");
        run.ok(&format!("delete -f {file} --ignore-not-found"));
        run.ok(&format!("delete namespace {} --wait=false", run.namespace));
    }
}

fn showing(run: &Runner<'_>) {
    run.ok("wait deployment/web --for=condition=Available --timeout=60s");
    run.says(
        "get deployments",
        "NAME   READY   UP-TO-DATE   AVAILABLE   AGE\nweb    1/1     1            1           ",
    );
    run.says("get deploy web -o wide", "test.local/busybox:1   app=web");
    run.says("get deploy web -o yaml", "kind: Deployment");
    run.says("get deploy web -o json", "\"kind\": \"Deployment\"");
    assert_eq!(run.ok("get deploy web -o name"), "deployment.apps/web\n");
    assert_eq!(run.ok("get deploy web -o jsonpath={.spec.replicas}"), "1");
    assert_eq!(run.ok("get deploy -o go-template={{range.items}}{{.metadata.name}}{{end}}"), "web");
    run.says("get all", "replicaset.apps/web-");
    run.says("describe deployment web", "NewReplicaSet:");
    run.says("describe pods -l app=web", "Container ID:");
    run.says("get events", "Scheduled");
    let (watch, _) = run.until("get pods reader -w", "reader");
    stop(watch);
}

fn changing(run: &Runner<'_>) {
    run.says("create configmap settings --from-literal=a=1", "configmap/settings created");
    run.says("label configmap settings tier=x", "configmap/settings labeled");
    run.says("annotate configmap settings note=y", "configmap/settings annotate");
    run.with(&["patch", "configmap", "settings", "-p", r#"{"data":{"b":"2"}}"#], "");
    run.with(
        &[
            "patch",
            "configmap",
            "settings",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/data/c","value":"3"}]"#,
        ],
        "",
    );
    let words = ["edit", "configmap", "settings"];
    let done = run.command(&words).env("KUBE_EDITOR", "sed -i s/b:/edited:/").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(said.contains("configmap/settings edited"), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let data = run.ok("get configmap settings -o jsonpath={.data.a}{.data.edited}{.data.c}{.metadata.labels.tier}{.metadata.annotations.note}");
    assert_eq!(data, "123xy");
    run.says("expose deployment web --port=80 --target-port=http", "service/web exposed");
    run.ok("wait endpointslices -l kubernetes.io/service-name=web --for=jsonpath={.endpoints[0].conditions.ready}=true");
    run.says("scale deployment web --replicas=2", "deployment.apps/web scaled");
    run.says("rollout status deployment/web --timeout=60s", "successfully rolled out");
    run.says("get deploy web", "2/2");
}

fn rolling_out(run: &Runner<'_>) {
    run.says("set env deployment/web COLOR=blue", "deployment.apps/web env updated");
    run.ok("rollout status deployment/web --timeout=60s");
    run.says(
        "rollout history deployment/web",
        "REVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n",
    );
    run.says("rollout undo deployment/web", "deployment.apps/web rolled back");
    run.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(run.ok("get deploy web -o jsonpath={.spec.template.spec.containers[0].env}"), "");
    run.says("rollout pause deployment/web", "deployment.apps/web paused");
    run.says("set image deployment/web web=test.local/busybox:none", "deployment.apps/web image updated");
    run.says("set image deployment/web web=test.local/busybox:1", "deployment.apps/web image updated");
    run.says("rollout resume deployment/web", "deployment.apps/web resumed");
    run.says("rollout restart deployment/web", "deployment.apps/web restarted");
    run.says("rollout status deployment/web --timeout=60s", "successfully rolled out");
}

fn running(run: &Runner<'_>) {
    run.says("logs deployment/web --tail=1", "begun");
    let (follow, _) = run.until("logs -f deployment/web", "begun");
    stop(follow);
    run.ok("wait pod/again --for=jsonpath={.status.containerStatuses[0].restartCount}=1 --timeout=60s");
    run.ok("wait pod/again --for=condition=Ready --timeout=60s");
    assert_eq!(run.ok("logs -p again"), "first\n");
    assert_eq!(run.ok("logs again"), "second\n");
    assert_eq!(run.ok("exec again -- echo hello"), "hello\n");
    assert_eq!(run.with(&["exec", "-i", "again", "--", "cat"], "through"), "through");
    let failed = run.output(&["exec", "again", "--", "sh", "-c", "exit 7"], "");
    assert_eq!(failed.status.code(), Some(7));
    if Path::new("/usr/bin/script").exists() {
        let line = format!(
            "{} --kubeconfig {} -n {} exec -it again -- sh -c '{SIZE}'",
            run.program.join(" "),
            run.cluster.kubeconfig().display(),
            run.namespace
        );
        // The terminal is made by script, and the container's has its size.
        let line = format!("stty rows 33 cols 77; {line}");
        let done =
            Command::new("script").args(["-qec", &line, "/dev/null"]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(said.contains("33 77"), "{:?} exec -it: {said}", run.program);
    } else {
        println!("skipped exec -it: script is not installed");
    }
}

fn streams(run: &Runner<'_>, cluster: &Cluster) {
    run.ok("wait pod/reader --for=condition=Ready --timeout=60s");
    let said = run.with(&["attach", "-i", "reader"], "word\n");
    assert!(said.contains("got word"), "{:?} attach: {said}", run.program);
    run.ok("wait pod/reader --for=jsonpath={.status.phase}=Succeeded --timeout=60s");
    for target in ["deployment/web", "service/web"] {
        let port = if target.starts_with("service") { "80" } else { "8080" };
        let (forward, line) =
            run.until(&format!("port-forward {target} :{port}"), "Forwarding from 127.0.0.1:");
        let port: u16 = line.split("127.0.0.1:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert_eq!(net::http_get(([127, 0, 0, 1], port).into()).unwrap(), "page\n");
        stop(forward);
    }
    let file = cluster.dir().join(format!("file-{}", run.namespace));
    let back = file.with_extension("back");
    std::fs::write(&file, "content").unwrap();
    run.ok(&format!("cp {} again:/state/copied", file.display()));
    run.ok(&format!("cp again:/state/copied {}", back.display()));
    assert_eq!(std::fs::read_to_string(back).unwrap(), "content");
}

fn of_the_cluster(run: &Runner<'_>) {
    run.says("explain deployment.spec.replicas", "integer");
    run.says("explain pods --recursive", "containers");
    run.says("api-resources", "deployments ");
    run.says("api-versions", "apps/v1\n");
    run.says("version", "v1.36");
    run.says("cluster-info", "is running at");
    assert_eq!(run.ok("auth can-i create pods"), "yes\n");
    let denied = run.output(&["auth", "can-i", "create", "pods", "--as=nobody"], "");
    assert_eq!((denied.status.code(), String::from_utf8_lossy(&denied.stdout).trim()), (Some(1), "no"));
    run.says("cordon node-1", "node/node-1 cordoned");
    run.says("get nodes", "Ready,SchedulingDisabled");
    run.says("uncordon node-1", "node/node-1 uncordoned");
    run.says("drain node-1 --ignore-daemonsets --delete-emptydir-data --force --pod-selector=app=web --timeout=60s", "node/node-1 drained");
    run.ok("uncordon node-1");
    run.ok("rollout status deployment/web --timeout=60s");
    run.says("taint nodes node-1 a=b:PreferNoSchedule", "node/node-1 tainted");
    run.says("taint nodes node-1 a-", "node/node-1 untainted");
}

/// What can be told in bytes: ages and times differ with the moment, and random parts of names.
fn comparable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let is_age = |word: &str| {
        let digits = word.trim_end_matches([')', '(']).trim_start_matches('(');
        digits.len() > 1
            && digits.ends_with(['s', 'm', 'h'])
            && digits.chars().all(|c| c.is_ascii_digit() || "smh".contains(c))
    };
    let line = |line: &str| {
        line.split_whitespace()
            .map(|word| if is_age(word) { "AGE" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    };
    // Older versions print a time that was never set.
    let lines = text.lines().filter(|line| line.trim() != "creationTimestamp: null").map(|text| {
        // Only lines with ages lose their columns.
        if text.split_whitespace().any(is_age) { line(text) } else { text.to_owned() }
    });
    lines.map(|line| line + "\n").collect()
}

const SHOWN: &str = include_str!("kubectl/shown.yaml");

#[test]
fn ours_prints_what_the_newest_stock_one_prints() {
    let test = "ours_prints_what_the_newest_stock_one_prints";
    let newest = format!("{STOCK}.1.33");
    if !Path::new(&newest).exists() {
        println!("skipped {test}: {newest} is not installed");
        return;
    }
    let Some(cluster) = cluster(test) else { return };
    let runner =
        |program: Vec<String>| Runner { cluster: &cluster, program, namespace: "default".to_owned() };
    let (stock, ours) =
        (runner(vec![newest]), runner(vec![program().display().to_string(), "kubectl".to_owned()]));
    let (crd, rest) = SHOWN.split_once("---\n").unwrap();
    ours.with(&["apply", "-f", "-"], crd);
    ours.ok("wait crd/foos.example.com --for=condition=Established --timeout=30s");
    ours.with(&["apply", "-f", "-"], rest);
    let mut differences = Vec::new();
    for line in
        include_str!("kubectl/lines.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let words: Vec<&str> = line.split(' ').collect();
        let (a, b) = (stock.output(&words, ""), ours.output(&words, ""));
        let (a_out, b_out) = (comparable(&a.stdout), comparable(&b.stdout));
        let (a_err, b_err) = (comparable(&a.stderr), comparable(&b.stderr));
        if (a.status.code(), &a_out, &a_err) != (b.status.code(), &b_out, &b_err) {
            differences.push(format!(
                "== {line}\n-- stock {}\n{a_out}{a_err}-- ours {}\n{b_out}{b_err}",
                a.status, b.status
            ));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
}
