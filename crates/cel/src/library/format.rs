//! Named formats (Kubernetes' library): `format.dns1123Label().validate(text)`.

use super::none;
use crate::opaque::Opaque;
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use machinery::names;

/// A format: what is wrong with a text.
#[derive(Debug)]
pub struct Format {
    name: &'static str,
    check: fn(&str) -> Vec<String>,
}

fn subdomain(text: &str) -> Vec<String> {
    names::dns1123_subdomain(text)
}

fn label(text: &str) -> Vec<String> {
    names::dns1123_label(text)
}

fn label_1035(text: &str) -> Vec<String> {
    names::dns1035_label(text)
}

fn qualified(text: &str) -> Vec<String> {
    names::qualified_name(text)
}

fn label_value(text: &str) -> Vec<String> {
    names::label_value(text)
}

/// A prefix stands for names that get something appended.
fn prefix(text: &str, check: fn(&str) -> Vec<String>) -> Vec<String> {
    check(&match text.strip_suffix('-') {
        Some(rest) => format!("{rest}a"),
        None => text.to_owned(),
    })
}

fn when(good: bool, message: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![message.to_owned()] }
}

fn uri(text: &str) -> Vec<String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let absolute = scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    when(absolute || text.starts_with('/'), "invalid URI for request")
}

fn uuid(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    when(shaped, "does not match the UUID format")
}

fn byte(text: &str) -> Vec<String> {
    use base64::Engine;
    when(base64::engine::general_purpose::STANDARD.decode(text).is_ok(), "invalid base64")
}

fn date(text: &str) -> Vec<String> {
    when(crate::time::parse_date(text).is_some(), "invalid date")
}

fn datetime(text: &str) -> Vec<String> {
    when(crate::time::parse_timestamp(text).is_some(), "invalid datetime")
}

static FORMATS: &[Format] = &[
    Format { name: "dns1123Label", check: label },
    Format { name: "dns1123Subdomain", check: subdomain },
    Format { name: "dns1035Label", check: label_1035 },
    Format { name: "dns1123LabelPrefix", check: |text| prefix(text, label) },
    Format { name: "dns1123SubdomainPrefix", check: |text| prefix(text, subdomain) },
    Format { name: "dns1035LabelPrefix", check: |text| prefix(text, label_1035) },
    Format { name: "qualifiedName", check: qualified },
    Format { name: "labelValue", check: label_value },
    Format { name: "uri", check: uri },
    Format { name: "uuid", check: uuid },
    Format { name: "byte", check: byte },
    Format { name: "date", check: date },
    Format { name: "datetime", check: datetime },
];

fn named<'a>(name: &str) -> Option<Val<'a>> {
    FORMATS.iter().find(|format| format.name == name).map(|format| Val::opaque(Opaque::Format(format)))
}

macro_rules! formats {
    ($($name:literal $full:literal),* $(,)?) => {
        &[
            $(row($full, &["() -> format"], Cost::Fixed(1), |_, _| named($name).map_or_else(none, Ok)),)*
            row("format.named", &["(string) -> optional(format)"], Cost::Fixed(1), |_, args| match args {
                [Val::String(name)] => Ok(named(name).map_or(Val::Optional(None), Val::some)),
                _ => none(),
            }),
            row("validate", &["format.(string) -> optional(list(string))"], Cost::Text(1, 2), |_, args| {
                let [Val::Opaque(format), Val::String(text)] = args else { return none() };
                let Opaque::Format(format) = &**format else { return none() };
                let wrong = (format.check)(text);
                if wrong.is_empty() {
                    return Ok(Val::Optional(None));
                }
                Ok(Val::some(Val::list(wrong.into_iter().map(Val::owned).collect())))
            }),
        ]
    };
}

pub(super) static TABLE: &[Function] = formats![
    "dns1123Label" "format.dns1123Label",
    "dns1123Subdomain" "format.dns1123Subdomain",
    "dns1035Label" "format.dns1035Label",
    "dns1123LabelPrefix" "format.dns1123LabelPrefix",
    "dns1123SubdomainPrefix" "format.dns1123SubdomainPrefix",
    "dns1035LabelPrefix" "format.dns1035LabelPrefix",
    "qualifiedName" "format.qualifiedName",
    "labelValue" "format.labelValue",
    "uri" "format.uri",
    "uuid" "format.uuid",
    "byte" "format.byte",
    "date" "format.date",
    "datetime" "format.datetime",
];
