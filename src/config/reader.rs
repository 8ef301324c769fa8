//! Reads single settings from the file or the environment, and remembers which keys were requested.
//!
//! A key that was never requested is unknown, so no separate list of keys is needed. All problems are
//! collected, so that they are shown together.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A problem with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Location: `agent.toml:3`, or the name of an environment variable.
    pub location: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.location, self.message)
    }
}

/// A value and its source.
enum RawSetting<'a> {
    File(&'a DeValue<'a>),
    Environment(&'a str),
}

pub(super) struct ConfigReader<'a> {
    file: &'a str,
    text: &'a str,
    table: DeTable<'a>,
    environment: &'a BTreeMap<String, String>,
    requested_keys: Vec<(&'static str, &'static str)>,
    problems: Vec<ConfigProblem>,
}

impl<'a> ConfigReader<'a> {
    /// Parses the file. `file` is its name in problems, `environment` the variables that begin with
    /// `HALOSYNC_`.
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        environment: &'a BTreeMap<String, String>,
    ) -> Result<ConfigReader<'a>, Vec<ConfigProblem>> {
        match DeTable::parse(text) {
            Ok(table) => {
                let table = table.into_inner();
                Ok(ConfigReader {
                    file,
                    text,
                    table,
                    environment,
                    requested_keys: Vec::new(),
                    problems: Vec::new(),
                })
            }
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                let message = format!("invalid TOML: {}", error.message());
                Err(vec![ConfigProblem { location: format!("{file}:{line}"), message }])
            }
        }
    }

    /// Returns all problems, including unknown keys and variables.
    pub(super) fn finish(mut self) -> Vec<ConfigProblem> {
        let mut unknown = self.unknown_keys();
        unknown.extend(self.unknown_variables());
        self.problems.extend(unknown);
        // In the order of the file; those of the environment last.
        let file = self.file;
        self.problems.sort_by_key(|ConfigProblem { location, .. }| match location.strip_prefix(file) {
            Some(line) => line.trim_start_matches(':').parse().unwrap_or(0),
            None => usize::MAX,
        });
        self.problems
    }

    pub(super) fn add_problem(&mut self, section: &str, key: &str, message: impl Into<String>) {
        let location = self.location(section, key);
        self.problems
            .push(ConfigProblem { location, message: format!("`{section}.{key}` {}", message.into()) });
    }

    /// Whether the key has a value, valid or not.
    pub(super) fn is_set(&self, section: &str, key: &str) -> bool {
        let in_file = self.table.get(section).and_then(|it| it.get_ref().as_table()?.get(key));
        self.environment.contains_key(&variable_name(section, key)) || in_file.is_some()
    }

    pub(super) fn text(&mut self, section: &'static str, key: &'static str, default: &str) -> String {
        self.optional_text(section, key).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn optional_text(&mut self, section: &'static str, key: &'static str) -> Option<String> {
        self.read(section, key, "a string", |raw| match raw {
            RawSetting::File(DeValue::String(text)) => Some(text.to_string()),
            RawSetting::Environment(text) => Some((*text).to_owned()),
            RawSetting::File(_) => None,
        })
    }

    /// Reads a string or an array of strings; empty ones are left out.
    pub(super) fn texts(&mut self, section: &'static str, key: &'static str) -> Vec<String> {
        let strings = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(ToOwned::to_owned)).collect()
            }
            _ => None,
        };
        let read = self.read(section, key, "a string or a list of strings", |raw| match raw {
            RawSetting::File(value) => strings(value),
            RawSetting::Environment(text) if text.trim_start().starts_with('[') => {
                strings(DeValue::parse(text.trim()).ok()?.get_ref())
            }
            RawSetting::Environment(text) => Some(vec![(*text).to_owned()]),
        });
        read.unwrap_or_default().into_iter().filter(|text| !text.trim().is_empty()).collect()
    }

    pub(super) fn boolean(&mut self, section: &'static str, key: &'static str, default: bool) -> bool {
        let read = self.read(section, key, "`true` or `false`", |raw| match raw {
            RawSetting::File(value) => value.as_bool(),
            RawSetting::Environment(text) => text.trim().parse().ok(),
        });
        read.unwrap_or(default)
    }

    pub(super) fn integer(
        &mut self,
        section: &'static str,
        key: &'static str,
        range: RangeInclusive<u32>,
        default: u32,
    ) -> u32 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = self.read(section, key, &expected, |raw| {
            let text = match raw {
                RawSetting::File(DeValue::Integer(number)) => number.as_str(),
                RawSetting::Environment(text) => text.trim(),
                RawSetting::File(_) => return None,
            };
            text.parse().ok().filter(|number| range.contains(number))
        });
        read.unwrap_or(default)
    }

    /// Reads a duration with a unit, such as `"5m"`; never zero.
    pub(super) fn duration(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: Duration,
    ) -> Duration {
        self.parsed(section, key, "a duration with a unit, such as \"30s\", \"5m\" or \"24h\"", duration)
            .unwrap_or(default)
    }

    /// Reads a string that `parse` accepts; `expected` completes "must be …".
    pub(super) fn parsed<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(section, key, expected, |raw| match raw {
            RawSetting::File(DeValue::String(text)) => parse(text),
            RawSetting::Environment(text) => parse(text.trim()),
            RawSetting::File(_) => None,
        })
    }

    /// The same for a quantity, which may be a bare number where `parse` accepts it without a unit.
    pub(super) fn parsed_number<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(section, key, expected, |raw| match raw {
            RawSetting::File(DeValue::String(text)) => parse(text),
            RawSetting::File(DeValue::Integer(number)) => parse(number.as_str()),
            RawSetting::Environment(text) => parse(text.trim()),
            RawSetting::File(_) => None,
        })
    }

    fn read<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        expected: &str,
        read: impl Fn(&RawSetting<'_>) -> Option<T>,
    ) -> Option<T> {
        self.requested_keys.push((section, key));
        let name = variable_name(section, key);
        let (value, written) = if let Some(text) = self.environment.get(&name) {
            (read(&RawSetting::Environment(text)), format!("{text:?}"))
        } else {
            let value = self.table.get(section)?.get_ref().as_table()?.get(key)?;
            let written = self.text.get(value.span()).unwrap_or_default();
            (read(&RawSetting::File(value.get_ref())), written.to_owned())
        };
        if value.is_none() {
            // A secret is never shown, not even an invalid one.
            let displayed = if key.contains("secret") { "the value given".to_owned() } else { written };
            self.add_problem(section, key, format!("must be {expected}, not {displayed}"));
        }
        value
    }

    fn location(&self, section: &str, key: &str) -> String {
        let name = variable_name(section, key);
        if self.environment.contains_key(&name) {
            return name;
        }
        let entry = self.table.get_key_value(section);
        let line = entry.map(|(name, table)| {
            let key = table.get_ref().as_table().and_then(|table| table.get_key_value(key));
            key.map_or_else(|| name.span(), |(key, _)| key.span()).start
        });
        match line {
            Some(start) => format!("{}:{}", self.file, line_of(self.text, start)),
            None => self.file.to_owned(),
        }
    }

    fn unknown_keys(&self) -> Vec<ConfigProblem> {
        let mut unknown = Vec::new();
        let mut report = |key: &Spanned<_>, message: String| {
            let location = format!("{}:{}", self.file, line_of(self.text, key.span().start));
            unknown.push(ConfigProblem { location, message });
        };
        for (section, value) in &self.table {
            let name = section.get_ref().as_ref();
            let Some(keys) = value.get_ref().as_table() else {
                let hint =
                    self.requested_keys.iter().find(|(_, key)| *key == name).map(|(section, _)| *section);
                let hint = hint.map_or(String::new(), |section| format!("; it belongs under [{section}]"));
                report(section, format!("`{name}` is outside any section{hint}"));
                continue;
            };
            let known: Vec<_> =
                self.requested_keys.iter().filter(|(it, _)| *it == name).map(|(_, key)| *key).collect();
            if known.is_empty() {
                let sections = self.requested_keys.iter().map(|(section, _)| *section);
                report(section, format!("unknown section [{name}]{}", did_you_mean(name, sections)));
                continue;
            }
            for key in keys.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
                let wrong = key.get_ref().as_ref();
                let elsewhere = self.requested_keys.iter().find(|(_, key)| *key == wrong);
                let hint = elsewhere.map_or_else(
                    || did_you_mean(wrong, known.iter().copied()),
                    |(section, _)| format!("; it belongs under [{section}]"),
                );
                report(key, format!("unknown key `{wrong}` in [{name}]{hint}"));
            }
        }
        unknown
    }

    fn unknown_variables(&self) -> Vec<ConfigProblem> {
        let known: Vec<_> =
            self.requested_keys.iter().map(|(section, key)| variable_name(section, key)).collect();
        // A variable without a double underscore may belong to another program, unless one underscore is all
        // that is missing.
        let is_setting =
            |name: &str| name.contains("__") || known.iter().any(|it| it.replacen("__", "_", 1) == name);
        let unknown = self.environment.keys().filter(|name| !known.contains(name) && is_setting(name));
        unknown
            .map(|name| ConfigProblem {
                location: name.clone(),
                message: format!(
                    "unknown environment variable{}",
                    did_you_mean(name, known.iter().map(String::as_str))
                ),
            })
            .collect()
    }
}

/// Returns the name of the environment variable that overrides a key.
fn variable_name(section: &str, key: &str) -> String {
    format!("HALOSYNC_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

/// Parses a duration with a unit; never zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text.trim()).ok().filter(|duration| !duration.is_zero())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn did_you_mean<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> String {
    let nearest = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}
