//! `get`: shows objects as tables of the server's own, or in any other form.

use super::{Group, Verb};
use crate::error::{Error, Result, fail, message};
use crate::flags::{self, flag, is_set, list as repeated, positional, split, switch, text, value};
use crate::print::table::{TableOptions, TablePrinter};
use crate::print::{Output, list_of, name_of, without_managed_fields};
use crate::rest::{JSON, TABLE};
use crate::select::{self, Selectors, Target};
use crate::session::Session;
use clap::ArgMatches;
use machinery::jsonpath::{JsonPath, display};
use serde_json::Value;
use std::cmp::Ordering;

pub(crate) const VERB: Verb = Verb {
    name: "get",
    group: Group::Basic,
    about: "Show one or many objects",
    examples: "kubectl get pods
        kubectl get deployment web -o yaml
        kubectl get pods,services -l app=web -A
        kubectl get pods -w
        kubectl get pods -o jsonpath='{.items[*].metadata.name}'
        kubectl get -f manifest.yaml",
    arguments: |command| {
        command
            .args(flags::files())
            .arg(flags::selector())
            .arg(flags::field_selector())
            .arg(flags::all_namespaces())
            .arg(value("output", "FORMAT", "json, yaml, name, wide, jsonpath=, jsonpath-file=, jsonpath-as-json=, go-template=, go-template-file=, custom-columns=, custom-columns-file=").short('o'))
            .args(flags::template())
            .arg(flag("watch", "After showing what is there, show changes").short('w'))
            .arg(flag("watch-only", "Show only changes"))
            .arg(flag("output-watch-events", "Say what happened to each object"))
            .arg(flag("ignore-not-found", "Nothing found is no failure"))
            .arg(flag("no-headers", "Leave out the headers"))
            .arg(flag("show-labels", "Add a column of all labels"))
            .arg(flag("show-kind", "Prefix names with their kind"))
            .arg(flag("show-managed-fields", "Show who owns which fields"))
            .arg(switch("server-print", true, "Have the server compute the columns"))
            .arg(repeated("label-columns", "LABELS", "Add a column for each of these labels").short('L'))
            .arg(value("sort-by", "JSONPATH", "Sort by this field"))
            .arg(value("raw", "PATH", "Print the answer to a GET of this path"))
            .arg(value("subresource", "NAME", "Show this subresource, such as status or scale"))
            .arg(value("chunk-size", "N", "Accepted; lists are always read in pages of 500").hide(true))
            .arg(flags::args("TYPE[/NAME] | TYPE NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

const NOTHING: &str = "You must specify the type of resource to get. Use \"kubectl api-resources\" for a complete list of supported resources.\n\nerror: Required resource not specified.\nUse \"kubectl explain <resource>\" for a detailed description of that resource (e.g. kubectl explain pods).\nSee 'kubectl get -h' for help and examples";

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    if let Some(path) = text(matches, "raw") {
        let answer = session.rest().await?.text(path).await?;
        return session.out(answer);
    }
    let output = Output::of(matches, is_set(matches, "no-headers"))?;
    let args = positional(matches);
    let targets = if !select::from_files(matches) {
        if args.is_empty() {
            return Err(Error::Plain(NOTHING.to_owned()));
        }
        select::resolve(session, &args, is_set(matches, "all-namespaces")).await?
    } else {
        let found = select::manifests(session, matches).await?;
        found
            .into_iter()
            .map(|found| Target {
                resource: found.resource,
                namespace: found.namespace,
                name: Some(found.name),
            })
            .collect()
    };
    let selectors = Selectors::of(matches);
    if !selectors.is_empty() && targets.iter().any(|target| target.name.is_some()) {
        return fail("name cannot be provided when a selector is specified");
    }
    let get = Get { session, matches, targets, selectors };
    if is_set(matches, "watch") || is_set(matches, "watch-only") {
        return get.watch(output).await;
    }
    match output {
        Output::Human { wide } => get.human(wide).await,
        output => get.generic(&output).await,
    }
}

struct Get<'a> {
    session: &'a Session,
    matches: &'a ArgMatches,
    targets: Vec<Target>,
    selectors: Selectors,
}

impl Get<'_> {
    fn set(&self, name: &str) -> bool {
        is_set(self.matches, name)
    }

    fn path(&self, target: &Target) -> String {
        let mut path = target.path();
        if let Some(subresource) = text(self.matches, "subresource") {
            path = format!("{path}/{subresource}");
        }
        path
    }

    fn options(&self, wide: bool, resource: &crate::discovery::Resource) -> TableOptions {
        let several = self.targets.iter().any(|target| *target.resource != *self.targets[0].resource);
        let prefix = several || self.set("show-kind");
        TableOptions {
            wide,
            no_headers: self.set("no-headers"),
            with_namespace: self.set("all-namespaces") && resource.namespaced,
            kind_prefix: prefix.then(|| resource.full_kind()),
            show_labels: self.set("show-labels"),
            label_columns: split(self.matches, "label-columns"),
            event: None,
        }
    }

    /// A table, read to its end.
    async fn table(&self, target: &Target, include: &str) -> Result<Value> {
        let rest = self.session.rest().await?;
        let mut whole = Value::Null;
        let mut token: Option<String> = None;
        loop {
            let url = self
                .selectors
                .url(self.path(target))
                .with("includeObject", Some(include).filter(|i| *i != "Metadata"));
            let url = if target.name.is_none() {
                url.with("limit", Some("500")).with("continue", token.as_deref())
            } else {
                url
            };
            let mut page = rest.get_as(&url.into_string(), TABLE).await?;
            if page["kind"] != "Table" {
                page = plain_table(&page);
            }
            token =
                page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
            match whole["rows"].as_array_mut() {
                None => whole = page,
                Some(rows) => {
                    rows.extend(page["rows"].as_array_mut().map(std::mem::take).unwrap_or_default())
                }
            }
            if token.is_none() {
                return Ok(whole);
            }
        }
    }

    async fn human(&self, wide: bool) -> Result<()> {
        let sort = self.sort()?;
        let include = if sort.is_some() { "Object" } else { "Metadata" };
        let (mut errors, mut shown, mut text) = (Vec::new(), 0, String::new());
        let mut printer: Option<(std::sync::Arc<crate::discovery::Resource>, TablePrinter)> = None;
        for target in &self.targets {
            let mut table = match self.table(target, include).await {
                Ok(table) => table,
                Err(error) if error.is_not_found() && self.set("ignore-not-found") => continue,
                Err(error) if error.status().is_some() && self.targets.len() > 1 => {
                    errors.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let rows = table["rows"].as_array().map_or(0, Vec::len);
            if rows == 0 {
                continue;
            }
            if let Some(path) = &sort
                && let Some(rows) = table["rows"].as_array_mut()
            {
                rows.sort_by(|a, b| compare(path, &a["object"], &b["object"]));
            }
            let same = printer.as_ref().is_some_and(|(resource, _)| *resource == target.resource);
            if !same {
                if let Some((_, mut done)) = printer.take() {
                    text.push_str(&done.flush());
                    text.push('\n');
                }
                let fresh = TablePrinter::new(self.options(wide, &target.resource));
                printer = Some((target.resource.clone(), fresh));
            }
            if let Some((_, printer)) = &mut printer {
                printer.add(&table);
            }
            shown += rows;
        }
        if let Some((_, mut done)) = printer {
            text.push_str(&done.flush());
        }
        self.session.out(&text)?;
        if shown == 0 && errors.is_empty() && !self.set("ignore-not-found") {
            self.nothing().await?;
        }
        Error::all(errors)
    }

    async fn nothing(&self) -> Result<()> {
        let namespaced = self.targets.iter().all(|target| target.resource.namespaced);
        let text = if namespaced && !self.set("all-namespaces") {
            format!("No resources found in {} namespace.", self.session.namespace().await?)
        } else {
            "No resources found".to_owned()
        };
        self.session.streams.warn(&text);
        Ok(())
    }

    fn sort(&self) -> Result<Option<JsonPath>> {
        text(self.matches, "sort-by")
            .map(|path| JsonPath::parse_relaxed(path).map_err(|error| message(error.to_string())))
            .transpose()
    }

    /// Every other form: whole objects.
    async fn generic(&self, output: &Output) -> Result<()> {
        let rest = self.session.rest().await?;
        let (mut items, mut errors, mut single) = (Vec::new(), Vec::new(), true);
        for target in &self.targets {
            let read = if target.name.is_some() {
                rest.get(&self.path(target)).await.map(|value| vec![value])
            } else {
                single = false;
                select::list(rest, target, &self.selectors).await
            };
            match read {
                Ok(found) => items.extend(found),
                Err(error) if error.is_not_found() && self.set("ignore-not-found") => {}
                Err(error) if error.status().is_some() && self.targets.len() > 1 => errors.push(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(path) = self.sort()? {
            items.sort_by(|a, b| compare(&path, a, b));
        }
        // Templates see everything, as upstream's do.
        if matches!(output, Output::Json | Output::Yaml) && !self.set("show-managed-fields") {
            items.iter_mut().for_each(without_managed_fields);
        }
        if matches!(output, Output::Name) {
            let lines: String = items.iter().map(|item| format!("{}\n", name_of(item))).collect();
            self.session.out(lines)?;
        } else if single && self.targets.len() == 1 {
            for item in &items {
                self.session.out(output.object(item)?)?;
            }
        } else {
            self.session.out(output.object(&list_of(items))?)?;
        }
        Error::all(errors)
    }

    /// Shows what is there, then what changes, until the watch is broken off.
    async fn watch(&self, output: Output) -> Result<()> {
        let [target] = self.targets.as_slice() else {
            return fail("you may only specify a single resource type");
        };
        let rest = self.session.rest().await?;
        let wide = matches!(output, Output::Human { wide: true });
        let accept = if output.is_human() { TABLE } else { JSON };
        let mut options = self.options(wide, &target.resource);
        let events = self.set("output-watch-events");
        options.event = events.then(|| "ADDED".to_owned());
        let mut printer = TablePrinter::new(options);
        let mut selectors = self.selectors.clone();
        let mut collection = target.clone();
        if let Some(name) = collection.name.take() {
            selectors.fields = Some(format!("metadata.name={name}"));
        }
        let initial = rest.get_as(&selectors.url(collection.path()).into_string(), accept).await?;
        if let Some(name) = &target.name
            && initial["rows"].as_array().or(initial["items"].as_array()).is_some_and(Vec::is_empty)
        {
            // One object that is not there is a failure, as without a watch.
            rest.get(&collection.resource.path(target.namespace.as_deref(), Some(name))).await?;
        }
        let mut version = initial["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        if !self.set("watch-only") {
            if output.is_human() {
                printer.add(&initial);
                self.session.out(printer.flush())?;
            } else {
                for mut item in initial["items"].as_array().cloned().unwrap_or_default() {
                    item["apiVersion"] = target.resource.api_version().into();
                    item["kind"] = target.resource.kind.clone().into();
                    self.event("ADDED", item, &output, &mut printer, events)?;
                }
            }
        }
        loop {
            let url = selectors
                .url(collection.path())
                .with("watch", Some("true"))
                .with("resourceVersion", Some(&version));
            let mut lines = rest.lines(&url.into_string(), accept).await?;
            while let Some((kind, object)) = lines.event().await? {
                let seen = &object["rows"][0]["object"]["metadata"]["resourceVersion"];
                if let Some(now) = object["metadata"]["resourceVersion"].as_str().or(seen.as_str()) {
                    version = now.to_owned();
                }
                if kind != "BOOKMARK" {
                    self.event(&kind, object, &output, &mut printer, events)?;
                }
            }
        }
    }

    fn event(
        &self,
        kind: &str,
        mut object: Value,
        output: &Output,
        printer: &mut TablePrinter,
        events: bool,
    ) -> Result<()> {
        if output.is_human() {
            if events {
                printer.options().event = Some(kind.to_owned());
            }
            printer.add(&object);
            return self.session.out(printer.flush());
        }
        if !self.set("show-managed-fields") {
            without_managed_fields(&mut object);
        }
        if events {
            object = serde_json::json!({"type": kind, "object": object});
        }
        if matches!(output, Output::Yaml) {
            self.session.out("---\n")?;
        }
        self.session.out(output.object(&object)?)
    }
}

/// By what a path finds: numbers by value, times and everything else by their text.
fn compare(path: &JsonPath, a: &Value, b: &Value) -> Ordering {
    let first = |value| path.find(value).ok().and_then(|found| found.into_iter().next());
    match (first(a), first(b)) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(a), Some(b)) => display(a).cmp(&display(b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// A table of names and ages for servers that compute none.
fn plain_table(answer: &Value) -> Value {
    let items = answer["items"].as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
    let rows: Vec<Value> = items
        .into_iter()
        .map(|item| serde_json::json!({"cells": [item["metadata"]["name"], item["metadata"]["creationTimestamp"]], "object": item}))
        .collect();
    serde_json::json!({
        "kind": "Table",
        "metadata": answer["metadata"],
        "columnDefinitions": [{"name": "Name", "format": "name", "priority": 0}, {"name": "Created At", "priority": 0}],
        "rows": rows,
    })
}
