//! OpenAPI v2 in protobuf (`openapi.v2.Document`), which kubectl up to 1.28 reads for validation and merges.

use super::proto::Kind::{Any, Anys, Bool, Double, Int, Many, Map, One, Text, Texts};
use super::proto::{Layout, Message, fill, map, wrapped};
use super::v2::Sink;
use serde_json::Value;

const SCHEMA: Layout = Layout {
    fields: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("multipleOf", 6, Double),
        ("maximum", 7, Double),
        ("exclusiveMaximum", 8, Bool),
        ("minimum", 9, Double),
        ("exclusiveMinimum", 10, Bool),
        ("maxLength", 11, Int),
        ("minLength", 12, Int),
        ("pattern", 13, Text),
        ("maxItems", 14, Int),
        ("minItems", 15, Int),
        ("uniqueItems", 16, Bool),
        ("maxProperties", 17, Int),
        ("minProperties", 18, Int),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, One(additional)),
        ("type", 22, One(types)),
        ("items", 23, One(items)),
        ("allOf", 24, Many(schema)),
        ("properties", 25, Map(schema)),
        ("example", 30, Any),
    ],
    extensions: 31,
};

const OPERATION: Layout = Layout {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Many(parameter)),
        ("responses", 9, Map(response)),
        ("schemes", 10, Texts),
    ],
    extensions: 13,
};

const PATH_ITEM: Layout = Layout {
    fields: &[
        ("get", 2, One(operation)),
        ("put", 3, One(operation)),
        ("post", 4, One(operation)),
        ("delete", 5, One(operation)),
        ("options", 6, One(operation)),
        ("head", 7, One(operation)),
        ("patch", 8, One(operation)),
        ("parameters", 9, Many(parameter)),
    ],
    extensions: 10,
};

const BODY: Layout = Layout {
    fields: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Bool),
        ("schema", 5, One(schema)),
    ],
    extensions: 6,
};

const QUERY: Layout = Layout {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 6, Text),
        ("format", 7, Text),
        ("uniqueItems", 20, Bool),
    ],
    extensions: 23,
};

const PATH: Layout = Layout {
    fields: &[
        ("required", 1, Bool),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("uniqueItems", 19, Bool),
    ],
    extensions: 22,
};

const RESPONSE: Layout =
    Layout { fields: &[("description", 1, Text), ("schema", 2, One(schema_item))], extensions: 5 };

const API_KEY: Layout = Layout {
    fields: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

fn schema(value: &Value) -> Message {
    fill(&SCHEMA, value)
}

fn schema_item(value: &Value) -> Message {
    wrapped(1, &schema(value))
}

fn additional(value: &Value) -> Message {
    if value.is_object() { wrapped(1, &schema(value)) } else { flag(value) }
}

/// `additionalProperties: true`.
fn flag(value: &Value) -> Message {
    fill(&Layout { fields: &[("flag", 2, Bool)], extensions: 0 }, &serde_json::json!({ "flag": value }))
}

fn types(value: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, value);
    value.as_array().into_iter().flatten().for_each(|item| out.text(1, item));
    out
}

fn items(value: &Value) -> Message {
    let mut out = Message::default();
    match value.as_array() {
        Some(all) => all.iter().for_each(|item| out.message(1, &schema(item))),
        None => out.message(1, &schema(value)),
    }
    out
}

fn operation(value: &Value) -> Message {
    fill(&OPERATION, value)
}

fn parameter(value: &Value) -> Message {
    let inner = match value["in"].as_str() {
        Some("body") => wrapped(1, &fill(&BODY, value)),
        Some("path") => wrapped(2, &wrapped(4, &fill(&PATH, value))),
        _ => wrapped(2, &wrapped(3, &fill(&QUERY, value))),
    };
    wrapped(1, &inner)
}

fn response(value: &Value) -> Message {
    wrapped(1, &fill(&RESPONSE, value))
}

fn security_definition(value: &Value) -> Message {
    wrapped(2, &fill(&API_KEY, value))
}

fn texts(value: &Value) -> Message {
    fill(&Layout { fields: &[("value", 1, Texts)], extensions: 0 }, &serde_json::json!({ "value": value }))
}

fn requirement(value: &Value) -> Message {
    map(1, value, texts)
}

/// Writes the pieces of a document.
#[derive(Default)]
pub(super) struct Writer {
    paths: Message,
    definitions: Message,
}

impl Sink for Writer {
    fn path(&mut self, path: &str, item: &Value) {
        self.paths.named(2, path, &fill(&PATH_ITEM, item));
    }

    fn definition(&mut self, name: &str, definition: &Value) {
        self.definitions.named(1, name, &schema(definition));
    }
}

impl Writer {
    /// The document; `head` has everything that is not a path or definition.
    pub(super) fn finish(self, head: &Value) -> Vec<u8> {
        let info = Layout { fields: &[("title", 1, Text), ("version", 2, Text)], extensions: 7 };
        let mut out = Message::default();
        out.text(1, &head["swagger"]);
        out.message(2, &fill(&info, &head["info"]));
        out.message(8, &self.paths);
        out.message(9, &self.definitions);
        for one in head["security"].as_array().into_iter().flatten() {
            out.message(12, &requirement(one));
        }
        out.message(13, &map(1, &head["securityDefinitions"], security_definition));
        out.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_small_document() {
        let mut writer = Writer::default();
        writer.definition("A", &json!({"type": "string", "x-k": 1}));
        writer
            .path("/a", &json!({"get": {"operationId": "x", "parameters": [{"in": "query", "name": "q"}]}}));
        let schema = [
            &[0xb2, 1, 8, 0x0a, 6][..],
            b"string",
            &[0xfa, 1, 10, 0x0a, 3],
            b"x-k",
            &[0x12, 3, 0x12, 1],
            b"1",
        ];
        let schema = schema.concat();
        let named = [&[0x0a, 1][..], b"A", &[0x12, u8::try_from(schema.len()).unwrap()], &schema].concat();
        let definitions = [&[0x0a, u8::try_from(named.len()).unwrap()][..], &named].concat();
        // Operation: id 5 is `x`; parameter 8 is an item 1 of non-body 2, query 3: in 2, name 4.
        let query = [&[0x12, 5][..], b"query", &[0x22, 1], b"q"].concat();
        let operation = [&[0x2a, 1][..], b"x", &[0x42, 16, 0x0a, 14, 0x12, 12, 0x1a, 10], &query].concat();
        let item = [&[0x12, u8::try_from(operation.len()).unwrap()][..], &operation].concat();
        let path = [&[0x0a, 2][..], b"/a", &[0x12, u8::try_from(item.len()).unwrap()], &item].concat();
        let paths = [&[0x12, u8::try_from(path.len()).unwrap()][..], &path].concat();
        let whole = [
            &[0x0a, 3][..],
            b"2.0",
            &[0x12, 0, 0x42, u8::try_from(paths.len()).unwrap()],
            &paths,
            &[0x4a, u8::try_from(definitions.len()).unwrap()],
            &definitions,
            &[0x6a, 0],
        ];
        assert_eq!(writer.finish(&json!({"swagger": "2.0"})), whole.concat());
    }
}
