//! Where log lines go, which, and how they look.
//!
//! A message says everything that people need; fields say it again for programs. So text has the message
//! alone, but for what is told at debug and below, whose content is in the fields.

use std::fmt;
use std::io;

use anstream::{AutoStream, ColorChoice};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt as text, reload};

use super::args::Arguments;
use crate::agent::AgentError;
use crate::config;

/// The service's name in the journal, and what its fields begin with there.
const IDENTIFIER: &str = "halosync";
const FIELD_PREFIX: &str = "HALOSYNC";

/// The log of a command: on stderr, as much as its flags say.
pub(super) fn of_a_command(arguments: &Arguments) {
    let log = Registry::default().with(filter(asked_for(arguments).unwrap_or("warn")));
    if arguments.json { log.with(json()).init() } else { log.with(lines()).init() }
}

/// The log of the service: where and as much as its settings say.
pub(super) fn of_the_service(arguments: &Arguments, settings: &config::Log) -> Result<Levels, AgentError> {
    let asked_for = asked_for(arguments);
    let (filter, handle) = reload::Layer::new(filter(asked_for.unwrap_or(&settings.level)));
    let log = Registry::default().with(filter);
    match settings.format.as_str() {
        "journald" => log.with(journal().map_err(no_journal)?).init(),
        "auto" if !arguments.json && stderr_is_the_journal() => match journal() {
            Ok(journal) => log.with(journal).init(),
            Err(_) => log.with(lines()).init(),
        },
        "json" => log.with(json()).init(),
        _ if arguments.json => log.with(json()).init(),
        _ => log.with(lines()).init(),
    }
    Ok(Levels { handle, fixed: asked_for.is_some() })
}

/// The levels that are written, which new settings may change.
pub(super) struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    /// A flag was given, which counts for more than settings.
    fixed: bool,
}

impl Levels {
    pub(super) fn follow(&self, settings: &config::Log) {
        if !self.fixed {
            // It fails only where the log is gone, and the process with it.
            let _ = self.handle.reload(filter(&settings.level));
        }
    }
}

/// What the flags ask for, where they ask.
fn asked_for(arguments: &Arguments) -> Option<&'static str> {
    match (arguments.quiet, arguments.verbose) {
        (true, _) => Some("error"),
        (false, 0) => None,
        (false, 1) => Some("info"),
        (false, 2) => Some("debug"),
        (false, _) => Some("trace"),
    }
}

/// Libraries say what the program says better: the migrations log where they were built, TLS what is told
/// as a cause anyway, and what travels over the wire is nobody's business.
fn filter(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{others},halosync={level},refinery_core=off,rustls_platform_verifier=off"))
}

/// Whether stderr leads to the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn stderr_is_the_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stderr) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

fn journal() -> io::Result<tracing_journald::Layer> {
    let layer = tracing_journald::layer()?;
    Ok(layer.with_syslog_identifier(IDENTIFIER.into()).with_field_prefix(Some(FIELD_PREFIX.into())))
}

fn no_journal(source: io::Error) -> AgentError {
    AgentError::System { what: "a connection to the journal", source }
}

// A stderr that is gone must not end the program: the library would panic when it tells of it there.

fn json<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    text::layer().json().with_target(false).with_writer(io::stderr).log_internal_errors(false)
}

fn lines<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    let colours = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let layer = text::layer().with_ansi(colours).with_writer(io::stderr).log_internal_errors(false);
    layer.event_format(Line)
}

/// A line: when, how serious, and the message.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut out)?;
        let level = *event.metadata().level();
        if out.has_ansi_escapes() {
            write!(out, " {}{level:>5}\x1b[0m ", colour(level))?;
        } else {
            write!(out, " {level:>5} ")?;
        }
        if Level::INFO < level {
            context.format_fields(out.by_ref(), event)?;
        } else {
            let mut message = Message(String::new());
            event.record(&mut message);
            out.write_str(&message.0)?;
        }
        writeln!(out)
    }
}

const fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// The message of an event, fit for a terminal.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = super::printable(&format!("{value:?}"));
        }
    }
}
