//! How objects may be called: the checks of [`machinery::names`] in the form that a resource's row carries.

pub use machinery::names::{
    Messages, c_identifier, config_map_key, dns1035_label, dns1123_label, dns1123_subdomain, env_var_name,
    inclusive_range, label_value, port_name, port_number, qualified_name, validate_annotations,
    validate_labels, wildcard_dns1123_subdomain,
};
use machinery::{FieldErrors, FieldPath};

/// Checks the name of an object, or the prefix of a generated one.
pub type NameCheck = fn(&str, bool) -> Messages;

/// A prefix may end in a dash that a generated suffix will follow; for the check it becomes a letter.
fn masked(name: &str, prefix: bool) -> String {
    match name.strip_suffix('-') {
        Some(base) if prefix && !base.is_empty() => format!("{base}a"),
        _ => name.to_owned(),
    }
}

/// A DNS subdomain: most kinds.
pub fn subdomain(name: &str, prefix: bool) -> Messages {
    dns1123_subdomain(&masked(name, prefix))
}

/// A DNS label: namespaces.
pub fn label(name: &str, prefix: bool) -> Messages {
    dns1123_label(&masked(name, prefix))
}

/// A DNS label that starts with a letter: services.
pub fn service(name: &str, prefix: bool) -> Messages {
    dns1035_label(&masked(name, prefix))
}

/// Anything that can stand in a URL path: RBAC kinds.
pub fn path_segment(name: &str, prefix: bool) -> Messages {
    let messages = machinery::names::path_segment(name);
    // A prefix cannot be "." or "..", for more characters follow.
    if prefix { messages.into_iter().filter(|m| !m.starts_with("may not be")).collect() } else { messages }
}

/// Any name at all: kinds whose names other rules tie down.
pub fn anything(_: &str, _: bool) -> Messages {
    Messages::new()
}

/// Adds one `Invalid` error per message.
pub fn report(path: FieldPath, value: &str, messages: Messages, errors: &mut FieldErrors) {
    for message in messages {
        errors.invalid(path.clone(), value, message);
    }
}
