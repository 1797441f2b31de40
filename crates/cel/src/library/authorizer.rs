//! Authorization checks (Kubernetes' library): `authorizer.group('').resource('pods').check('get').allowed()`.

use super::{fail, none};
use crate::error::EvalError;
use crate::opaque::{Authorize, Check, Opaque, Stage, Verdict};
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use std::sync::Arc;

const ONE: Cost = Cost::Fixed(1);
/// Two checks are all that an expression can pay for.
const CHECK: Cost = Cost::Fixed(350_000);

/// The value of a variable like `authorizer`.
pub(crate) fn value<'a>(authorizer: Arc<dyn Authorize>, check: Option<Check>) -> Val<'a> {
    match check {
        None => Val::opaque(Opaque::Authorizer(authorizer, Stage::Authorizer, Check::default())),
        Some(check) => Val::opaque(Opaque::Authorizer(authorizer, Stage::Resource, check)),
    }
}

type Set = fn(&mut Check, &str) -> Result<Stage, EvalError>;

/// A method that adds a text to the check of a stage.
fn set<'a>(args: &[Val<'a>], from: Stage, change: Set) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(of), Val::String(text)] = args else { return none() };
    let Opaque::Authorizer(authorizer, stage, check) = &**of else { return none() };
    if *stage != from {
        return none();
    }
    let mut check = check.clone();
    let next = change(&mut check, text)?;
    Ok(Val::opaque(Opaque::Authorizer(authorizer.clone(), next, check)))
}

const RESOURCE: &[&str] = &["resource.(string) -> resource"];

pub(super) static TABLE: &[Function] = &[
    row("path", &["authorizer.(string) -> path"], ONE, |_, args| {
        set(args, Stage::Authorizer, |check, text| {
            check.path = Some(text.to_owned());
            Ok(Stage::Path)
        })
    }),
    row("group", &["authorizer.(string) -> group"], ONE, |_, args| {
        set(args, Stage::Authorizer, |check, text| {
            text.clone_into(&mut check.group);
            Ok(Stage::Group)
        })
    }),
    row("serviceAccount", &["authorizer.(string, string) -> authorizer"], ONE, |_, args| {
        let [Val::Opaque(of), Val::String(namespace), Val::String(name)] = args else { return none() };
        let Opaque::Authorizer(authorizer, Stage::Authorizer, check) = &**of else { return none() };
        if !machinery::names::dns1123_subdomain(name).is_empty() {
            return fail(format!("Invalid service account name {:?}", &**name));
        }
        if !machinery::names::dns1123_label(namespace).is_empty() {
            return fail(format!("Invalid service account namespace {:?}", &**namespace));
        }
        let mut check = check.clone();
        check.service_account = Some((namespace.to_string(), name.to_string()));
        Ok(Val::opaque(Opaque::Authorizer(authorizer.clone(), Stage::Authorizer, check)))
    }),
    row("resource", &["group.(string) -> resource"], ONE, |_, args| {
        set(args, Stage::Group, |check, text| {
            text.clone_into(&mut check.resource);
            Ok(Stage::Resource)
        })
    }),
    row("subresource", RESOURCE, ONE, |_, args| {
        set(args, Stage::Resource, |check, text| {
            text.clone_into(&mut check.subresource);
            Ok(Stage::Resource)
        })
    }),
    row("namespace", RESOURCE, ONE, |_, args| {
        set(args, Stage::Resource, |check, text| {
            text.clone_into(&mut check.namespace);
            Ok(Stage::Resource)
        })
    }),
    row("name", RESOURCE, ONE, |_, args| {
        set(args, Stage::Resource, |check, text| {
            text.clone_into(&mut check.name);
            Ok(Stage::Resource)
        })
    }),
    row("fieldSelector", RESOURCE, ONE, |_, args| {
        set(args, Stage::Resource, |check, text| {
            check.field_selector = Some(text.to_owned());
            Ok(Stage::Resource)
        })
    }),
    row("labelSelector", RESOURCE, ONE, |_, args| {
        set(args, Stage::Resource, |check, text| {
            check.label_selector = Some(text.to_owned());
            Ok(Stage::Resource)
        })
    }),
    row("check", &["path.(string) -> decision", "resource.(string) -> decision"], CHECK, |_, args| {
        let [Val::Opaque(of), Val::String(verb)] = args else { return none() };
        let Opaque::Authorizer(authorizer, Stage::Path | Stage::Resource, check) = &**of else {
            return none();
        };
        let mut check = check.clone();
        check.verb = verb.to_string();
        Ok(Val::opaque(Opaque::Decision(authorizer.authorize(&check)?)))
    }),
    row("allowed", &["decision.() -> bool"], ONE, |_, args| verdict(args, |v| Val::Bool(v.allowed))),
    row("reason", &["decision.() -> string"], ONE, |_, args| {
        verdict(args, |v| Val::owned(v.reason.as_str()))
    }),
    row("errored", &["decision.() -> bool"], ONE, |_, args| verdict(args, |v| Val::Bool(v.error.is_some()))),
    row("error", &["decision.() -> string"], ONE, |_, args| {
        verdict(args, |v| Val::owned(v.error.as_deref().unwrap_or_default()))
    }),
];

fn verdict<'a>(args: &[Val<'a>], take: fn(&Verdict) -> Val<'a>) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(of)] = args else { return none() };
    match &**of {
        Opaque::Decision(verdict) => Ok(take(verdict)),
        _ => none(),
    }
}
