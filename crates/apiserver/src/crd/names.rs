//! Names of custom resources: who gets them when two definitions of a group want the same, and the conditions that
//! say so.

use api::common::{items, text};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition, CustomResourceDefinitionNames,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;

/// Names that other definitions of the same group hold.
struct Taken<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

fn taken<'a>(crd: &CustomResourceDefinition, all: &'a [Arc<CustomResourceDefinition>]) -> Taken<'a> {
    let mut taken = Taken { resources: HashSet::new(), kinds: HashSet::new() };
    for other in all {
        if other.metadata.name == crd.metadata.name || other.spec.group != crd.spec.group {
            continue;
        }
        let Some(names) = other.status.as_ref().and_then(|status| status.accepted_names.as_ref()) else {
            continue;
        };
        taken.resources.insert(&names.plural);
        taken.resources.insert(text(&names.singular));
        taken.resources.extend(items(&names.short_names).iter().map(String::as_str));
        taken.kinds.insert(&names.kind);
        taken.kinds.insert(text(&names.list_kind));
    }
    taken
}

/// What a definition gets of what it asks for, and the reason and message if not all.
fn accept(
    crd: &CustomResourceDefinition,
    all: &[Arc<CustomResourceDefinition>],
) -> (CustomResourceDefinitionNames, Option<(&'static str, String)>) {
    let taken = taken(crd, all);
    let wanted = &crd.spec.names;
    let held = crd.status.as_ref().and_then(|status| status.accepted_names.clone()).unwrap_or_default();
    let mut accepted = CustomResourceDefinitionNames { categories: wanted.categories.clone(), ..held };
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    if taken.resources.contains(wanted.plural.as_str()) {
        conflict = Some(("PluralConflict", in_use(&wanted.plural)));
    } else {
        accepted.plural.clone_from(&wanted.plural);
    }
    if taken.resources.contains(text(&wanted.singular)) {
        conflict = Some(("SingularConflict", in_use(text(&wanted.singular))));
    } else {
        accepted.singular.clone_from(&wanted.singular);
    }
    match items(&wanted.short_names).iter().find(|name| taken.resources.contains(name.as_str())) {
        Some(name) => conflict = Some(("ShortNamesConflict", in_use(name))),
        None => accepted.short_names.clone_from(&wanted.short_names),
    }
    if taken.kinds.contains(wanted.kind.as_str()) {
        conflict = Some(("KindConflict", in_use(&wanted.kind)));
    } else {
        accepted.kind.clone_from(&wanted.kind);
    }
    if taken.kinds.contains(text(&wanted.list_kind)) {
        conflict = Some(("ListKindConflict", in_use(text(&wanted.list_kind))));
    } else {
        accepted.list_kind.clone_from(&wanted.list_kind);
    }
    (accepted, conflict)
}

/// Sets a condition; its time changes only with its status.
pub(super) fn set_condition(
    crd: &mut CustomResourceDefinition,
    kind: &str,
    status: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let conditions = crd.status.get_or_insert_default().conditions.get_or_insert_default();
    let text = if status { "True" } else { "False" };
    let new = |since| CustomResourceDefinitionCondition {
        type_: kind.to_owned(),
        status: text.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: since,
        ..CustomResourceDefinitionCondition::default()
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        Some(known) => {
            let since =
                if known.status == text { known.last_transition_time.clone() } else { Some(Time(now)) };
            *known = CustomResourceDefinitionCondition {
                observed_generation: known.observed_generation,
                ..new(since)
            };
        }
        None => conditions.push(new(Some(Time(now)))),
    }
}

/// Whether a definition has all its names.
pub(super) fn accepted(crd: &CustomResourceDefinition) -> bool {
    api::apiextensions::custom_resource_definition::has_condition(crd, "NamesAccepted")
}

/// The definition with its status as it should be; `None` when nothing changes.
pub(super) fn plan(
    crd: &CustomResourceDefinition,
    all: &[Arc<CustomResourceDefinition>],
    now: Timestamp,
) -> Option<CustomResourceDefinition> {
    let mut planned = crd.clone();
    let (accepted, conflict) = accept(crd, all);
    planned.status.get_or_insert_default().accepted_names = Some(accepted);
    let established = api::apiextensions::custom_resource_definition::is_established(crd);
    match conflict {
        Some((reason, message)) => {
            set_condition(&mut planned, "NamesAccepted", false, reason, &message, now);
            if !established {
                let message = "not all names are accepted";
                set_condition(&mut planned, "Established", false, "NotAccepted", message, now);
            }
        }
        None => {
            set_condition(&mut planned, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            if !established {
                let message = "the initial names have been accepted";
                set_condition(&mut planned, "Established", true, "InitialNamesAccepted", message, now);
            }
        }
    }
    super::approval::judge(&mut planned, now);
    (planned.status != crd.status).then_some(planned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn crd(plural: &str, kind: &str) -> CustomResourceDefinition {
        let json = format!(
            r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition",
               "metadata":{{"name":"{plural}.x.io"}},"spec":{{"group":"x.io","scope":"Namespaced",
               "names":{{"plural":"{plural}","singular":"{plural}-one","kind":"{kind}","listKind":"{kind}List"}},
               "versions":[{{"name":"v1","served":true,"storage":true}}]}}}}"#
        );
        CustomResourceDefinition::from_json(json.as_bytes()).unwrap()
    }

    fn condition(crd: &CustomResourceDefinition, kind: &str) -> (String, String) {
        let conditions = crd.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let found = conditions.iter().find(|c| c.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone().unwrap())
    }

    #[test]
    fn the_first_gets_the_name_and_the_second_waits() {
        let now = Timestamp::UNIX_EPOCH;
        let first = Arc::new(plan(&crd("foos", "Foo"), &[], now).unwrap());
        assert_eq!(condition(&first, "Established").0, "True");
        assert_eq!(plan(&first, &[], now), None);
        let second = plan(&crd("bars", "Foo"), &[first], now).unwrap();
        assert_eq!(condition(&second, "NamesAccepted"), ("False".to_owned(), "ListKindConflict".to_owned()));
        assert_eq!(condition(&second, "Established").0, "False");
        // Once the first is gone, the second gets its names.
        let second = plan(&second, &[], now).unwrap();
        assert_eq!(condition(&second, "Established").0, "True");
    }
}
