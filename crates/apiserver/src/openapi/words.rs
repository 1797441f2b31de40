//! What the documents say about operations and their parameters, in our words. (What they say about types comes
//! from `api::schema::Descriptions`.)

use super::operations::Action;

pub(super) const VERSIONS: &str = "The versions or groups that are served.";
pub(super) const GROUP: &str = "The versions of this group.";
pub(super) const RESOURCES: &str = "The resources of this group and version.";
pub(super) const VERSION: &str = "The version of the server.";
pub(super) const OPENID_CONFIGURATION: &str =
    "Who issues service-account tokens, for those that verify them.";
pub(super) const OPENID_KEYS: &str = "The public keys that verify service-account tokens.";
pub(super) const LOG_PATH: &str = "Path of a log file.";

/// Parameters by name. Where the same name means something else, the kind of options is part of it.
const PARAMETERS: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "Whether a watch may have BOOKMARK events, which only say how far it has come."),
    ("command", "The program to run and its arguments, one parameter each; no shell is involved."),
    ("container", "The container; may be left out where the pod has one or names a default."),
    ("continue", "The token of the previous piece of this list, to get the next one."),
    ("dryRun", "With the value All the request takes every step but the last: nothing is stored."),
    ("fieldManager", "Who is recorded as the owner of the fields that change. Needed by apply patches."),
    ("fieldSelector", "Leaves out objects whose fields do not match. Not every field can be named."),
    (
        "fieldValidation",
        "What to do about unknown and repeated fields: Ignore them, Warn, or refuse with Strict.",
    ),
    ("follow", "Whether to go on with what is logged from now on."),
    ("force", "Whether an apply patch takes fields that others own. Not allowed for other patches."),
    ("gracePeriodSeconds", "Seconds that the object has to end; 0 deletes it at once."),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "Whether to delete an object whose stored form cannot be read, without looking at finalizers. This can \
         break what depends on it.",
    ),
    (
        "insecureSkipTLSVerifyBackend",
        "Whether to read from a kubelet whose certificate cannot be verified. What it says may then come from \
         anyone.",
    ),
    ("labelSelector", "Leaves out objects whose labels do not match."),
    (
        "limit",
        "The largest number of objects in the answer; the rest can be fetched with its continue token.",
    ),
    ("limitBytes", "The number of bytes after which the log ends."),
    ("name", "Name of the object."),
    ("namespace", "Namespace of the object."),
    ("orphanDependents", "Deprecated in favour of propagationPolicy: whether dependents stay."),
    ("path", "The path to ask for behind the proxy."),
    ("ports", "The ports to forward; needed over WebSocket."),
    ("pretty", "Whether the answer is indented."),
    ("previous", "Whether to read the log of the container that ran before this one."),
    (
        "propagationPolicy",
        "What becomes of dependents: Orphan keeps them, Background deletes them afterwards, Foreground before.",
    ),
    ("resourceVersion", "How new the answer must be; resourceVersionMatch says how this is meant."),
    ("resourceVersionMatch", "Whether resourceVersion means exactly that version or not an older one."),
    (
        "sendInitialEvents",
        "Whether a watch begins with an event for each object there is, and then a BOOKMARK that says so.",
    ),
    ("shardSelector", "Leaves out objects that belong to other shards of a divided list."),
    ("sinceSeconds", "How many seconds back the log begins."),
    ("stderr", "Whether to carry standard error."),
    ("stdin", "Whether to carry standard input."),
    ("stdout", "Whether to carry standard output."),
    ("stream", "Which stream of the log to read: All, Stdout or Stderr."),
    ("tailLines", "How many lines before its end the log begins."),
    ("timeoutSeconds", "How many seconds a watch or list may take."),
    ("timestamps", "Whether each line begins with its time."),
    ("tty", "Whether the program gets a terminal."),
    ("watch", "Whether to answer changes as they happen instead of a list."),
];

/// What a parameter is for.
pub(super) fn parameter(name: &str) -> Option<&'static str> {
    PARAMETERS.iter().find(|(known, _)| *known == name).map(|(_, words)| *words)
}

/// What an operation does to a kind; `part` is the subresource, empty for the object itself.
pub(super) fn operation(action: Action, kind: &str, part: &str) -> String {
    let what = if part.is_empty() { kind.to_owned() } else { format!("{part} of a {kind}") };
    match action {
        Action::Get | Action::Log => format!("Read: {what}."),
        Action::List => format!("List or watch: {kind}."),
        Action::Watch => {
            format!("Watch one object (deprecated: list with watch and a field selector): {kind}.")
        }
        Action::WatchList => format!("Watch (deprecated: list with watch): {kind}."),
        Action::Post => format!("Create: {what}."),
        Action::Put => format!("Replace: {what}."),
        Action::Patch => format!("Change in part: {what}."),
        Action::Delete => format!("Delete: {kind}."),
        Action::DeleteCollection => format!("Delete all that are selected: {kind}."),
        Action::Connect(method) => format!("Connect with {}: {what}.", method.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_order() {
        assert!(PARAMETERS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
