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
use super::progress::StderrWriter;
use crate::app::AppError;
use crate::config::{self, LogFormat, LogLevel};
use crate::sync::DECISION_TARGET;

/// `SYSLOG_IDENTIFIER` in the journal, and the prefix of the fields there.
const IDENTIFIER: &str = "halosync";
const FIELD_PREFIX: &str = "HALOSYNC";

/// Sets up the log of a command: on stderr, at the level of its flags; settings override it where there are none.
pub(super) fn init_for_command(arguments: &CliArgs) -> LogLevelHandle {
    let level = LevelRule { from_flags: level_from_flags(arguments), default: "warn", is_service: false };
    let (filter, handle) = reload::Layer::new(level.filter(None));
    let log = Registry::default().with(filter);
    if arguments.json {
        log.with(json_layer()).init();
    } else {
        log.with(text_layer()).init();
    }
    LogLevelHandle { handle, level }
}

/// Sets up the log of the service by its settings; flags override the level.
pub(super) fn init_for_service(
    arguments: &CliArgs,
    settings: &config::LogConfig,
) -> Result<LogLevelHandle, AppError> {
    let level = LevelRule { from_flags: level_from_flags(arguments), default: "info", is_service: true };
    let (filter, handle) = reload::Layer::new(level.filter(settings.level));
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
    Ok(LogLevelHandle { handle, level })
}

/// Changes the level of the log when settings are read.
pub(super) struct LogLevelHandle {
    handle: reload::Handle<EnvFilter, Registry>,
    level: LevelRule,
}

impl LogLevelHandle {
    pub(super) fn apply_config(&self, settings: &config::LogConfig) {
        // Fails only when the subscriber is gone, at the end of the process.
        let _ = self.handle.reload(self.level.filter(settings.level));
    }
}

/// What the level is: that of the flags, else that of the settings, else a default.
struct LevelRule {
    from_flags: Option<&'static str>,
    default: &'static str,
    is_service: bool,
}

impl LevelRule {
    /// Builds the filter. Libraries are limited to warnings, because their debug logs show request contents;
    /// refinery logs build paths, and the TLS verifier repeats what errors say already.
    fn filter(&self, from_settings: Option<LogLevel>) -> EnvFilter {
        EnvFilter::new(self.directives(from_settings))
    }

    fn directives(&self, from_settings: Option<LogLevel>) -> String {
        let level = self.from_flags.or(from_settings.map(LogLevel::as_str)).unwrap_or(self.default);
        let others = if level == "error" { "error" } else { "warn" };
        let is_brief = self.is_service && self.from_flags.is_none() && level == "info";
        let decisions = if is_brief { format!(",{DECISION_TARGET}=warn") } else { String::new() };
        format!("{others},halosync={level}{decisions},refinery_core=off,rustls_platform_verifier=off")
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
    text::layer().json().with_target(false).with_writer(|| StderrWriter).log_internal_errors(false)
}

fn text_layer<S: Subscriber + for<'s> LookupSpan<'s>>() -> impl Layer<S> {
    let use_colors = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    let layer = text::layer().with_ansi(use_colors).with_writer(|| StderrWriter).log_internal_errors(false);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_settings_and_settings_over_the_default() {
        for (from_flags, from_settings, is_service, expected) in [
            (None, None, false, "warn,halosync=warn,"),
            (None, Some(LogLevel::Info), false, "warn,halosync=info,refinery"),
            (Some("error"), Some(LogLevel::Debug), false, "error,halosync=error,"),
            (Some("debug"), Some(LogLevel::Error), false, "warn,halosync=debug,"),
            (None, None, true, "warn,halosync=info,halosync::decision=warn,"),
            (None, Some(LogLevel::Debug), true, "warn,halosync=debug,refinery"),
            (Some("info"), None, true, "warn,halosync=info,refinery"),
        ] {
            let default = if is_service { "info" } else { "warn" };
            let directives = LevelRule { from_flags, default, is_service }.directives(from_settings);
            assert!(directives.starts_with(expected), "{directives}");
        }
    }
}
