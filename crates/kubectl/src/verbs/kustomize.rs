//! `kustomize`: prints what a kustomization builds.

use super::{Group, Verb};
use crate::error::{Result, fail};
use crate::flags::{self, positional, text, value};
use crate::session::Session;
use clap::ArgMatches;
use std::path::Path;

pub(crate) const VERB: Verb = Verb {
    name: "kustomize",
    group: Group::Advanced,
    about: "Print what a kustomization builds",
    examples: "kubectl kustomize overlays/production
        kubectl kustomize . | kubectl apply -f -
        kubectl apply -k overlays/production",
    arguments: |command| {
        command
            .arg(
                value(
                    "output",
                    "FILE",
                    "Write to this file, or below this directory, instead of standard output",
                )
                .short('o'),
            )
            .arg(flags::args("DIR"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = positional(matches);
    let directory = match args.as_slice() {
        [] => ".",
        [one] => one.as_str(),
        _ => return fail("specify one path to kustomization.yaml"),
    };
    let mut warnings = Vec::new();
    let built = crate::kustomize::build(Path::new(directory), &mut |text| warnings.push(text.to_owned()));
    warnings.iter().for_each(|text| session.streams.warn(text));
    let built = built?;
    let mut documents = Vec::new();
    for object in &built {
        documents.push(crate::print::to_yaml(object)?);
    }
    let Some(out) = text(matches, "output") else { return session.out(documents.join("---\n")) };
    let out = Path::new(out);
    if !out.is_dir() {
        return Ok(std::fs::write(out, documents.join("---\n"))?);
    }
    for (object, text) in built.iter().zip(documents) {
        let word =
            |value: &serde_json::Value| value.as_str().unwrap_or_default().to_lowercase().replace('/', "_");
        let name = format!(
            "{}_{}_{}.yaml",
            word(&object["apiVersion"]),
            word(&object["kind"]),
            word(&object["metadata"]["name"])
        );
        std::fs::write(out.join(name), text)?;
    }
    Ok(())
}
