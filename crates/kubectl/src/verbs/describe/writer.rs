//! [`Writer`]: indented lines of label and value, aligned at the end, and the pieces that most kinds share.

use crate::print::tabs::Tabs;
use crate::session::Session;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Longest annotation that stands behind its key.
const ANNOTATION: usize = 140;

/// A line of an annotation, cut where upstream cuts it.
fn shortened(line: &str) -> String {
    let cut: String = line.chars().take(ANNOTATION - 2).collect();
    if cut.len() < line.len() { cut + "..." } else { cut }
}

/// Indented lines of cells.
#[derive(Debug)]
pub(crate) struct Writer {
    tabs: Tabs,
}

impl Default for Writer {
    fn default() -> Self {
        Self { tabs: Tabs::describe() }
    }
}

impl Writer {
    /// A line at a level; cells end with tabs.
    pub(crate) fn line(&mut self, level: usize, text: &str) {
        // The line feed that is cut off again is this one, never the text's own.
        self.tabs.write(&format!("{}{text}\n", "  ".repeat(level)));
    }

    /// `Label:  value`; nothing for an empty one.
    pub(crate) fn field(&mut self, level: usize, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(level, &format!("{label}:\t{value}"));
        }
    }

    /// The lines, aligned.
    pub(crate) fn finish(mut self) -> String {
        self.tabs.flush()
    }

    /// A map, one entry a line, under a label.
    pub(crate) fn map(&mut self, level: usize, label: &str, map: &Value) {
        self.entries(level, label, map.as_object(), |key, value| format!("{key}={}", text(value)));
    }

    /// Annotations: without the applied manifest; long ones on a line of their own.
    pub(crate) fn annotations(&mut self, level: usize, map: &Value) {
        let mut shown = map.as_object().cloned().unwrap_or_default();
        shown.retain(|key, _| key != crate::verbs::apply::LAST_APPLIED);
        self.entries(level, "Annotations", Some(&shown), |key, value| {
            let value = text(value);
            let value = value.trim_end_matches('\n');
            if value.len() + key.len() + 2 > ANNOTATION || value.contains('\n') {
                let lines: Vec<String> = value.split('\n').map(shortened).collect();
                return format!("{key}:\n  {}", lines.join("\n  "));
            }
            format!("{key}: {value}")
        });
    }

    fn entries(
        &mut self,
        level: usize,
        label: &str,
        map: Option<&Map<String, Value>>,
        line: impl Fn(&str, &Value) -> String,
    ) {
        let mut entries: Vec<(&String, &Value)> = map.into_iter().flatten().collect();
        entries.sort_by_key(|(key, _)| *key);
        if entries.is_empty() {
            return self.line(level, &format!("{label}:\t<none>"));
        }
        for (at, (key, value)) in entries.into_iter().enumerate() {
            let label = if at == 0 { format!("{label}:") } else { String::new() };
            let whole = line(key, value);
            let mut lines = whole.lines();
            self.line(level, &format!("{label}\t{}", lines.next().unwrap_or_default()));
            for more in lines {
                self.line(level, &format!("\t{more}"));
            }
        }
    }

    /// A table of conditions.
    pub(crate) fn conditions(&mut self, object: &Value, columns: &[(&str, &str)]) {
        let all = object["status"]["conditions"].as_array();
        let Some(all) = all.filter(|all| !all.is_empty()) else { return };
        self.line(0, "Conditions:");
        let headers: Vec<&str> = columns.iter().map(|(header, _)| *header).collect();
        self.line(1, &headers.join("\t"));
        let rules: Vec<String> = headers.iter().map(|header| "-".repeat(header.len())).collect();
        self.line(1, &rules.join("\t"));
        for condition in all {
            let cells: Vec<String> = columns
                .iter()
                .map(|(_, field)| {
                    let cell = text(&condition[*field]);
                    if field.ends_with("Time") { time(Some(&cell)) } else { cell }
                })
                .collect();
            self.line(1, &cells.join("\t"));
        }
    }

    /// Name, namespace, labels and annotations.
    pub(crate) fn head(&mut self, object: &Value) {
        let meta = &object["metadata"];
        self.field(0, "Name", &text(&meta["name"]));
        self.field(0, "Namespace", &text(&meta["namespace"]));
        self.labels(object);
    }

    /// Labels and annotations.
    pub(crate) fn labels(&mut self, object: &Value) {
        self.map(0, "Labels", &object["metadata"]["labels"]);
        self.annotations(0, &object["metadata"]["annotations"]);
    }
}

/// A value on one line; nothing for null.
pub(crate) fn text(value: &Value) -> String {
    machinery::jsonpath::display(value)
}

/// A value, or what stands for none.
pub(crate) fn or<'t>(value: &'t Value, none: &'t str) -> &'t str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(none)
}

/// A number, 0 for none.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// A time in RFC 1123 form with a numeric zone.
pub(crate) fn time(text: Option<&str>) -> String {
    let parsed = text.and_then(|text| text.parse::<Timestamp>().ok());
    parsed.map_or_else(
        || "<unset>".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
    )
}

/// The time since.
pub(crate) fn age(session: &Session, text: Option<&str>) -> String {
    api::resource::age(text.and_then(|text| text.parse().ok()), session.now())
}

/// `Kind/name` of the controller.
pub(crate) fn controller(object: &Value) -> String {
    let mut owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    owners
        .find(|owner| owner["controller"] == true)
        .map(|owner| format!("{}/{}", text(&owner["kind"]), text(&owner["name"])))
        .unwrap_or_default()
}

/// A label selector, or `<none>`.
pub(crate) fn selector(value: &Value) -> String {
    crate::pods::label_selector(value).unwrap_or_else(|| "<none>".to_owned())
}

/// The list of a field, never null.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_aligned() {
        let mut out = Writer::default();
        let annotations = json!({"a": "1", "kubectl.kubernetes.io/last-applied-configuration": "{}"});
        out.head(
            &json!({"metadata": {"name": "web", "labels": {"b": "2", "a": "1"}, "annotations": annotations}}),
        );
        assert_eq!(
            out.finish(),
            "Name:         web\nLabels:       a=1\n              b=2\nAnnotations:  a: 1\n"
        );
    }
}
