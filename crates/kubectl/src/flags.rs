//! Flags as upstream's command line reads them: booleans may be given a value (`--wait=false`), some strings may be left
//! without one (`--dry-run`), and flags may stand anywhere. Also the reading side of them.

use clap::{Arg, ArgAction, ArgMatches, value_parser};

/// A boolean, false unless given.
pub(crate) fn flag(name: &'static str, help: &'static str) -> Arg {
    switch(name, false, help)
}

/// A boolean with a default.
pub(crate) fn switch(name: &'static str, default: bool, help: &'static str) -> Arg {
    let default = if default { "true" } else { "false" };
    Arg::new(name)
        .long(name)
        .help(help)
        .value_parser(value_parser!(bool))
        .num_args(0..=1)
        .require_equals(true)
        .default_value(default)
        .default_missing_value("true")
        .hide_default_value(default == "false")
        .hide_possible_values(true)
        .value_name("BOOL")
        .action(ArgAction::Set)
}

/// A string.
pub(crate) fn value(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name(placeholder)
        .allow_hyphen_values(true)
        .overrides_with(name)
}

/// A string that may stand without a value.
pub(crate) fn optional(
    name: &'static str,
    default: &'static str,
    missing: &'static str,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .default_value(default)
        .default_missing_value(missing)
        .value_name("VALUE")
}

/// A whole number with a default.
pub(crate) fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .help(help)
        .value_name("N")
        .value_parser(value_parser!(i64))
        .allow_negative_numbers(true)
        .default_value(default)
}

/// A string that may be given several times.
pub(crate) fn list(name: &'static str, placeholder: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).value_name(placeholder).action(ArgAction::Append)
}

/// Positional arguments.
pub(crate) fn args(placeholder: &'static str) -> Arg {
    Arg::new("args").value_name(placeholder).num_args(0..).action(ArgAction::Append)
}

/// Positional arguments where some may end in `-` or start with one.
pub(crate) fn words(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned().collect()
}

/// The positional arguments.
pub(crate) fn positional(matches: &ArgMatches) -> Vec<String> {
    words(matches, "args")
}

/// Repeated and comma-separated values.
pub(crate) fn split(matches: &ArgMatches, name: &str) -> Vec<String> {
    let all = words(matches, name);
    all.iter()
        .flat_map(|value| value.split(','))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether a boolean is set.
pub(crate) fn is_set(matches: &ArgMatches, name: &str) -> bool {
    matches.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
}

/// A string, if given or defaulted and not empty.
pub(crate) fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.try_get_one::<String>(name).ok().flatten().map(String::as_str).filter(|text| !text.is_empty())
}

/// A number.
pub(crate) fn int(matches: &ArgMatches, name: &str) -> i64 {
    matches.try_get_one::<i64>(name).ok().flatten().copied().unwrap_or(0)
}

/// Whether the user gave the flag, rather than its default.
pub(crate) fn given(matches: &ArgMatches, name: &str) -> bool {
    matches.try_contains_id(name).unwrap_or(false)
        && matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine)
}

/// The usual flags of commands that take manifests.
pub(crate) fn files() -> [Arg; 3] {
    [
        list("filename", "FILE", "A file, a directory or - for standard input; may be repeated").short('f'),
        flag("recursive", "Read directories and their subdirectories").short('R'),
        value("kustomize", "DIR", "A directory with a kustomization").short('k'),
    ]
}

/// `--selector`, as most commands know it.
pub(crate) fn selector() -> Arg {
    value("selector", "LABELS", "Only objects with these labels, such as app=web,tier!=db").short('l')
}

/// `--field-selector`.
pub(crate) fn field_selector() -> Arg {
    value("field-selector", "FIELDS", "Only objects with these fields, such as metadata.name=web")
}

/// `--all-namespaces`.
pub(crate) fn all_namespaces() -> Arg {
    flag("all-namespaces", "Objects of every namespace").short('A')
}

/// `--output`, and the template that it may need.
pub(crate) fn output() -> [Arg; 3] {
    let [template, missing] = template();
    let format = "json, yaml, name, jsonpath=TEMPLATE, go-template=TEMPLATE, custom-columns=SPEC";
    [value("output", "FORMAT", format).short('o'), template, missing]
}

/// `--template` and what a key that is not there means to it.
pub(crate) fn template() -> [Arg; 2] {
    [
        value("template", "TEMPLATE", "The template, or its file, of -o go-template and go-template-file"),
        switch("allow-missing-template-keys", true, "Keys that are not there are no failure of templates")
            .hide(true),
    ]
}

/// `--dry-run`.
pub(crate) fn dry_run() -> Arg {
    optional("dry-run", "none", "unchanged", "client: only print; server: check without storing; none")
}

/// `--field-manager`.
pub(crate) fn field_manager(default: &'static str) -> Arg {
    value("field-manager", "NAME", "Who owns the fields that are written").default_value(default)
}

/// `--timeout`, a duration.
pub(crate) fn timeout(default: &'static str, help: &'static str) -> Arg {
    value("timeout", "DURATION", help).default_value(default)
}

/// `--validate`.
pub(crate) fn validate() -> Arg {
    optional(
        "validate",
        "strict",
        "strict",
        "strict, warn or ignore: what to do about unknown and duplicate fields",
    )
}
