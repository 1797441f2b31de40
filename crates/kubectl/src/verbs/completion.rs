//! `completion`: scripts that make shells complete command lines. They ask the command itself (see `complete`).

use super::{Group, Verb};
use crate::error::{Result, fail};
use crate::flags;
use crate::session::Session;
use clap::ArgMatches;

pub(crate) const VERB: Verb = Verb {
    name: "completion",
    group: Group::Settings,
    about: "Print a script for completions: bash, zsh or fish",
    examples: "source <(kubectl completion bash)
        kubectl completion zsh > \"${fpath[1]}/_kubectl\"
        kubectl completion fish | source",
    arguments: |command| command.arg(flags::args("SHELL")),
    run: |session, matches| Box::pin(run(session, matches)),
};

const BASH: &str = r#"# bash completion for PROGRAM
__NAME_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" word="${COMP_WORDS[COMP_CWORD]}" words found
    read -r -a words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    # Bash splits at = and :, so what stands before them in the word is not to be repeated.
    local last="${words[${#words[@]}-1]}"
    [[ $word == "=" || $word == ":" ]] && word=""
    local before="${last%"$word"}"
    GUARDfound=$("${words[0]}" COMPLETE"${words[@]:FROM}" 2>/dev/null) || return
    COMPREPLY=()
    local candidate
    while IFS= read -r candidate; do
        [[ -n $candidate && $candidate == "$last"* ]] && COMPREPLY+=("${candidate#"$before"}")
    done <<< "$found"
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/] ]] && compopt -o nospace
}
complete -o default -F __NAME_complete NAME
"#;

const ZSH: &str = r#"#compdef NAME
# zsh completion for PROGRAM
_NAME() {
    local -a candidates
    local found
    GUARDfound=$("${words[1]}" COMPLETE"${(@)words[FIRST,CURRENT]}" 2>/dev/null) || return
    candidates=("${(@f)found}")
    if [[ -n $found ]]; then
        compadd -Q -- "${candidates[@]}"
    else
        _files
    fi
}
compdef _NAME NAME
"#;

const FISH: &str = r#"# fish completion for PROGRAM
function __NAME_complete
    set -l words (commandline -opc) (commandline -ct)
    GUARD$words[1] COMPLETE$words[FIRST..-1] 2>/dev/null
end
complete -c NAME -a '(__NAME_complete)'
"#;

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let args = flags::positional(matches);
    let [shell] = args.as_slice() else {
        return fail(if args.is_empty() {
            "Shell not specified."
        } else {
            "Too many arguments. Expected only the shell type."
        });
    };
    let builtin = session.is_builtin();
    let (script, guard) = match shell.as_str() {
        "bash" => (BASH, "[[ ${words[1]} == kubectl ]] || return\n    "),
        "zsh" => (ZSH, "[[ ${words[2]} == kubectl ]] || return\n    "),
        "fish" => (FISH, "test \"$words[2]\" = kubectl; or return\n    "),
        other => return fail(format!("Unsupported shell type {other:?}: use bash, zsh or fish.")),
    };
    // The built-in command is two words.
    let (name, program, complete, from) = if builtin {
        ("windlass", "windlass kubectl", "kubectl __complete ", 2)
    } else {
        ("kubectl", "kubectl", "__complete ", 1)
    };
    let script = script
        .replace("GUARD", if builtin { guard } else { "" })
        .replace("PROGRAM", program)
        .replace("COMPLETE", complete)
        .replace("NAME", name)
        .replace("FROM", &from.to_string())
        .replace("FIRST", &(from + 1).to_string());
    session.out(script)
}
