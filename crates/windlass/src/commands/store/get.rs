//! `windlass store get`.

use super::ls::{each, range};
use super::place::Place;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use machinery::codec;
use std::io::Write;
use store::admin::rpc::KeyValue;

/// Flags of `windlass store get`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store get /registry/namespaces/default
  windlass store get --prefix /registry/configmaps/kube-system/
  windlass store get --print-value json /registry/pods/default/web
  windlass store get --print-value raw /registry/pods/default/web > web.json   the bytes, nothing else
  windlass store get --revision 1200 /registry/pods/default/web                as it was

Values are printed as they are stored, without going through the API server: Secrets too.")]
pub(crate) struct GetOptions {
    /// The key
    key: String,
    #[command(flatten)]
    place: Place,
    /// All keys that start with it
    #[arg(long)]
    prefix: bool,
    /// How to print values
    #[arg(long, value_name = "FORMAT", default_value = "yaml")]
    print_value: Format,
    /// At this revision [default: the latest]
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    revision: i64,
    /// At most so many keys; 0 is all
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A YAML document per key, with key and revisions as a comment
    Yaml,
    /// A JSON object per key and line, with key, revisions and value
    Json,
    /// The bytes of the values
    Raw,
}

/// Prints keys; that there are none is a failure, unless a prefix was asked for.
pub(crate) async fn run(options: &GetOptions) -> Result<()> {
    let mut door = options.place.open().await?;
    let mut request = range(options.key.as_bytes(), options.prefix, options.revision);
    request.limit = options.limit;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut found = 0_u64;
    each(&mut door.client, request, |part| {
        for kv in part.kvs {
            found += 1;
            match options.print_value {
                Format::Yaml => write!(out, "{}", yaml(&kv, found > 1))?,
                Format::Json => writeln!(out, "{}", json(&kv))?,
                Format::Raw => out.write_all(&kv.value)?,
            }
        }
        Ok(())
    })
    .await?;
    out.flush()?;
    if found == 0 && !options.prefix {
        bail!(
            "there is no key {:?}; 'windlass store ls' lists keys, --prefix finds those that start so",
            options.key
        );
    }
    Ok(())
}

/// The value as a tree, if it is JSON.
fn tree(value: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(value).ok()
}

/// A value that is no JSON: as text where it is text, else in base64.
fn opaque(value: &[u8]) -> (&'static str, String) {
    use base64::Engine;
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => ("text", text.to_owned()),
        _ => ("base64", base64::engine::general_purpose::STANDARD.encode(value)),
    }
}

fn yaml(kv: &KeyValue, is_next: bool) -> String {
    let key = String::from_utf8_lossy(&kv.key);
    let mut out = if is_next { "---\n".to_owned() } else { String::new() };
    out += &format!(
        "# {key}\n# created at {}, changed at {}, version {}, lease {:x}\n",
        kv.create_revision, kv.mod_revision, kv.version, kv.lease
    );
    let printed = tree(&kv.value).and_then(|tree| codec::yaml::print(&tree).ok());
    match printed {
        Some(document) => out += &document,
        None => {
            let (encoding, text) = opaque(&kv.value);
            out += &format!("# {} bytes that are not JSON, as {encoding}:\n{text}\n", kv.value.len());
        }
    }
    out
}

fn json(kv: &KeyValue) -> serde_json::Value {
    let mut printed = serde_json::json!({
        "key": String::from_utf8_lossy(&kv.key),
        "createRevision": kv.create_revision,
        "modRevision": kv.mod_revision,
        "version": kv.version,
        "lease": kv.lease,
    });
    let (name, value) = match tree(&kv.value) {
        Some(tree) => ("value", tree),
        None => {
            let (encoding, text) = opaque(&kv.value);
            (if encoding == "text" { "value" } else { "valueBase64" }, text.into())
        }
    };
    printed[name] = value;
    printed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(value: &'static [u8]) -> KeyValue {
        KeyValue {
            key: "/registry/x".into(),
            value: value.into(),
            create_revision: 2,
            mod_revision: 3,
            version: 2,
            lease: 0,
        }
    }

    #[test]
    fn values_of_any_kind_are_printed() {
        let object = kv(br#"{"kind":"X","size":1}"#);
        let comment = "# /registry/x\n# created at 2, changed at 3, version 2, lease 0\n";
        assert_eq!(yaml(&object, false), format!("{comment}kind: X\nsize: 1\n"));
        assert_eq!(json(&object)["value"]["kind"], "X");
        assert_eq!(json(&kv(b"plain"))["value"], "plain");
        assert_eq!(json(&kv(b"k8s\0\xff"))["valueBase64"], "azhzAP8=");
        assert!(yaml(&kv(b"k8s\0\xff"), true).starts_with("---\n# /registry/x\n"));
        assert!(yaml(&kv(b"k8s\0\xff"), true).ends_with("as base64:\nazhzAP8=\n"));
    }
}
