//! `explain`: the fields of a kind, from the OpenAPI v3 document that the server publishes for its group and version.

use super::{Group, Verb};
use crate::discovery::Resource;
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional, text, value};
use crate::session::Session;
use clap::ArgMatches;
use serde_json::Value;
use std::collections::BTreeSet;

pub(crate) const VERB: Verb = Verb {
    name: "explain",
    group: Group::Basic,
    about: "Show the fields of a kind",
    examples: "kubectl explain pods
        kubectl explain deployment.spec.strategy
        kubectl explain cronjobs --recursive
        kubectl explain hpa --api-version=autoscaling/v2",
    arguments: |command| {
        command
            .arg(flag("recursive", "Show the fields of fields too, without their descriptions"))
            .arg(value("api-version", "GROUP/VERSION", "The version to show"))
            .arg(value("output", "FORMAT", "plaintext or plaintext-openapiv2").short('o'))
            .arg(flags::args("TYPE[.FIELD...]"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// Widest line of a description.
const WIDTH: usize = 80;
/// Deepest nesting of fields that is walked: schemas of custom resources are anyone's.
const MAX_DEPTH: usize = 64;

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let argument = match args.as_slice() {
        [] => {
            return fail(
                "You must specify the type of resource to explain. Use \"kubectl api-resources\" for a complete list of \
                 supported resources.",
            );
        }
        [one] => one,
        _ => return fail("We accept only this format: explain RESOURCE"),
    };
    if let Some(format) = text(matches, "output").filter(|format| !format.starts_with("plaintext")) {
        return fail(format!("unrecognized format: {format}"));
    }
    let (resource, path) = target(session, argument, text(matches, "api-version")).await?;
    let (group, version) = (&resource.group, &resource.version);
    let key = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
    let rest = session.rest().await?;
    let index = rest.get("/openapi/v3").await?;
    let Some(url) = index["paths"][&key]["serverRelativeURL"].as_str() else {
        return fail(format!("couldn't find resource for \"{key}, Resource={}\"", resource.plural));
    };
    let document = rest.get(url).await?;
    let page = Page { document: &document, recursive: is_set(matches, "recursive") };
    let mut head = String::new();
    if !group.is_empty() {
        head.push_str(&format!("GROUP:      {group}\n"));
    }
    head.push_str(&format!("KIND:       {}\nVERSION:    {version}\n\n", resource.kind));
    let Some(schema) = page.root(&resource) else {
        let gvk = format!("group:{group} kind:{} version:{version}", resource.kind);
        return fail(format!("GVK map[{gvk}] not found in OpenAPI schema"));
    };
    session.out(&head)?;
    let fields: Vec<&str> = path.iter().map(String::as_str).collect();
    match page.output(schema, &fields, 0) {
        Some(body) => session.out(format!("{body}\n")),
        None => {
            fail(format!("field {:?} does not exist", path.last().map(String::as_str).unwrap_or_default()))
        }
    }
}

/// The resource and the path of fields that an argument such as `deployments.apps.spec` names.
async fn target(
    session: &Session,
    argument: &str,
    version: Option<&str>,
) -> Result<(std::sync::Arc<Resource>, Vec<String>)> {
    let discovery = session.discovery().await?;
    let parts: Vec<&str> = argument.split('.').filter(|part| !part.is_empty()).collect();
    let fields = |from: usize| parts[from.min(parts.len())..].iter().map(|part| (*part).to_owned()).collect();
    // Dots also separate a resource from its group: the longest name that is one wins.
    let qualified = (2..=parts.len()).rev().find_map(|end| {
        let name = parts[..end].join(".");
        discovery
            .find(&name)
            .ok()
            .filter(|found| found.full_plural().len() > found.plural.len())
            .map(|found| (found, end))
    });
    let qualified = qualified.filter(|(found, end)| parts[1..*end].join(".").ends_with(found.group.as_str()));
    let (mut resource, end) = match qualified {
        Some(found) => found,
        None => match discovery.find(parts.first().copied().unwrap_or_default()) {
            Ok(found) => (found, 1),
            Err(error) => return Err(Error::Plain(error.text().trim_start_matches("error: ").to_owned())),
        },
    };
    if let Some(version) = version {
        let same = discovery
            .all()
            .iter()
            .find(|other| other.api_version() == version && other.plural == resource.plural);
        match same {
            Some(same) => resource = same.clone(),
            None => {
                return fail(format!(
                    "couldn't find resource for \"{version}, Resource={}\"",
                    resource.plural
                ));
            }
        }
    }
    Ok((resource, fields(end)))
}

struct Page<'d> {
    document: &'d Value,
    recursive: bool,
}

/// What a `$ref` names.
fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()
}

/// The schema of a map's values, if it has one.
fn values(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|more| more.is_object())
}

