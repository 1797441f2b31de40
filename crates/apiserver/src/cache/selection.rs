//! [`Selection`]: which objects of a key space a list or watch is about.

use api::resource::FieldGetter;
use api::transport::ListOptions;
use api::{ResourceDef, StoredObject, Strategy};
use machinery::{Status, fields, labels};
use std::fmt;
use std::sync::Arc;

/// Which objects of a key space a list or watch is about: a namespace, labels, fields.
pub struct Selection {
    prefix: String,
    labels: Option<labels::Selector>,
    fields: Option<fields::Selector>,
    getters: Vec<(String, FieldGetter)>,
    /// From the stored kind to the one whose fields are selected, where they differ.
    convert: Option<api::resource::Convert>,
    strategy: Arc<dyn Strategy>,
    namespaced: bool,
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selection({:?}, {:?}, {:?})", self.prefix, self.labels, self.fields)
    }
}

impl Selection {
    /// The selection of `options` in `namespace` (empty for all). `stored` is the row whose kind is stored.
    /// 400 for selectors that do not parse or name fields that cannot be selected.
    pub fn new(
        stored: &ResourceDef,
        requested: &ResourceDef,
        namespace: &str,
        options: &ListOptions,
    ) -> Result<Self, Status> {
        let labels = match options.label_selector.as_deref() {
            None | Some("") => None,
            Some(text) => Some(
                labels::Selector::parse(text)
                    .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))?,
            ),
        };
        let fields = match options.field_selector.as_deref() {
            None | Some("") => None,
            Some(text) => Some(fields::Selector::parse(text).map_err(Status::bad_request)?),
        };
        let mut getters = Vec::new();
        for term in fields.iter().flat_map(fields::Selector::terms) {
            let field = term.field.as_str();
            if field == "metadata.name" || (field == "metadata.namespace" && stored.namespaced) {
                continue;
            }
            match requested.selectable.iter().find(|selectable| selectable.path == field) {
                Some(selectable) => getters.push((field.to_owned(), selectable.get.clone())),
                None => {
                    return Err(Status::bad_request(format!(
                        "Unable to find {:?} that match label selector {:?}, field selector {:?}: field label \
                         not supported: {field}",
                        requested.gvr().to_string(),
                        options.label_selector.as_deref().unwrap_or_default(),
                        options.field_selector.as_deref().unwrap_or_default(),
                    )));
                }
            }
        }
        let mut prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let mut fields = fields.filter(|fields| !fields.is_everything());
        // A selection of one name in one namespace is a range of that one key, not a scan.
        if let Some(name) = fields.as_ref().and_then(|fields| fields.requires("metadata.name"))
            && (!namespace.is_empty() || !stored.namespaced)
        {
            prefix.push_str(name);
        }
        if namespace.is_empty()
            && stored.namespaced
            && let Some(namespace) = fields.as_ref().and_then(|fields| fields.requires("metadata.namespace"))
            && !namespace.is_empty()
        {
            prefix = format!("{namespace}/");
        }
        if fields.as_ref().is_some_and(|fields| fields.terms().is_empty()) {
            fields = None;
        }
        Ok(Self {
            prefix,
            labels: labels.filter(|labels| !labels.is_everything()),
            fields,
            getters,
            convert: requested.conversion.as_ref().map(|conversion| conversion.from_stored.clone()),
            strategy: stored.strategy.clone(),
            namespaced: stored.namespaced,
        })
    }

    /// Every selected key starts with this.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether every key with the prefix is selected.
    pub fn is_whole_prefix(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// Whether the object of `key` is selected. An object that cannot be decoded has empty fields.
    pub fn matches(&self, key: &str, object: &StoredObject) -> bool {
        if !key.starts_with(&self.prefix) {
            return false;
        }
        if let Some(labels) = &self.labels
            && !labels.matches(&object.meta().labels)
        {
            return false;
        }
        let Some(fields) = &self.fields else { return true };
        let (namespace, name) = match key.split_once('/') {
            Some((namespace, name)) if self.namespaced => (namespace, name),
            _ => ("", key),
        };
        let decoded = if self.getters.is_empty() { None } else { object.object(self.strategy.as_ref()).ok() };
        let decoded: Option<Arc<dyn api::Object>> = match (&self.convert, decoded) {
            (Some(convert), Some(object)) => convert(object.as_ref()).ok().map(Arc::from),
            (_, decoded) => decoded,
        };
        fields.matches(|field| match field {
            "metadata.name" => name.to_owned(),
            "metadata.namespace" => namespace.to_owned(),
            _ => match (self.getters.iter().find(|(path, _)| path == field), &decoded) {
                (Some((_, get)), Some(object)) => get(object.as_ref()),
                _ => String::new(),
            },
        })
    }
}
