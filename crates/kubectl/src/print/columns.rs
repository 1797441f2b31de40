//! `-o custom-columns`: a table of the user's own columns.

use super::tabs::Tabs;
use crate::error::{Result, fail, message};
use machinery::jsonpath::{JsonPath, display};
use serde_json::Value;

/// The user's own columns.
#[derive(Clone, Debug)]
pub(crate) struct CustomColumns {
    columns: Vec<(String, JsonPath)>,
    headers: bool,
}

impl CustomColumns {
    /// `NAME:.metadata.name,IMAGE:.spec.containers[*].image`.
    pub(crate) fn parse(spec: &str, no_headers: bool) -> Result<Self> {
        if spec.is_empty() {
            return fail("custom-columns format specified but no custom columns given");
        }
        let mut columns = Vec::new();
        for column in split(spec) {
            let Some((header, path)) = column.split_once(':').filter(|(_, path)| !path.is_empty()) else {
                return fail(format!(
                    "unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>"
                ));
            };
            columns.push((header.to_owned(), Self::path(path)?));
        }
        Ok(Self { columns, headers: !no_headers })
    }

    /// Headers in the first line, paths in the second.
    pub(crate) fn parse_file(text: &str, no_headers: bool) -> Result<Self> {
        let mut lines = text.lines();
        let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
            return fail("expected two lines, a line of headers and a line of paths");
        };
        let (headers, paths): (Vec<_>, Vec<_>) =
            (headers.split_whitespace().collect(), paths.split_whitespace().collect());
        if headers.len() != paths.len() {
            return fail(format!(
                "number of headers ({}) and paths ({}) don't match",
                headers.len(),
                paths.len()
            ));
        }
        let columns = headers
            .into_iter()
            .zip(paths)
            .map(|(header, path)| Ok((header.to_owned(), Self::path(path)?)))
            .collect::<Result<_>>()?;
        Ok(Self { columns, headers: !no_headers })
    }

    fn path(path: &str) -> Result<JsonPath> {
        JsonPath::parse_relaxed(path).map_err(|error| message(error.to_string()))
    }

    /// Prints an object, or the items of a list.
    pub(crate) fn print(&self, value: &Value) -> Result<String> {
        let mut tabs = Tabs::table();
        if self.headers {
            tabs.row(self.columns.iter().map(|(header, _)| header.clone()));
        }
        match value.get("items").and_then(Value::as_array) {
            Some(items) => {
                for item in items {
                    tabs.row(self.cells(item)?);
                }
            }
            None => tabs.row(self.cells(value)?),
        }
        Ok(tabs.flush())
    }

    fn cells(&self, value: &Value) -> Result<Vec<String>> {
        self.columns
            .iter()
            .map(|(_, path)| {
                let found = path.find(value).map_err(|error| message(error.to_string()))?;
                let words: Vec<String> = found
                    .into_iter()
                    .map(|value| if value.is_null() { "<none>".to_owned() } else { display(value) })
                    .collect();
                Ok(if words.is_empty() { "<none>".to_owned() } else { words.join(",") })
            })
            .collect()
    }
}

/// Splits at commas that stand outside of brackets.
fn split(spec: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0_usize, 0, Vec::new());
    for (at, character) in spec.char_indices() {
        match character {
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                out.push(&spec[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&spec[start..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_of_ones_own() {
        let columns =
            CustomColumns::parse("NAME:.metadata.name,IMAGES:.spec.containers[*].image,X:.x", false).unwrap();
        let pod =
            json!({"metadata": {"name": "web"}, "spec": {"containers": [{"image": "a"}, {"image": "b"}]}});
        assert_eq!(columns.print(&pod).unwrap(), "NAME   IMAGES   X\nweb    a,b      <none>\n");
        assert!(CustomColumns::parse("NAME", false).is_err());
    }
}