impl<'d> Page<'d> {
    fn root(&self, resource: &Resource) -> Option<&'d Value> {
        let is_it = |gvk: &Value| {
            gvk["group"] == resource.group.as_str()
                && gvk["version"] == resource.version.as_str()
                && gvk["kind"] == resource.kind.as_str()
        };
        let schemas = self.document["components"]["schemas"].as_object()?;
        schemas.values().find(|schema| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.iter().any(is_it))
        })
    }

    fn resolve(&self, schema: &'d Value) -> &'d Value {
        let name = reference(schema).and_then(|name| name.strip_prefix("#/components/schemas/"));
        name.and_then(|name| self.document["components"]["schemas"].get(name)).unwrap_or(schema)
    }

    /// Follows a path of fields to its end and prints what is there, `None` if there is nothing.
    fn output(&self, schema: &'d Value, path: &[&str], depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return None;
        }
        let resolved = self.resolve(schema);
        let Some((field, rest)) = path.split_first() else { return Some(self.page(resolved)) };
        if let Some(inner) = resolved["properties"].get(*field) {
            let mut out = String::new();
            if rest.is_empty() {
                out.push_str(&format!("FIELD: {field} <{}>\n", self.kind(inner, 0)));
                out.push_str(&long_enum(inner));
                out.push_str("\n\n");
            }
            return Some(out + &self.output(inner, rest, depth + 1)?);
        }
        if let Some(items) = resolved.get("items") {
            return self.output(items, path, depth + 1);
        }
        if let Some(values) = values(resolved) {
            return self.output(values, path, depth + 1);
        }
        resolved["allOf"].as_array()?.iter().find_map(|part| self.output(part, path, depth + 1))
    }

    fn page(&self, schema: &'d Value) -> String {
        let mut text = String::new();
        self.describe(schema, 0, &mut text);
        let text = if text.is_empty() { "<empty>".to_owned() } else { text };
        let mut out = format!("DESCRIPTION:\n{}\n", indent(4, &wrap(WIDTH - 4, &text)));
        if let Some(docs) = schema["externalDocs"].as_object() {
            out.push_str("\nEXTERNAL DOCS:\n");
            if let Some(text) = docs.get("description").and_then(Value::as_str) {
                out.push_str(&format!("{}\n", indent(4, &wrap(WIDTH - 4, text))));
            }
            if let Some(url) = docs.get("url").and_then(Value::as_str) {
                out.push_str(&format!("    URL: {url}\n"));
            }
        }
        let mut fields = String::new();
        self.fields(schema, 1, &mut BTreeSet::new(), &mut fields, 0);
        if !fields.is_empty() {
            out.push_str("FIELDS:\n");
            out.push_str(&fields);
        }
        out
    }

    /// A schema's own description and those of what it consists of.
    fn describe(&self, schema: &'d Value, depth: usize, out: &mut String) {
        if depth > MAX_DEPTH {
            return;
        }
        let resolved = self.resolve(schema);
        if let Some(text) = resolved["description"].as_str().filter(|text| !text.is_empty()) {
            out.push_str(text);
            out.push('\n');
        }
        let parts = resolved["allOf"].as_array().into_iter().flatten();
        for part in parts.chain(resolved.get("items")).chain(values(resolved)) {
            self.describe(part, depth + 1, out);
        }
    }

    fn fields(
        &self,
        schema: &'d Value,
        level: usize,
        seen: &mut BTreeSet<&'d str>,
        out: &mut String,
        depth: usize,
    ) {
        let name = reference(schema);
        if depth > MAX_DEPTH || name.is_some_and(|name| seen.contains(name)) {
            return;
        }
        let added = name.filter(|name| seen.insert(name));
        let resolved = self.resolve(schema);
        let mut properties: Vec<(&String, &Value)> =
            resolved["properties"].as_object().into_iter().flatten().collect();
        properties.sort_by_key(|(name, _)| *name);
        for (name, inner) in properties {
            self.field(resolved, name, inner, level, out);
            if self.recursive {
                self.fields(inner, level + 1, seen, out, depth + 1);
            }
        }
        let parts = resolved["allOf"].as_array().into_iter().flatten();
        for part in parts.chain(resolved.get("items")).chain(values(resolved)) {
            self.fields(part, level, seen, out, depth + 1);
        }
        if let Some(name) = added {
            seen.remove(name);
        }
    }

    fn field(&self, parent: &Value, name: &str, schema: &'d Value, level: usize, out: &mut String) {
        let margin = level * 2;
        out.push_str(&format!("{}{name}\t<{}>", " ".repeat(margin), self.kind(schema, 0)));
        if parent["required"].as_array().is_some_and(|all| all.iter().any(|required| required == name)) {
            out.push_str(" -required-");
        }
        out.push_str(&short_enum(schema, margin));
        out.push('\n');
        if self.recursive {
            return;
        }
        let text =
            schema["description"].as_str().filter(|text| !text.is_empty()).unwrap_or("<no description>");
        let width = (WIDTH - 2).saturating_sub(margin);
        out.push_str(&format!("{}\n\n", indent(margin + 2, &wrap(width, text))));
    }

    /// The type in words: `string`, `[]Object`, `map[string]Quantity`.
    fn kind(&self, schema: &'d Value, depth: usize) -> String {
        if depth > MAX_DEPTH {
            return "Object".to_owned();
        }
        if let Some(items) = schema.get("items") {
            return format!("[]{}", self.kind(items, depth + 1));
        }
        if let Some(values) = values(schema) {
            return format!("map[string]{}", self.kind(values, depth + 1));
        }
        if let Some([only]) = schema["allOf"].as_array().map(Vec::as_slice)
            && schema["properties"].is_null()
        {
            return self.kind(only, depth + 1);
        }
        let plain = |schema: &Value| {
            schema["type"].as_str().filter(|kind| *kind != "object").unwrap_or("Object").to_owned()
        };
        let Some(name) = reference(schema) else { return plain(schema) };
        let target = self.resolve(schema);
        if target["type"].is_null() || target["type"] == "object" {
            return name.rsplit(['/', '.']).next().unwrap_or("Object").to_owned();
        }
        plain(target)
    }
}

