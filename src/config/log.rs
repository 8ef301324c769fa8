//! `[log]`: the log of the service and of commands.

use strum::{EnumString, IntoStaticStr, VariantNames};

use super::reader::Section;

/// `[log]`: the log of the service and of commands.
#[derive(Debug)]
pub struct LogConfig {
    /// Lowest level that is logged, if it is set.
    pub level: Option<LogLevel>,
    /// Format of the service's log.
    pub format: LogFormat,
}

impl LogConfig {
    pub(super) fn read(section: &mut Section<'_, '_>) -> LogConfig {
        let level = section.choice("level");
        let level = section.is_set("level").then_some(level);
        LogConfig { level, format: section.choice("format") }
    }
}

/// Level of a log event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogLevel {
    /// Only errors.
    Error,
    /// Warnings too.
    Warn,
    /// What the service does, in brief.
    #[default]
    Info,
    /// Details of each run.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Returns its name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LogFormat {
    /// journald if stderr is connected to it, else text.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per event.
    Json,
    /// Structured journald entries.
    Journald,
}
