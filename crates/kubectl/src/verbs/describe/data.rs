//! Namespaces, config maps and secrets.

use super::quota;
use super::writer::{Writer, list, text};
use crate::error::Result;
use crate::session::Session;
use base64::Engine;
use serde_json::Value;

fn sorted(value: &Value) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = value.as_object().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn decoded_length(value: &Value) -> usize {
    base64::engine::general_purpose::STANDARD.decode(text(value)).map_or(0, |bytes| bytes.len())
}

pub(super) async fn config_map(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    out.line(0, "");
    out.line(0, "Data");
    out.line(0, "====");
    for (key, value) in sorted(&object["data"]) {
        out.line(0, &format!("{key}:"));
        out.line(0, "----");
        out.line(0, &text(value));
        out.line(0, "");
    }
    out.line(0, "");
    out.line(0, "BinaryData");
    out.line(0, "====");
    for (key, value) in sorted(&object["binaryData"]) {
        out.line(0, &format!("{key}: {} bytes", decoded_length(value)));
    }
    out.line(0, "");
    Ok(())
}

/// Shows how long values are, never the values.
pub(super) async fn secret(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    out.line(0, "");
    out.field(0, "Type", &text(&object["type"]));
    out.line(0, "");
    out.line(0, "Data");
    out.line(0, "====");
    for (key, value) in sorted(&object["data"]) {
        out.line(0, &format!("{key}:\t{} bytes", decoded_length(value)));
    }
    Ok(())
}

pub(super) async fn namespace(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let name = text(&object["metadata"]["name"]);
    out.field(0, "Name", &name);
    out.labels(object);
    out.field(0, "Status", &text(&object["status"]["phase"]));
    out.conditions(
        object,
        &[
            ("Type", "type"),
            ("Status", "status"),
            ("LastTransitionTime", "lastTransitionTime"),
            ("Reason", "reason"),
            ("Message", "message"),
        ],
    );
    let rest = session.rest().await?;
    let quotas =
        rest.get(&session.discovery().await?.find("resourcequotas")?.path(Some(&name), None)).await?;
    quota::of_namespace(out, list(&quotas["items"]));
    let ranges = rest.get(&session.discovery().await?.find("limitranges")?.path(Some(&name), None)).await?;
    quota::ranges_of_namespace(out, list(&ranges["items"]));
    Ok(())
}
