//! Containers of pods and of pod templates.

use super::writer::{Writer, list, number, or, text, time};
use serde_json::Value;

/// A list of containers under a heading, with their states if there are any.
pub(super) fn containers(
    out: &mut Writer,
    level: usize,
    heading: &str,
    all: &Value,
    statuses: Option<&Value>,
    pod: Option<&Value>,
) {
    let all = list(all);
    if all.is_empty() {
        if heading == "Containers" {
            out.line(level, "Containers:\t<none>");
        }
        return;
    }
    out.line(level, &format!("{heading}:"));
    for container in all {
        let status =
            statuses.and_then(|all| list(all).iter().find(|status| status["name"] == container["name"]));
        // In templates names stand one column further than in pods.
        let name = text(&container["name"]);
        out.line(1, &if level == 0 { format!("{name}:") } else { format!(" {name}:") });
        one(out, 2, container, status, pod);
    }
}

fn one(out: &mut Writer, level: usize, container: &Value, status: Option<&Value>, pod: Option<&Value>) {
    if let Some(status) = status {
        out.line(level, &format!("Container ID:\t{}", text(&status["containerID"])));
    }
    out.line(level, &format!("Image:\t{}", text(&container["image"])));
    if let Some(status) = status {
        out.line(level, &format!("Image ID:\t{}", text(&status["imageID"])));
    }
    let ports = |field: &str| -> String {
        let all: Vec<String> = list(&container["ports"])
            .iter()
            .map(|port| format!("{}/{}", number(&port[field]), or(&port["protocol"], "TCP")))
            .collect();
        if all.is_empty() { "<none>".to_owned() } else { all.join(", ") }
    };
    let plural = if list(&container["ports"]).len() > 1 { "s" } else { "" };
    out.line(level, &format!("Port{plural}:\t{}", ports("containerPort")));
    out.line(level, &format!("Host Port{plural}:\t{}", ports("hostPort")));
    for (label, field) in [("Command", "command"), ("Args", "args")] {
        let words = list(&container[field]);
        if !words.is_empty() {
            out.line(level, &format!("{label}:"));
            for word in words {
                for line in text(word).split('\n') {
                    out.line(level + 1, line);
                }
            }
        }
    }
    if let Some(status) = status {
        state(out, level, "State", &status["state"]);
        if status["lastState"].as_object().is_some_and(|state| !state.is_empty()) {
            state(out, level, "Last State", &status["lastState"]);
        }
        out.line(level, &format!("Ready:\t{}", if status["ready"] == true { "True" } else { "False" }));
        out.line(level, &format!("Restart Count:\t{}", number(&status["restartCount"])));
    }
    for (label, field) in [("Limits", "limits"), ("Requests", "requests")] {
        if let Some(map) = container["resources"][field].as_object().filter(|map| !map.is_empty()) {
            out.line(level, &format!("{label}:"));
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, value) in entries {
                out.line(level + 1, &format!("{key}:\t{}", text(value)));
            }
        }
    }
    for (label, field) in
        [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if container[field].is_object() {
            out.line(level, &format!("{label}:\t{}", probe(&container[field])));
        }
    }
    environment(out, level, container, pod);
    mounts(out, level, container);
}

fn state(out: &mut Writer, level: usize, label: &str, state: &Value) {
    let show = |out: &mut Writer, name: &str| out.line(level, &format!("{label}:\t{name}"));
    if let Some(running) = state["running"].as_object() {
        show(out, "Running");
        let started = running.get("startedAt").and_then(Value::as_str);
        out.line(level + 1, &format!("Started:\t{}", time(started)));
    } else if state["terminated"].is_object() {
        let ended = &state["terminated"];
        show(out, "Terminated");
        out.field(level + 1, "Reason", &text(&ended["reason"]));
        out.field(level + 1, "Message", &text(&ended["message"]));
        out.line(level + 1, &format!("Exit Code:\t{}", number(&ended["exitCode"])));
        if number(&ended["signal"]) > 0 {
            out.line(level + 1, &format!("Signal:\t{}", number(&ended["signal"])));
        }
        out.line(level + 1, &format!("Started:\t{}", time(ended["startedAt"].as_str())));
        out.line(level + 1, &format!("Finished:\t{}", time(ended["finishedAt"].as_str())));
    } else {
        show(out, "Waiting");
        out.field(level + 1, "Reason", &text(&state["waiting"]["reason"]));
    }
}