fn constant(value: &Value) -> String {
    match value.as_str() {
        Some("") => "\"\"".to_owned(),
        _ => machinery::jsonpath::display(value),
    }
}

fn long_enum(schema: &Value) -> String {
    let Some(all) = schema["enum"].as_array().filter(|all| !all.is_empty()) else { return String::new() };
    let lines: Vec<String> = all.iter().map(|value| format!("\n    {}", constant(value))).collect();
    format!("ENUM:{}", lines.concat())
}

/// At most four of them.
fn short_enum(schema: &Value, margin: usize) -> String {
    let Some(all) = schema["enum"].as_array().filter(|all| !all.is_empty()) else { return String::new() };
    let shown: Vec<String> = all.iter().take(4).map(constant).collect();
    let more = if all.len() > 4 { ", ...." } else { "" };
    format!("\n{}enum: {}{more}", " ".repeat(margin), shown.join(", "))
}

fn indent(by: usize, text: &str) -> String {
    let margin = " ".repeat(by);
    format!("{margin}{}", text.replace('\n', &format!("\n{margin}")))
}

/// Breaks lines between words so that they have at most `width` characters; keeps line breaks and leading space.
fn wrap(width: usize, text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let (mut out, mut length) = (String::new(), 0);
        let mut rest = line;
        while !rest.is_empty() {
            let word_at = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
            let (space, behind) = rest.split_at(word_at);
            let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
            let (word, next) = behind.split_at(end);
            rest = next;
            let needed = space.chars().count() + word.chars().count();
            if length + needed > width && !word.is_empty() && length > 0 {
                out.push('\n');
                out.push_str(word);
                length = word.chars().count();
            } else if !word.is_empty() || length + needed <= width {
                out.push_str(space);
                out.push_str(word);
                length += needed;
            }
        }
        lines.push(out);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrap(10, "one two three four"), "one two\nthree four");
        assert_eq!(wrap(10, "a\n  b c\n\nunbreakablelongword x"), "a\n  b c\n\nunbreakablelongword\nx");
        assert_eq!(indent(2, "a\nb\n"), "  a\n  b\n  ");
    }

    #[test]
    fn schemas_that_contain_themselves_end() {
        let document = json!({"components": {"schemas": {"x.Foo": {"type": "object",
            "x-kubernetes-group-version-kind": [{"group": "x", "version": "v1", "kind": "Foo"}],
            "properties": {"self": {"$ref": "#/components/schemas/x.Foo"}, "n": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
                "all": {"type": "array", "items": {"$ref": "#/components/schemas/x.Foo"}}}, "required": ["n"]}}}});
        let page = Page { document: &document, recursive: true };
        let root = page
            .root(&Resource {
                group: "x".into(),
                version: "v1".into(),
                kind: "Foo".into(),
                ..Resource::default()
            })
            .unwrap();
        let out = page.output(root, &["self", "all"], 0).unwrap();
        assert!(
            out.starts_with("FIELD: all <[]Foo>\n\n\nDESCRIPTION:\n    <empty>\nFIELDS:\n  all\t<[]Foo>\n"),
            "{out}"
        );
        assert!(out.contains("  n\t<integer> -required-\n  enum: 1, 2, 3, 4, ....\n"), "{out}");
        assert!(page.output(root, &["none"], 0).is_none());
    }
}
