//! `set image`, `set resources`, `set serviceaccount`: what stands in the spec of pods.

use super::{Thing, matching, spec_of};
use crate::error::{Error, Result, fail, message};
use crate::flags::{list, split, text, value};
use crate::select::Found;
use clap::ArgMatches;
use serde_json::{Map, Value};

pub(super) const IMAGE: Thing = Thing {
    name: "image",
    alias: "",
    about: "Change images: CONTAINER=IMAGE",
    words: "TYPE NAME | TYPE/NAME  CONTAINER=IMAGE",
    arguments: |command| command,
    done: "image updated",
    is_change: |word| word.contains('='),
    last: 0,
    change: |_, _, changes, object| Box::pin(async move { images(changes, object) }),
};

pub(super) const RESOURCES: Thing = Thing {
    name: "resources",
    alias: "",
    about: "Change requests and limits",
    words: "TYPE NAME | TYPE/NAME",
    arguments: |command| {
        command
            .arg(list("limits", "RESOURCE=AMOUNT", "Limits"))
            .arg(list("requests", "RESOURCE=AMOUNT", "Requests"))
            .arg(value("containers", "NAMES", "Which containers").short('c').default_value("*"))
    },
    done: "resource requirements updated",
    is_change: |_| false,
    last: 0,
    change: |_, matches, _, object| Box::pin(async move { resources(matches, object) }),
};

pub(super) const SERVICE_ACCOUNT: Thing = Thing {
    name: "serviceaccount",
    alias: "sa",
    about: "Change the service account of pods",
    words: "TYPE NAME | TYPE/NAME  ACCOUNT",
    arguments: |command| command,
    done: "serviceaccount updated",
    is_change: |_| false,
    last: 1,
    change: |_, _, changes, object| {
        Box::pin(async move {
            let Some(account) = changes.first() else { return fail("serviceaccount is required") };
            spec_of(object)?["serviceAccountName"] = account.as_str().into();
            Ok(true)
        })
    },
};

fn images(changes: &[String], object: &mut Found) -> Result<bool> {
    if changes.is_empty() {
        return fail("at least one image update is required");
    }
    let spec = spec_of(object)?;
    let mut errors = Vec::new();
    for change in changes {
        let (wanted, image) = change.split_once('=').unwrap_or((change, ""));
        if image.is_empty() {
            return fail(format!("invalid image={image:?}: must not be empty"));
        }
        let found = matching(spec, &["initContainers", "containers"], wanted);
        if found.is_empty() {
            errors.push(message(format!("unable to find container named {wanted:?}")));
        }
        for (list, at) in found {
            spec[list][at]["image"] = image.into();
        }
    }
    Error::all(errors).map(|()| true)
}

fn resources(matches: &ArgMatches, object: &mut Found) -> Result<bool> {
    let mut wanted = Map::new();
    for field in ["limits", "requests"] {
        let mut map = Map::new();
        for pair in split(matches, field) {
            let Some((resource, amount)) = pair.split_once('=') else {
                return fail(format!("invalid argument syntax {pair:?}, expected <resource>=<value>"));
            };
            let amount =
                machinery::quantity::canonical(amount).map_err(|error| message(error.to_string()))?;
            map.insert(resource.to_owned(), amount.into());
        }
        if !map.is_empty() {
            wanted.insert(field.to_owned(), Value::Object(map));
        }
    }
    if wanted.is_empty() {
        return fail("you must specify an update to requests or limits (in the form of --requests/--limits)");
    }
    let pattern = text(matches, "containers").unwrap_or("*");
    let spec = spec_of(object)?;
    let found: Vec<_> = pattern.split(',').flat_map(|one| matching(spec, &["containers"], one)).collect();
    if found.is_empty() {
        return fail(format!("unable to find container named {pattern}"));
    }
    for (list, at) in found {
        for (field, amounts) in &wanted {
            let place = &mut spec[list][at]["resources"][field.as_str()];
            for (resource, amount) in amounts.as_object().into_iter().flatten() {
                place[resource.as_str()] = amount.clone();
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::deployment;
    use super::*;

    #[test]
    fn images_are_changed_where_they_are_found() {
        let mut object = deployment();
        let changes = ["side=c".to_owned(), "none=d".to_owned()];
        let said = images(&changes, &mut object).unwrap_err().text();
        assert_eq!(said, "error: unable to find container named \"none\"");
        assert_eq!(object.value["spec"]["template"]["spec"]["containers"][1]["image"], "c");
        images(&["*=x".to_owned()], &mut object).unwrap();
        assert_eq!(object.value["spec"]["template"]["spec"]["containers"][0]["image"], "x");
    }
}
