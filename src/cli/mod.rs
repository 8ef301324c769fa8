//! The command line: what was typed becomes a wish, values become words or JSON.
//!
//! Data goes to stdout, everything else to stderr. Nothing is decided here.

mod args;
mod check;
mod demo;
mod error_output;
mod export;
mod log;
mod manual;
mod progress;
mod reset;
mod service;
mod simulate;
mod status;
mod sync;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::process::ExitCode;
use std::time::Duration;

use crate::app::{self, AppError, ExitStatus, Signal};
use args::{CliArgs, Color, Command};
use clap::Parser as _;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Runs a command line and gives the status to end with.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    // What cannot be read cannot say how it wants to be answered either, so this is looked for by hand.
    let as_json = arguments.iter().take_while(|it| *it != "--").any(|it| it == "--json");
    let arguments = match CliArgs::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are data, everything else is an error; clap knows which is which.
        Err(error) if error.use_stderr() => {
            return error_output::print_usage_error(&error, as_json).into();
        }
        Err(data) => {
            let _ = data.print();
            return ExitCode::SUCCESS;
        }
    };
    // The group may read what the agent writes, others may not.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    keep_memory_private();
    match arguments.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    // The service has settings of its own for its log.
    if !matches!(arguments.command, Command::Run) {
        log::init_for_command(&arguments);
    }
    match dispatch(&arguments) {
        Ok(status) => status.into(),
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(CommandError::Output(error)) => {
            let _ = writeln!(io::stderr(), "error: cannot write the output: {error}");
            ExitStatus::Io.into()
        }
        Err(CommandError::Agent(error)) => {
            error_output::print_error(&error, arguments.json);
            error.exit_status().into()
        }
    }
}

/// Why a command ended early.
enum CommandError {
    Agent(AppError),
    Output(io::Error),
}

impl<E: Into<AppError>> From<E> for CommandError {
    fn from(error: E) -> Self {
        CommandError::Agent(error.into())
    }
}

/// The status of a command that came to its end, or why it did not.
type CommandResult = Result<ExitStatus, CommandError>;

fn dispatch(arguments: &CliArgs) -> CommandResult {
    let load = || app::load(arguments.config.as_deref());
    match &arguments.command {
        Command::Init { file } => {
            app::init(file)?;
            print(&format!("wrote {}\n", file.display()))?;
            Ok(ExitStatus::Ok)
        }
        Command::Check { offline } => check::check(arguments, *offline),
        Command::Sync(args) => sync::sync(arguments, &load()?, args),
        Command::Run => service::run(arguments, load()?),
        Command::Status { max_age } => status::status(arguments, &load()?, *max_age),
        Command::Reset(args) => reset::reset(arguments, &load()?, args),
        Command::Export(export) => export::export(arguments, load, export),
        Command::Demo(args) => demo::demo(arguments, args),
        Command::Simulate(args) => simulate::simulate(arguments, args),
        Command::Completions { shell } => manual::completions(*shell),
        Command::Man { dir } => manual::man(dir.as_deref()),
    }
}

/// Writes data to stdout.
fn print(text: &str) -> Result<(), CommandError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CommandError::Output)
}

/// Writes one JSON document to stdout.
fn print_json(value: &serde_json::Value) -> Result<(), CommandError> {
    print(&format!("{value:#}\n"))
}

/// Text from the server, fit for a terminal: control characters would be obeyed there.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { '\u{FFFD}' } else { it }).collect()
}

/// The secret and the token are in memory: no core is dumped, and nobody of the same user may look.
fn keep_memory_private() {
    // A kernel that refuses lets the program work all the same.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Threads that compute: pages are parsed in parallel, and a large machine need not notice.
const THREADS_MAX: usize = 4;

/// One that waits for the database must not hold up the timers and signals of the others.
const THREADS_MIN: usize = 2;

/// Threads that may block: the writer, an export, an inspection, those who ask for figures.
const BLOCKING_THREADS_MAX: usize = 16;

/// How long the end of the program waits for what it no longer needs.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs asynchronous work.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let threads = std::thread::available_parallelism().map_or(THREADS_MAX, NonZero::get);
    let threads = threads.clamp(THREADS_MIN, THREADS_MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()
        .map_err(|source| AppError::System { what: "worker threads", source })?;
    let done = runtime.block_on(work);
    // A thread that waits for the database would hold up the end for as long.
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
    done
}

/// Waits for a signal that asks to stop.
async fn stop_signal() -> Signal {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals do what they always do.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    }
}
