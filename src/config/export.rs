//! `[export]`: exported files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::{Format, FormatOptions};
use super::quantity::parse_duration;
use super::reader::Section;

/// `[export]`: exported files.
#[derive(Debug)]
pub struct ExportConfig {
    /// Export folder.
    pub dir: PathBuf,
    /// Format of the files.
    pub format: Format,
    /// When the service exports packages.
    pub schedule: ExportSchedule,
    /// Default consumer.
    pub consumer: ConsumerName,
    /// When packages count as acknowledged.
    pub ack: AckMode,
    /// How long acknowledged packages are kept.
    pub keep: Duration,
}

impl ExportConfig {
    pub(super) fn read(section: &mut Section<'_, '_>, folder: &Path) -> ExportConfig {
        const FORMAT: &str = "\"csv\", \"jsonl\", \"json\" or \"parquet\"";
        const SCHEDULE: &str = "\"off\", \"after-sync\" or a duration such as \"1h\"";
        const ACK: &str = "\"manual\" or \"auto\"";
        let format = section.parsed("format", FORMAT, |text| text.parse().ok()).unwrap_or(Format::Csv);
        if let Some(problem) = format_problem(format, Format::is_built_in) {
            section.add_problem("format", problem);
        }
        ExportConfig {
            dir: section.path("dir").unwrap_or_else(|| folder.join("export")),
            format,
            schedule: section
                .parsed("schedule", SCHEDULE, ExportSchedule::parse)
                .unwrap_or(ExportSchedule::Off),
            consumer: section
                .parsed("consumer", ConsumerName::RULE, ConsumerName::parse)
                .unwrap_or_else(|| ConsumerName("default".into())),
            ack: section.parsed("ack", ACK, |text| text.parse().ok()).unwrap_or(AckMode::Manual),
            keep: section.duration("keep", Duration::from_hours(24 * 30)),
        }
    }
}

/// What is wrong with a format of the settings, behind the name of the setting, if a program lacks it.
fn format_problem(format: Format, is_built_in: impl Fn(Format) -> bool) -> Option<String> {
    let error = FormatOptions::exact(format).check(is_built_in).err()?;
    Some(format!("cannot be {:?}: {error}; {}", format.as_str(), error.help()))
}

/// When the service exports packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportSchedule {
    /// Never.
    Off,
    /// After each run.
    AfterSync,
    /// At this interval.
    Every(Duration),
}

impl ExportSchedule {
    pub(super) fn parse(text: &str) -> Option<ExportSchedule> {
        match text {
            "off" => Some(ExportSchedule::Off),
            "after-sync" => Some(ExportSchedule::AfterSync),
            every => parse_duration(every).map(ExportSchedule::Every),
        }
    }
}

/// When a package counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum AckMode {
    /// When it is acknowledged by `export ack`.
    Manual,
    /// As soon as it is exported.
    Auto,
}

/// Name of a consumer: `[a-z0-9][a-z0-9_-]{0,63}`, which is safe as a folder name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// The rule for names, to complete "must be …".
    pub const RULE: &'static str =
        "a name of 1 to 64 characters a-z, 0-9, `_` and `-` that begins with a letter or digit";

    /// Parses a name; `None` if it breaks the rule.
    #[must_use]
    pub fn parse(name: &str) -> Option<ConsumerName> {
        is_short_name(name, *b"_-").then(|| ConsumerName(name.to_owned()))
    }

    /// Returns the consumer whose packages are shipped to the lake.
    #[must_use]
    pub fn lake() -> ConsumerName {
        ConsumerName("lake".into())
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a name has 1 to 64 lower-case letters, digits and `others`, and begins with a letter or digit.
pub(super) fn is_short_name(name: &str, others: [u8; 2]) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| is_alphanumeric(byte) || others.contains(&byte))
        && name.bytes().next().is_some_and(is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_that_the_program_lacks_is_a_problem_of_the_settings() {
        let without_parquet = |format| format != Format::Parquet;
        assert_eq!(format_problem(Format::Csv, without_parquet), None);
        assert_eq!(format_problem(Format::Parquet, |_| true), None);
        let problem = format_problem(Format::Parquet, without_parquet).unwrap();
        let expected =
            "cannot be \"parquet\": this halosync was built without Parquet; choose csv, jsonl or json";
        assert!(problem.starts_with(expected), "{problem}");
    }
}
