//! The binary: `argv` (or `argv[0]`) to component; nothing else.

mod commands;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Kubernetes v1.36 in one binary.
#[derive(Parser)]
#[command(name = "windlass", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster, or resume the one that was there
    Up(bootstrap::options::UpOptions),
    /// Stop a cluster and remove what it made on this machine
    Down(bootstrap::options::DownOptions),
    /// Say whether a cluster is ready, and if not, why
    Status(bootstrap::options::StatusOptions),
    /// Run a control plane without a node
    Server(bootstrap::server::ServerOptions),
    /// Control a cluster: the built-in kubectl
    #[command(disable_help_flag = true)]
    Kubectl {
        /// Arguments of kubectl
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Import, list, pull and remove images of a node
    Image(commands::image::ImageOptions),
    /// Keep the embedded store, or serve it as an etcd
    Store(commands::store::StoreOptions),
    /// Serve cluster DNS (runs in a pod)
    Dns(commands::dns::DnsOptions),
    /// Serve a page that says which pod answers (runs in a pod; see examples/hello.yaml)
    Hello(addons::hello::HelloOptions),
    /// Make or remove the directory of a local-path volume (runs in a pod)
    #[command(hide = true)]
    LocalPath(addons::local_path::LocalPathOptions),
    /// Run a further node of an isolated cluster
    #[command(hide = true)]
    Agent(bootstrap::agent::AgentOptions),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let called_as =
        arguments.first().and_then(|name| Path::new(name).file_name()?.to_str()).unwrap_or_default();
    if let Some(plugin) = network::plugins::find(called_as) {
        return network::plugins::main(plugin).into();
    }
    // The shim is a pod's first process: single-threaded, small, and not for people.
    if arguments.get(1).is_some_and(|command| command == "shim") {
        return runtime::shim::main(arguments.into_iter().skip(2));
    }
    if called_as == "kubectl" {
        return kubectl::main(arguments);
    }
    let command = Cli::parse().command;
    if !matches!(command, Command::Kubectl { .. }) {
        log_to_stderr();
    }
    let outcome = match command {
        Command::Kubectl { arguments } => {
            return kubectl::main(
                std::iter::once(OsString::from("windlass kubectl")).chain(arguments).collect(),
            );
        }
        Command::Up(options) => bootstrap::up::run(options),
        Command::Down(options) => bootstrap::down::run(&options),
        Command::Status(options) => bootstrap::status::run(&options),
        Command::Server(options) => bootstrap::server::run(options),
        Command::Image(options) => commands::image::run(options),
        Command::Store(options) => commands::store::run(options),
        Command::Dns(options) => commands::dns::run(&options),
        Command::Hello(options) => addons::hello::run(&options),
        Command::LocalPath(options) => addons::local_path::run(&options),
        Command::Agent(options) => bootstrap::agent::run(options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Warnings and worse, or what `WINDLASS_LOG` asks for (`info`, `debug`, `kubelet=debug`).
fn log_to_stderr() {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_from_env("WINDLASS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
