//! The one program, `counterfoil`.

mod alone;
mod args;
mod catalogue;
mod client;
mod command;
mod config;
mod consent_file;
mod dsse;
mod exit;
mod export;
mod hashing;
mod home;
mod keys;
mod machine;
mod output;
mod rtt;
mod size;
mod supervise;
mod target;
mod throwaway;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::FromArgMatches;
use counterfoil_model::{Residence, Threads};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::exit::{Failure, Outcome};

fn main() -> ExitCode {
    let (cli, home) = match parse() {
        Ok(parsed) => parsed,
        Err(e) => return e.report(wants_json()),
    };
    let json = cli.json;
    if let Some(threads) = cli.threads {
        // Nothing was computed yet, so this is the first choice.
        Threads::choose(threads);
    }
    if let Some(bytes) = copied_weights(&cli.command) {
        // Nor was anything loaded.
        Residence::choose(bytes);
    }
    if let Some(file) = &cli.passphrase_file {
        keys::choose(file.clone());
    }
    let runtime = match runtime(&cli.command) {
        Ok(runtime) => runtime,
        Err(e) => return Failure::store(e).report(json),
    };
    let outcome = start_log(&cli.trace).and_then(|()| runtime.block_on(Box::pin(run(cli, home))));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => e.report(json),
    }
}

/// A node's frames come on one lane, one after the other, and are computed beside it: a second worker would only be
/// woken to find nothing. Everything else has as many as there are cores. `TOKIO_WORKER_THREADS` says otherwise.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(command, Command::Serve(_)) && std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

/// How many bytes of weights a command may copy. What starts local nodes tells them a quarter for all of them, and takes a
/// quarter itself.
fn copied_weights(command: &Command) -> Option<u64> {
    match command {
        Command::Router(_) | Command::Model(_) | Command::Bench(_) => {
            machine::available_memory().map(|all| all / 4)
        }
        Command::Serve(args) => args.copy_weights.map(|bytes| bytes.0).or_else(|| {
            let all = machine::available_memory()?;
            Some(args.max_memory.map_or(all / 2, |most| most.0).min(all / 4 * 3))
        }),
        _ => None,
    }
}

/// Reads flags, variables and the home's `config.toml`, in that order of precedence.
fn parse() -> Result<(Cli, PathBuf), Failure> {
    // The home decides which file is read, so it is looked for before everything else.
    let flag = std::env::args_os().skip_while(|a| a != "--home").nth(1).map(PathBuf::from);
    let flag = flag.or_else(|| {
        let joined = std::env::args_os()
            .find_map(|a| a.to_str().and_then(|a| a.strip_prefix("--home=")).map(PathBuf::from));
        joined.or_else(|| std::env::var_os("COUNTERFOIL_HOME").filter(|h| !h.is_empty()).map(PathBuf::from))
    });
    let home = home::locate(flag.as_deref())?;
    let matches = config::command(Some(&home))?.try_get_matches().map_err(|e| unparsed(&e))?;
    let cli = Cli::from_arg_matches(&matches).map_err(|e| Failure::wrong_use(e.to_string()))?;
    Ok((cli, home))
}

/// Whether errors are for programs, asked before the arguments are known to be right.
fn wants_json() -> bool {
    std::env::args_os().any(|arg| arg == "--json")
}

/// Help and versions end the program here, as does wrong use told to people; programs are told as of any failure.
fn unparsed(error: &clap::Error) -> Failure {
    if !error.use_stderr() || !wants_json() {
        error.exit();
    }
    let text = error.render().to_string();
    Failure::wrong_use(text.trim_start_matches("error: ").trim_end())
}

fn start_log(filter: &str) -> Outcome {
    let filter =
        EnvFilter::try_new(filter).map_err(|e| Failure::wrong_use(format!("--trace {filter:?}: {e}")))?;
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would complain on the same standard error, and panic where that cannot be written.
        .log_internal_errors(false);
    logger.try_init().map_err(|e| Failure::store(anyhow::anyhow!("cannot start logging: {e}")))
}

async fn run(cli: Cli, home: PathBuf) -> Outcome {
    let json = cli.json;
    match cli.command {
        Command::Run(args) => command::run::run(&home, args, &cli.trace, json).await,
        Command::Router(args) => command::router::run(&home, args, json).await,
        Command::Serve(args) => command::serve::run(&home, args, json).await,
        Command::Chat(args) => command::chat::run(&home, args, json).await,
        Command::Status(args) => command::status::run(&home, &args, json).await,
        Command::Doctor => command::doctor::run(&home, json).await,
        Command::Models(args) => command::models::run(&home, &args, json).await,
        Command::Identity(c) => command::identity::run(&home, c, json).await,
        Command::Consent(c) => command::consent::run(&home, c, json),
        Command::Audit(c) => command::audit::run(&home, c, json).await,
        Command::Account(c) => command::account::run(&home, c, json).await,
        Command::Earnings(c) => command::earnings::run(&home, c, json).await,
        Command::Provider(c) => command::provider::run(&home, c, json).await,
        Command::Vault(c) => command::vault::run(&home, c, json).await,
        Command::Model(c) => Box::pin(command::model::run(&home, c, json)).await,
        Command::Bench(c) => command::bench::run(c, json).await,
        Command::Conform(args) => command::conform::run(args, json).await,
        Command::Completions { shell } => {
            let mut command = config::command(None)?;
            clap_complete::generate(shell, &mut command, "counterfoil", &mut std::io::stdout());
            Ok(())
        }
    }
}
