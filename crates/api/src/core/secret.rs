//! `v1` Secret: types and the keys that they need, `stringData`, immutability.

use crate::common::{default_text, names, text};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(Secret);

/// Bytes that all values may have together.
const MAX_SIZE: usize = 1024 * 1024;
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

impl Rules for Secret {
    fn set_defaults(&mut self) {
        default_text(&mut self.type_, "Opaque");
        // `stringData` is for writing only.
        if let Some(texts) = self.string_data.take() {
            let data = self.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
        }
    }

    fn prepare_update(&mut self, old: &Self) {
        if text(&self.type_).is_empty() {
            self.type_.clone_from(&old.type_);
        }
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let mut size = 0;
        for (key, value) in self.data.iter().flatten() {
            size += value.0.len();
            let at = FieldPath::new("data").key(key);
            names::report(at, key, names::config_map_key(key), errors);
        }
        if size > MAX_SIZE {
            errors.too_long(FieldPath::new("data"), MAX_SIZE);
        }
        validate_type(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let (new_type, old_type) = (text(&self.type_), text(&old.type_));
        errors.immutable(FieldPath::new("type"), &new_type, &old_type, new_type);
        if old.immutable == Some(true) {
            const FROZEN: &str = "field is immutable when `immutable` is set";
            if self.immutable != Some(true) {
                errors.forbidden(FieldPath::new("immutable"), FROZEN);
            }
            if self.data != old.data {
                errors.forbidden(FieldPath::new("data"), FROZEN);
            }
        }
        self.validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Type", "string", "What the secret is for."),
            Column::new("Data", "string", "How many keys it has."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let keys = self.data.as_ref().map_or(0, |data| data.len());
        vec![name_cell(self), json!(text(&self.type_)), json!(keys), age_cell(self, now)]
    }
}

/// Reports keys that a type needs and are missing or malformed.
fn validate_type(secret: &Secret, errors: &mut FieldErrors) {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let mut json_file = |key: &str| match data(key) {
        None => errors.required(FieldPath::new("data").key(key), ""),
        Some(file) => {
            if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&file.0) {
                // The value itself is a secret.
                errors.invalid(
                    FieldPath::new("data").key(key),
                    "<secret contents redacted>",
                    error.to_string(),
                );
            }
        }
    };
    match text(&secret.type_) {
        "kubernetes.io/dockercfg" => json_file(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_file(".dockerconfigjson"),
        "kubernetes.io/service-account-token" => {
            let annotations = secret.metadata.annotations.as_ref();
            if annotations.and_then(|a| a.get(SERVICE_ACCOUNT_NAME)).is_none_or(String::is_empty) {
                let path = FieldPath::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
                errors.required(path, "");
            }
        }
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => {
            errors.required(FieldPath::new("data").key("username"), "");
            errors.required(FieldPath::new("data").key("password"), "");
        }
        "kubernetes.io/ssh-auth" if data("ssh-privatekey").is_none_or(|key| key.0.is_empty()) => {
            errors.required(FieldPath::new("data").key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if data(key).is_none() {
                    errors.required(FieldPath::new("data").key(key), "");
                }
            }
        }
        _ => {}
    }
}

/// The resource `secrets`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Secret>().select::<Secret>("type", |secret| text(&secret.type_).to_owned())
}
