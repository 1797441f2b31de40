//! Conflicts between managers, in upstream's words.

use super::managed::Manager;
use super::set::FieldSet;
use crate::status::{Reason, Status, StatusCause, StatusDetails};
use std::collections::BTreeMap;

/// 409 that names every field another manager owns with another value.
pub(super) fn status(conflicts: &BTreeMap<Manager, FieldSet>) -> Status {
    let mut causes = Vec::new();
    let mut messages = Vec::new();
    for (manager, set) in conflicts {
        let paths = set.paths();
        for path in &paths {
            causes.push(StatusCause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", manager.print()),
                field: path.clone(),
            });
        }
        let lines: Vec<String> = paths.iter().map(|path| format!("- {path}")).collect();
        messages.push(format!("conflicts with {}:\n{}", manager.print(), lines.join("\n")));
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), messages.join("\n")),
    };
    Status::new(409, Reason::Conflict, message)
        .with_details(StatusDetails { causes, ..StatusDetails::default() })
}
