//! The log: its destination, level and format.
//!
//! A message holds everything that people need, its fields repeat it for programs. Text lines therefore show
//! only the message; at debug and below, where the content is in the fields, they show those too.

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

use super::args::CliArgs;
use crate::app::AppError;
use crate::config::{self, LogFormat};

/// `SYSLOG_IDENTIFIER` in the journal, and the prefix of the fields there.
const IDENTIFIER: &str = "halosync";
const FIELD_PREFIX: &str = "HALOSYNC";

/// Sets up the log of a command: on stderr, at the level of its flags.
pub(super) fn init_for_command(arguments: &CliArgs) {
    let log = Registry::default().with(filter(level_from_flags(arguments).unwrap_or("warn")));
    if arguments.json { log.with(json_layer()).init() } else { log.with(text_layer()).init() }
}

/// Sets up the log of the service by its settings; flags override the level.
pub(super) fn init_for_service(
    arguments: &CliArgs,
    settings: &config::LogConfig,
) -> Result<LogLevelHandle, AppError> {
    let flag_level = level_from_flags(arguments);
    let (filter, handle) = reload::Layer::new(filter(flag_level.unwrap_or(settings.level.as_str())));
    let log = Registry::default().with(filter);
    match settings.format {
        LogFormat::Journald => {
            let failed = |source| AppError::System("a connection to the journal", source);
            log.with(journald_layer().map_err(failed)?).init();
        }
        LogFormat::Auto if !arguments.json && is_stderr_journald() => match journald_layer() {
            Ok(journal) => log.with(journal).init(),
            Err(_) => log.with(text_layer()).init(),
        },
        LogFormat::Json => log.with(json_layer()).init(),
        _ if arguments.json => log.with(json_layer()).init(),
        _ => log.with(text_layer()).init(),
    }
    Ok(LogLevelHandle { handle, set_by_flags: flag_level.is_some() })
}

/// Changes the level of the log while the service runs.
pub(super) struct LogLevelHandle {
    handle: reload::Handle<EnvFilter, Registry>,
    /// Whether a flag set the level, which settings do not override.
    set_by_flags: bool,
}

impl LogLevelHandle {
    pub(super) fn apply_config(&self, settings: &config::LogConfig) {
        if !self.set_by_flags {
            // Fails only when the subscriber is gone, at the end of the process.
            let _ = self.handle.reload(filter(settings.level.as_str()));
        }
    }
}

/// Returns the level set by `--quiet` or `--verbose`, if any.
fn level_from_flags(arguments: &CliArgs) -> Option<&'static str> {
    match (arguments.quiet, arguments.verbose) {
        (true, _) => Some("error"),
        (false, 0) => None,
        (false, 1) => Some("info"),
        (false, 2) => Some("debug"),
        (false, _) => Some("trace"),
    }
}

/// Builds the filter. Libraries are limited to warnings, because their debug logs show request contents;
/// refinery logs build paths, and the TLS verifier repeats what errors say already.
fn filter(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{others},halosync={level},refinery_core=off,rustls_platform_verifier=off"))
}

/// Whether stderr is connected to the journal (`$JOURNAL_STREAM`, systemd.exec(5)).
fn is_stderr_journald() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let Ok(stderr) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

fn journald_layer() -> io::Result<tracing_journald::Layer> {
    let layer = tracing_journald::layer()?;
    Ok(layer.with_syslog_identifier(IDENTIFIER.into()).with_field_prefix(Some(FIELD_PREFIX.into())))
}

// `log_internal_errors(false)`: with a closed stderr the library would panic when it reports its own error there.

fn json_layer<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    text::layer().json().with_target(false).with_writer(io::stderr).log_internal_errors(false)
}

fn text_layer<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    let use_colors = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let layer = text::layer().with_ansi(use_colors).with_writer(io::stderr).log_internal_errors(false);
    layer.event_format(LineFormat)
}

/// The line format: time, level, message.
struct LineFormat;

impl<S, N> FormatEvent<S, N> for LineFormat
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
            write!(out, " {}{level:>5}\x1b[0m ", color(level))?;
        } else {
            write!(out, " {level:>5} ")?;
        }
        if Level::INFO < level {
            context.format_fields(out.by_ref(), event)?;
        } else {
            let mut message = MessageVisitor(String::new());
            event.record(&mut message);
            out.write_str(&message.0)?;
        }
        writeln!(out)
    }
}

const fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// Collects the message of an event, safe for a terminal.
struct MessageVisitor(String);

impl Visit for MessageVisitor {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = super::printable(&format!("{value:?}"));
        }
    }
}
