//! The command line: parses arguments and prints results as text or JSON.
//!
//! Data goes to stdout, everything else to stderr. Nothing is decided here.

mod args;
mod check;
mod demo;
mod error_output;
mod examples;
mod export;
mod history;
mod init;
#[cfg(feature = "lake")]
mod lake;
mod log;
mod manual;
mod process;
mod progress;
mod purge;
mod report;
mod reset;
mod service;
mod simulate;
mod status;
mod sync;
mod table;
mod verify;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::app::{self, AppError, ExitStatus, Signal, is_hidden};
use crate::check::CheckOptions;
use crate::sync::SyncError;
use crate::ticket::Timestamp;
use args::{CliArgs, Color, Command};
use clap::error::ErrorKind;
use rustix::fs::Mode;
use serde::Serialize;

/// Runs a command line and returns the exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    process::ignore_signals();
    let arguments: Vec<_> = arguments.into_iter().collect();
    // Parsing may fail, and its error must already be in the wanted form.
    let as_json = arguments.iter().take_while(|it| *it != "--").any(|it| it == "--json");
    let arguments = match CliArgs::parse_arguments(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return error_output::print_usage_error(&error, as_json).into();
        }
        // Help and version arrive here too; they go to stdout with status 0.
        Err(version) if as_json && version.kind() == ErrorKind::DisplayVersion => {
            let version = VersionJson { name: "halosync", version: env!("CARGO_PKG_VERSION") };
            return exit_code(print_json(&version).map(|()| ExitStatus::Ok), as_json);
        }
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    // Members of the group may read the files that halosync writes, others may not.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    process::keep_memory_private();
    match arguments.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    exit_code(dispatch(&arguments), as_json)
}

/// Reports an error, if there is one, and returns the status to end with.
fn exit_code(result: CommandResult, as_json: bool) -> ExitCode {
    let status = match result {
        Ok(status) => status,
        Err(CommandError::Output(error)) => error_output::print_output_error(&error, as_json),
        Err(CommandError::Usage(error)) => error_output::print_usage_error(&error, as_json),
        Err(CommandError::App(error)) => {
            error_output::print_error(&error, as_json);
            error.exit_status()
        }
    };
    status.into()
}

/// The document of `--json --version`.
#[derive(Serialize)]
struct VersionJson {
    name: &'static str,
    version: &'static str,
}

/// Why a command ended early.
enum CommandError {
    App(AppError),
    /// The options do not fit each other or the settings.
    Usage(clap::Error),
    Output(io::Error),
}

impl<E: Into<AppError>> From<E> for CommandError {
    fn from(error: E) -> Self {
        CommandError::App(error.into())
    }
}

/// The exit status of a command that finished, or why it ended early.
type CommandResult = Result<ExitStatus, CommandError>;

fn dispatch(arguments: &CliArgs) -> CommandResult {
    // It sets up its log from the settings.
    if matches!(arguments.command, Command::Run) {
        return service::run(arguments, app::load(arguments.config.as_deref())?);
    }
    let log_level = log::init_for_command(arguments);
    let load = || {
        let loaded = app::load(arguments.config.as_deref())?;
        log_level.apply_config(&loaded.config.log);
        Ok(loaded)
    };
    if arguments.command.needs_no_settings() {
        log_level.apply_config(&app::load_log_from_environment()?);
    }
    match &arguments.command {
        Command::Init { file, server } => init::init(arguments, file, server.as_ref()),
        Command::Check { offline, deep, deny_warnings } => {
            // What is wrong with the settings is a finding.
            let options = CheckOptions { offline: *offline, deep: *deep };
            check::check(arguments, load(), options, *deny_warnings)
        }
        Command::Sync(args) => sync::sync(arguments, load()?, args),
        Command::Run => unreachable!("it returned above"),
        Command::Status { max_age } => status::status(arguments, &load()?, *max_age),
        Command::Report(args) => report::report(arguments, &load()?, args),
        Command::History(args) => history::history(arguments, &load()?, args),
        Command::Purge(args) => purge::purge(arguments, load()?, args),
        Command::Reset(args) => reset::reset(arguments, &load()?, args),
        Command::Export(export) => export::export(arguments, load, export),
        #[cfg(feature = "lake")]
        Command::Lake(command) => lake::lake(arguments, load, command),
        Command::Demo(args) => demo::demo(arguments, args),
        Command::Simulate(args) => simulate::simulate(arguments, args),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
    }
}

