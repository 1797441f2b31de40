//! `storage.k8s.io/v1` CSIStorageCapacity.

use crate::common::{amounts, names, selector};
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(CSIStorageCapacity);

impl Rules for CSIStorageCapacity {
    fn validate_create(&self, errors: &mut FieldErrors) {
        let class = &self.storage_class_name;
        names::report(FieldPath::new("storageClassName"), class, names::dns1123_subdomain(class), errors);
        if let Some(nodes) = &self.node_topology {
            selector::validate(nodes, &FieldPath::new("nodeTopology"), errors);
        }
        for (field, size) in [("capacity", &self.capacity), ("maximumVolumeSize", &self.maximum_volume_size)]
        {
            if let Some(size) = size
                && amounts::parse(size).is_none_or(|size| size.sign() < 0)
            {
                errors.invalid(
                    FieldPath::new(field),
                    amounts::canonical(size),
                    "must be greater than or equal to 0",
                );
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let class = &self.storage_class_name;
        errors.immutable(FieldPath::new("storageClassName"), class, &old.storage_class_name, class);
        let at = FieldPath::new("nodeTopology");
        errors.immutable(at, &self.node_topology, &old.node_topology, json!({}));
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("StorageClassName", "string", "The class whose volumes it tells of."),
            Column::new("Capacity", "string", "How much room is left."),
        ]
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        let capacity = self.capacity.as_ref().map_or_else(|| "<unset>".to_owned(), amounts::canonical);
        vec![name_cell(self), json!(self.storage_class_name), json!(capacity)]
    }
}

/// The resource `csistoragecapacities`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CSIStorageCapacity>()
}