fn probe(probe: &Value) -> String {
    let seconds = |field: &str, default: i64| probe[field].as_i64().unwrap_or(default);
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        seconds("initialDelaySeconds", 0),
        seconds("timeoutSeconds", 1),
        seconds("periodSeconds", 10),
        seconds("successThreshold", 1),
        seconds("failureThreshold", 3)
    );
    if probe["exec"].is_object() {
        let words: Vec<String> = list(&probe["exec"]["command"]).iter().map(text).collect();
        return format!("exec [{}] {times}", words.join(" "));
    }
    if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let (scheme, host) = (or(&get["scheme"], "HTTP").to_lowercase(), text(&get["host"]));
        return format!("http-get {scheme}://{host}:{}{} {times}", text(&get["port"]), text(&get["path"]));
    }
    if probe["tcpSocket"].is_object() {
        let tcp = &probe["tcpSocket"];
        return format!("tcp-socket {}:{} {times}", text(&tcp["host"]), text(&tcp["port"]));
    }
    if probe["grpc"].is_object() {
        return format!(
            "grpc <pod>:{} {} {times}",
            number(&probe["grpc"]["port"]),
            text(&probe["grpc"]["service"])
        );
    }
    format!("unknown {times}")
}

fn environment(out: &mut Writer, level: usize, container: &Value, pod: Option<&Value>) {
    let from = list(&container["envFrom"]);
    if !from.is_empty() {
        out.line(level, "Environment Variables from:");
        for source in from {
            let (kind, which) = if source["secretRef"].is_object() {
                ("Secret", &source["secretRef"])
            } else {
                ("ConfigMap", &source["configMapRef"])
            };
            let prefix = source["prefix"]
                .as_str()
                .map(|prefix| format!(" with prefix '{prefix}'"))
                .unwrap_or_default();
            let optional = which["optional"] == true;
            out.line(level + 1, &format!("{}\t{kind}{prefix}\tOptional: {optional}", text(&which["name"])));
        }
    }
    let all = list(&container["env"]);
    if all.is_empty() {
        return out.line(level, "Environment:\t<none>");
    }
    out.line(level, "Environment:");
    for variable in all {
        let (name, source) = (text(&variable["name"]), &variable["valueFrom"]);
        let value = if source["fieldRef"].is_object() {
            let field = &source["fieldRef"];
            let path = text(&field["fieldPath"]);
            let value = pod.map(|pod| field_of(pod, &path)).unwrap_or_default();
            format!("{value} ({}:{path})", or(&field["apiVersion"], "v1"))
        } else if source["resourceFieldRef"].is_object() {
            let resource = text(&source["resourceFieldRef"]["resource"]);
            format!("{} ({resource})", amount(container, &source["resourceFieldRef"]))
        } else if source["secretKeyRef"].is_object() {
            let key = &source["secretKeyRef"];
            let optional = key["optional"] == true;
            format!(
                "<set to the key '{}' in secret '{}'>\tOptional: {optional}",
                text(&key["key"]),
                text(&key["name"])
            )
        } else if source["configMapKeyRef"].is_object() {
            let key = &source["configMapKeyRef"];
            let optional = key["optional"] == true;
            format!(
                "<set to the key '{}' of config map '{}'>\tOptional: {optional}",
                text(&key["key"]),
                text(&key["name"])
            )
        } else {
            text(&variable["value"]).replace('\n', "\\n")
        };
        out.line(level + 1, &format!("{name}:\t{value}"));
    }
}

/// What a field path of the downward API finds in a pod.
fn field_of(pod: &Value, path: &str) -> String {
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let field = map.trim_start_matches("metadata.");
        return text(&pod["metadata"][field][key]);
    }
    match path {
        "status.podIPs" => {
            let all: Vec<String> =
                list(&pod["status"]["podIPs"]).iter().map(|address| text(&address["ip"])).collect();
            all.join(",")
        }
        _ => text(path.split('.').fold(pod, |value, step| &value[step])),
    }
}

/// What a container asks for, in units of the divisor, rounded up.
fn amount(container: &Value, reference: &Value) -> String {
    use machinery::quantity::Quantity;
    let resource = text(&reference["resource"]);
    let (field, name) = resource.split_once('.').unwrap_or((&resource, ""));
    let milli = |text: &str| Quantity::parse(text).map_or(0, |amount| i128::from(amount.milli_value()));
    let value = match container["resources"][field][name].as_str() {
        Some(text) => milli(text),
        // Without a limit it is what the node has, which is not known here.
        None if field == "limits" => return "node allocatable".to_owned(),
        None => 0,
    };
    let divisor = reference["divisor"].as_str().map_or(1000, milli);
    let divisor = if divisor == 0 { 1000 } else { divisor };
    ((value + divisor - 1) / divisor).to_string()
}

fn mounts(out: &mut Writer, level: usize, container: &Value) {
    let mut all: Vec<&Value> = list(&container["volumeMounts"]).iter().collect();
    all.sort_by_key(|mount| text(&mount["mountPath"]));
    if all.is_empty() {
        out.line(level, "Mounts:\t<none>");
    } else {
        out.line(level, "Mounts:");
    }
    for mount in all {
        let mut flags = vec![if mount["readOnly"] == true { "ro".to_owned() } else { "rw".to_owned() }];
        if let Some(path) = mount["subPath"].as_str() {
            flags.push(format!("path={path:?}"));
        }
        let (path, name) = (text(&mount["mountPath"]), text(&mount["name"]));
        out.line(level + 1, &format!("{path} from {name} ({})", flags.join(",")));
    }
}