/// Writes data to stdout. A reader that has read enough, such as `head`, is no error.
fn print(text: &str) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// Version of the JSON documents; it grows when a member is renamed, removed or changes its meaning.
const JSON_SCHEMA_VERSION: u32 = 1;

/// A report as one JSON document, its version first.
#[derive(Serialize)]
struct JsonDocument<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    report: &'a T,
}

impl<'a, T> JsonDocument<'a, T> {
    fn new(report: &'a T) -> JsonDocument<'a, T> {
        JsonDocument { schema_version: JSON_SCHEMA_VERSION, report }
    }
}

/// Writes one JSON document to stdout.
fn print_json(report: &impl Serialize) -> Result<(), CommandError> {
    print_serialized(serde_json::to_string_pretty(&JsonDocument::new(report)))
}

/// Writes one JSON document of several to stdout, in one line.
fn print_json_line(report: &impl Serialize) -> Result<(), CommandError> {
    print_serialized(serde_json::to_string(&JsonDocument::new(report)))
}

fn print_serialized(text: serde_json::Result<String>) -> Result<(), CommandError> {
    let text = text.map_err(|error| CommandError::Output(io::Error::other(error)))?;
    print(&(text + "\n"))
}

/// Writes a report to stdout, in the form that was asked for; with `--quiet` only where it is what the command is for.
fn print_report(arguments: &CliArgs, report: &impl Serialize, text: &str) -> Result<(), CommandError> {
    match arguments {
        CliArgs { json: true, .. } => print_json(report),
        CliArgs { quiet: true, command, .. } if command.is_action() => Ok(()),
        _ => print(text),
    }
}

/// How this program is started, for lines that can be pasted: through Cargo where Cargo started it.
fn program() -> &'static str {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        None => "halosync",
        Some(_) if cfg!(debug_assertions) => "cargo run --",
        Some(_) => "cargo run --release --",
    }
}

/// A path as a shell reads it.
fn shell_path(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Cow::into_owned)
}

/// A time for people: UTC, to the second.
fn format_time(at: Timestamp) -> String {
    at.to_second()
}

/// Makes text safe for a terminal by replacing control characters and others that show nothing.
fn printable(text: &str) -> String {
    text.chars().map(|it| if is_hidden(it) { '\u{FFFD}' } else { it }).collect()
}

/// Most worker threads, which parse pages; more would only take memory.
const THREADS_MAX: usize = 4;

/// Fewest worker threads: one that waits for the database must not delay timers and signals.
const THREADS_MIN: usize = 2;

/// Most threads for blocking work: the writer, an export, an integrity check, metrics requests.
const BLOCKING_THREADS_MAX: usize = 16;

/// How long the end of the program waits for unfinished blocking work.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs asynchronous work to its end on a runtime of its own.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    process::check_descriptor_limit()?;
    let threads = std::thread::available_parallelism().map_or(THREADS_MAX, NonZero::get);
    let threads = threads.clamp(THREADS_MIN, THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|source| AppError::System("threads", source))?;
    let done = runtime.block_on(work);
    // Dropping the runtime would wait without limit for a thread that waits for the database.
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    done
}

/// Runs blocking work to its end, or until SIGINT or SIGTERM ends the command, and the process with it.
fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
) -> Result<T, CommandError> {
    block_on(async {
        tokio::select! {
            done = tokio::task::spawn_blocking(work) => Ok(done.map_err(SyncError::TaskFailed)??),
            signal = stop_signal() => Err(AppError::Stopped(signal).into()),
        }
    })
}

/// Waits for SIGINT or SIGTERM. From then on, another one ends the process at once.
async fn stop_signal() -> Signal {
    process::end_at_second_signal();
    process::next_signal().await
}
