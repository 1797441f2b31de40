//! Tables that the server computed (`meta.k8s.io/v1 Table`), for people.

use super::labels_text;
use super::tabs::Tabs;
use serde_json::Value;

/// What is shown around and besides the server's own columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableOptions {
    pub(crate) wide: bool,
    pub(crate) no_headers: bool,
    pub(crate) with_namespace: bool,
    /// Prefix names by `kind.group/`.
    pub(crate) kind_prefix: Option<String>,
    pub(crate) show_labels: bool,
    /// Labels with a column of their own.
    pub(crate) label_columns: Vec<String>,
    /// A watch with `--output-watch-events`: a first column that says what happened.
    pub(crate) event: Option<String>,
}

/// Prints tables of one resource; headers once, and again when the columns change.
#[derive(Debug)]
pub(crate) struct TablePrinter {
    options: TableOptions,
    columns: Vec<Value>,
    printed: Vec<String>,
    tabs: Tabs,
}

impl TablePrinter {
    pub(crate) fn new(options: TableOptions) -> Self {
        Self { options, columns: Vec::new(), printed: Vec::new(), tabs: Tabs::table() }
    }

    pub(crate) fn options(&mut self) -> &mut TableOptions {
        &mut self.options
    }

    /// Adds the rows of a table. A table without columns continues the one before (watches).
    pub(crate) fn add(&mut self, table: &Value) {
        if let Some(columns) = table["columnDefinitions"].as_array().filter(|columns| !columns.is_empty()) {
            self.columns.clone_from(columns);
        }
        let shown: Vec<usize> = (0..self.columns.len())
            .filter(|at| self.options.wide || self.columns[*at]["priority"].as_i64().unwrap_or(0) == 0)
            .collect();
        let rows = table["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        let headers = self.headers(&shown);
        if !self.options.no_headers && !rows.is_empty() && headers != self.printed {
            self.tabs.row(headers.clone());
            self.printed = headers;
        }
        for row in rows {
            let cells = self.cells(row, &shown);
            self.tabs.row(cells);
        }
    }

    /// Takes what was added.
    pub(crate) fn flush(&mut self) -> String {
        self.tabs.flush()
    }

    fn headers(&self, shown: &[usize]) -> Vec<String> {
        let options = &self.options;
        let mut headers = Vec::new();
        if options.event.is_some() {
            headers.push("EVENT".to_owned());
        }
        if options.with_namespace {
            headers.push("NAMESPACE".to_owned());
        }
        let name = |at: &usize| self.columns[*at]["name"].as_str().unwrap_or_default().to_uppercase();
        headers.extend(shown.iter().map(name));
        for label in &options.label_columns {
            headers.push(label.rsplit('/').next().unwrap_or(label).to_uppercase());
        }
        if options.show_labels {
            headers.push("LABELS".to_owned());
        }
        headers
    }

    fn cells(&self, row: &Value, shown: &[usize]) -> Vec<String> {
        let options = &self.options;
        let metadata = &row["object"]["metadata"];
        let mut cells = Vec::new();
        cells.extend(options.event.clone());
        if options.with_namespace {
            cells.push(metadata["namespace"].as_str().unwrap_or_default().to_owned());
        }
        let mut names = 0;
        for at in shown {
            let text = cell(&row["cells"][*at]);
            let is_name =
                self.columns[*at]["format"] == "name" || (*at == 0 && self.columns[0]["name"] == "Name");
            match &options.kind_prefix {
                Some(prefix) if is_name && names == 0 => {
                    names += 1;
                    cells.push(format!("{prefix}/{text}"));
                }
                _ => cells.push(text),
            }
        }
        let labels = metadata["labels"].as_object();
        for label in &options.label_columns {
            let value = labels.and_then(|labels| labels.get(label)).and_then(Value::as_str);
            cells.push(value.unwrap_or_default().to_owned());
        }
        if options.show_labels {
            cells.push(labels_text(labels));
        }
        cells
    }
}

/// A cell on one line, without what would drive a terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    };
    let (line, cut) = match text.find(['\n', '\r', '\u{c}']) {
        Some(end) => (&text[..end], true),
        None => (text.as_str(), false),
    };
    let mut out = line.replace('\u{1b}', "^[").replace('\t', " ");
    if cut {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Value {
        json!({"kind": "Table", "columnDefinitions": [
            {"name": "Name", "format": "name", "priority": 0}, {"name": "Ready", "priority": 0},
            {"name": "Node Name", "priority": 1}],
            "rows": [{"cells": ["web", "1/1", "n1"], "object": {"metadata": {"namespace": "a", "labels": {"k": "v", "b/c": "d"}}}},
                     {"cells": ["db\nx", 3, null], "object": {"metadata": {"namespace": "b"}}}]})
    }

    fn print(options: TableOptions) -> String {
        let mut printer = TablePrinter::new(options);
        printer.add(&table());
        printer.flush()
    }

    #[test]
    fn columns_for_people() {
        assert_eq!(print(TableOptions::default()), "NAME    READY\nweb     1/1\ndb...   3\n");
        let options = TableOptions { wide: true, with_namespace: true, ..TableOptions::default() };
        assert_eq!(
            print(options),
            "NAMESPACE   NAME    READY   NODE NAME\na           web     1/1     n1\nb           db...   3       <nil>\n"
        );
        let options = TableOptions {
            no_headers: true,
            show_labels: true,
            label_columns: vec!["b/c".to_owned()],
            kind_prefix: Some("pod".to_owned()),
            ..TableOptions::default()
        };
        assert_eq!(print(options), "pod/web     1/1   d     b/c=d,k=v\npod/db...   3           <none>\n");
    }
}
