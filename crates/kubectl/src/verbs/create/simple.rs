//! `create namespace`, `serviceaccount`, `quota`, `poddisruptionbudget`, `priorityclass`.

use super::{Build, Kind, name, required};
use crate::error::{Result, fail, message};
use crate::flags::{self, flag, int, is_set, number, text, value};
use clap::ArgMatches;
use serde_json::{Map, Value, json};

pub(super) const NAMESPACE: Kind = Kind {
    name: "namespace",
    alias: "ns",
    about: "Create a namespace",
    arguments: |command| command.arg(flags::args("NAME")),
    build: Build::Pure(|matches| {
        Ok(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name(matches)?}, "spec": {}, "status": {}}),
        )
    }),
    below: &[],
};

pub(super) const SERVICE_ACCOUNT: Kind = Kind {
    name: "serviceaccount",
    alias: "sa",
    about: "Create a service account",
    arguments: |command| command.arg(flags::args("NAME")),
    build: Build::Pure(|matches| {
        Ok(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name(matches)?}}))
    }),
    below: &[],
};

pub(super) const QUOTA: Kind = Kind {
    name: "quota",
    alias: "resourcequota",
    about: "Create a resource quota",
    arguments: |command| {
        command
            .arg(value("hard", "RESOURCE=AMOUNT,...", "The limits"))
            .arg(value("scopes", "SCOPES", "What the quota counts, comma-separated"))
            .arg(flags::args("NAME"))
    },
    build: Build::Pure(quota),
    below: &[],
};

fn quota(matches: &ArgMatches) -> Result<Value> {
    let mut hard = Map::new();
    for pair in text(matches, "hard").into_iter().flat_map(|hard| hard.split(',')) {
        let (resource, amount) =
            pair.split_once('=').ok_or_else(|| message(format!("invalid argument syntax {pair:?}")))?;
        let amount = machinery::quantity::canonical(amount).map_err(|error| message(error.to_string()))?;
        hard.insert(resource.to_owned(), amount.into());
    }
    let mut spec = json!({});
    if !hard.is_empty() {
        spec["hard"] = Value::Object(hard);
    }
    if let Some(scopes) = text(matches, "scopes") {
        spec["scopes"] = scopes.split(',').collect();
    }
    Ok(
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name(matches)?}, "spec": spec, "status": {}}),
    )
}

pub(super) const POD_DISRUPTION_BUDGET: Kind = Kind {
    name: "poddisruptionbudget",
    alias: "pdb",
    about: "Create a pod disruption budget",
    arguments: |command| {
        command
            .arg(value("min-available", "N|N%", "How many pods must stay available"))
            .arg(value("max-unavailable", "N|N%", "How many pods may be unavailable"))
            .arg(value("selector", "LABELS", "Which pods"))
            .arg(flags::args("NAME"))
    },
    build: Build::Pure(budget),
    below: &[],
};

/// `5` or `50%`.
fn int_or_percent(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| text.into(), Into::into)
}

fn budget(matches: &ArgMatches) -> Result<Value> {
    let mut labels = Map::new();
    for pair in required(matches, "selector")?.split(',') {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| message(format!("{pair:?} is not supported here: write KEY=VALUE,KEY=VALUE")))?;
        labels.insert(key.trim().to_owned(), value.trim_start_matches('=').trim().into());
    }
    let mut spec = json!({"selector": {"matchLabels": labels}});
    match (text(matches, "min-available"), text(matches, "max-unavailable")) {
        (Some(min), None) => spec["minAvailable"] = int_or_percent(min),
        (None, Some(max)) => spec["maxUnavailable"] = int_or_percent(max),
        (None, None) => return fail("one of min-available or max-unavailable must be specified"),
        (Some(_), Some(_)) => return fail("min-available and max-unavailable cannot be both specified"),
    }
    Ok(
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name(matches)?}, "spec": spec}),
    )
}

pub(super) const PRIORITY_CLASS: Kind = Kind {
    name: "priorityclass",
    alias: "pc",
    about: "Create a priority class",
    arguments: |command| {
        command
            .arg(number("value", "0", "The priority"))
            .arg(flag("global-default", "Give it to pods without a priority class"))
            .arg(value("description", "TEXT", "What it is for"))
            .arg(
                value("preemption-policy", "POLICY", "PreemptLowerPriority or Never")
                    .default_value("PreemptLowerPriority"),
            )
            .arg(flags::args("NAME"))
    },
    build: Build::Pure(|matches| {
        let mut class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name(matches)?},
            "value": int(matches, "value"), "preemptionPolicy": text(matches, "preemption-policy"),
        });
        if is_set(matches, "global-default") {
            class["globalDefault"] = true.into();
        }
        if let Some(description) = text(matches, "description") {
            class["description"] = description.into();
        }
        Ok(class)
    }),
    below: &[],
};
