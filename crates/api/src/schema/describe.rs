//! What the documentation says about the types of the table and their fields, for OpenAPI and `kubectl explain`.
//!
//! The words are upstream's and stand in no file of this repository: `build.rs` takes them out of the sources of
//! k8s-openapi. They lie in the program file as they are, 0.8 MiB that the system reads when somebody asks and may
//! forget again; an index is made for each use and dropped with it.
//!
//! Deliberately absent: lists (`PodList`), which k8s-openapi has as one generic type.

use std::collections::HashMap;

const TEXT: &str = include_str!(concat!(env!("OUT_DIR"), "/descriptions"));
/// Changes whenever the descriptions or the tables do.
pub const FINGERPRINT: &str = env!("WINDLASS_SCHEMA_FINGERPRINT");
/// Separates the parts of a record; see `build.rs`.
const US: char = '\u{1f}';
/// Ends a record.
const RS: char = '\u{1e}';

/// An index of all descriptions. Making one takes some hundred microseconds.
#[derive(Debug)]
pub struct Descriptions(HashMap<&'static str, &'static str>);

/// The descriptions of one type.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// Of the type itself.
    pub text: &'static str,
    fields: &'static str,
}

impl Default for Descriptions {
    fn default() -> Self {
        Self(TEXT.split_terminator(RS).filter_map(|record| record.split_once(US)).collect())
    }
}

impl Descriptions {
    /// The descriptions of the type with a published name such as `io.k8s.api.core.v1.Pod`.
    pub fn of(&self, name: &str) -> Option<Described> {
        let rest = self.0.get(name)?;
        let (text, fields) = rest.split_once(US).unwrap_or((rest, ""));
        Some(Described { text, fields })
    }
}

impl Described {
    /// The description of a field.
    pub fn field(&self, name: &str) -> Option<&'static str> {
        self.fields
            .split(US)
            .find_map(|field| field.split_once('\t').filter(|(known, _)| *known == name))
            .map(|(_, text)| text)
    }
}
