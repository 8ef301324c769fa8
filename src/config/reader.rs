//! Reads single settings from the file or the environment, and remembers which keys were requested.
//!
//! A key that was never requested is unknown, so no separate list of keys is needed. All problems are
//! collected, so that they are shown together.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use strum::VariantNames;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::ConfigProblem;
use super::quantity::{parse_duration, parse_percentage};

/// The longest value that a problem quotes, in bytes.
const SHOWN_MAX: usize = 200;
/// The variable that names the settings file; every other one overrides a key.
const SETTINGS_FILE_VARIABLE: &str = "HALOSYNC_CONFIG";

/// A value and its source.
enum RawSetting<'a> {
    File(&'a DeValue<'a>),
    Environment(&'a str),
}

pub(super) struct ConfigReader<'a> {
    file: &'a str,
    text: &'a str,
    folder: &'a Path,
    table: DeTable<'a>,
    environment: &'a BTreeMap<String, String>,
    requested_keys: Vec<(&'static str, &'static str)>,
    problems: Vec<ConfigProblem>,
}

impl<'a> ConfigReader<'a> {
    /// Parses the file. `file` is its name in problems, `folder` the base of relative paths, `environment` the
    /// variables that begin with `HALOSYNC_`.
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        folder: &'a Path,
        environment: &'a BTreeMap<String, String>,
    ) -> Result<ConfigReader<'a>, Vec<ConfigProblem>> {
        let table = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let message = format!("invalid TOML: {}", error.message());
            vec![ConfigProblem { location: format!("{file}:{line}"), message }]
        })?;
        let table = table.into_inner();
        Ok(ConfigReader { file, text, folder, table, environment, requested_keys: vec![], problems: vec![] })
    }

    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        Section { reader: self, name }
    }

    /// Forgets the problems so far; the keys stay known.
    pub(super) fn forget_problems(&mut self) {
        self.problems.clear();
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

    /// Whether a problem may quote a value. A secret is never shown, not even an invalid one or one under another key.
    fn may_show(&self, key: &str, written: &str) -> bool {
        let secret = variable_name("halo", "client_secret");
        let in_file = self.table.get("halo").and_then(|it| it.get_ref().as_table()?.get("client_secret"));
        let in_file = in_file.and_then(|secret| secret.get_ref().as_str());
        let secrets = [in_file, self.environment.get(&secret).map(String::as_str)];
        let holds_secret = secrets.into_iter().flatten().any(|it| !it.is_empty() && written.contains(it));
        !key.contains("secret") && key != "proxy" && !holds_secret && written.len() <= SHOWN_MAX
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
        let belongs_under = |wrong: &str| {
            let section = self.requested_keys.iter().find(|(_, key)| *key == wrong);
            section.map(|(section, _)| format!("; it belongs under [{section}]"))
        };
        let mut report = |key: &Spanned<_>, message: String| {
            let location = format!("{}:{}", self.file, line_of(self.text, key.span().start));
            unknown.push(ConfigProblem { location, message });
        };
        for (section, value) in &self.table {
            let name = section.get_ref().as_ref();
            let Some(keys) = value.get_ref().as_table() else {
                let hint = belongs_under(name).unwrap_or_default();
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
                let hint = belongs_under(wrong).unwrap_or_else(|| did_you_mean(wrong, known.iter().copied()));
                report(key, format!("unknown key `{wrong}` in [{name}]{hint}"));
            }
        }
        unknown
    }

    fn unknown_variables(&self) -> Vec<ConfigProblem> {
        let known: Vec<_> =
            self.requested_keys.iter().map(|(section, key)| variable_name(section, key)).collect();
        let unknown =
            self.environment.keys().filter(|name| !known.contains(name) && *name != SETTINGS_FILE_VARIABLE);
        let problem = |name: &String| {
            let known = known.iter().map(String::as_str).chain([SETTINGS_FILE_VARIABLE]);
            let hint = did_you_mean(name, known);
            ConfigProblem { location: name.clone(), message: format!("unknown environment variable{hint}") }
        };
        unknown.map(problem).collect()
    }
}

/// Reads the keys of one section.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut ConfigReader<'a>,
    name: &'static str,
}

impl Section<'_, '_> {
    pub(super) fn add_problem(&mut self, key: &str, message: impl Into<String>) {
        let location = self.reader.location(self.name, key);
        let message = format!("`{}.{key}` {}", self.name, message.into());
        self.reader.problems.push(ConfigProblem { location, message });
    }

    /// Whether the key has a value, valid or not.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let in_file = self.reader.table.get(self.name).and_then(|it| it.get_ref().as_table()?.get(key));
        self.is_from_environment(key) || in_file.is_some()
    }

    /// Whether the value comes from the environment.
    pub(super) fn is_from_environment(&self, key: &str) -> bool {
        self.reader.environment.contains_key(&variable_name(self.name, key))
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        self.read(key, "a string", |raw| match raw {
            RawSetting::File(DeValue::String(text)) => Some(text.to_string()),
            RawSetting::Environment(text) => Some((*text).to_owned()),
            RawSetting::File(_) => None,
        })
    }

    /// Reads a string; `None` if empty.
    pub(super) fn filled_text(&mut self, key: &'static str) -> Option<String> {
        self.text(key).filter(|text| !text.is_empty())
    }

    /// Reads a path, relative to the folder of the file; `None` if empty.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.filled_text(key).map(|path| self.reader.folder.join(path))
    }

    /// Reads a string or an array of strings; empty ones are left out.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let strings = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(ToOwned::to_owned)).collect()
            }
            _ => None,
        };
        let read = self.read(key, "a string or a list of strings", |raw| match raw {
            RawSetting::File(value) => strings(value),
            RawSetting::Environment(text) if text.trim_start().starts_with('[') => {
                strings(DeValue::parse(text.trim()).ok()?.get_ref())
            }
            RawSetting::Environment(text) => Some(vec![(*text).to_owned()]),
        });
        read.unwrap_or_default().into_iter().filter(|text| !text.trim().is_empty()).collect()
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let read = self.read(key, "`true` or `false`", |raw| match raw {
            RawSetting::File(value) => value.as_bool(),
            RawSetting::Environment(text) => text.trim().parse().ok(),
        });
        read.unwrap_or(default)
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let read = self.read(key, &expected, |raw| {
            let text = match raw {
                RawSetting::File(DeValue::Integer(number)) => number.as_str(),
                RawSetting::Environment(text) => text.trim(),
                RawSetting::File(_) => return None,
            };
            text.parse().ok().filter(|number| range.contains(number))
        });
        read.unwrap_or(default)
    }

    /// Reads a percentage as a fraction from 0 to 1.
    pub(super) fn percentage(&mut self, key: &'static str, default: f64) -> f64 {
        self.parsed(key, "a percentage such as \"5%\"", parse_percentage).unwrap_or(default)
    }

    /// Reads a duration with a unit, such as `"5m"`; never zero.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        let expected = "a duration with a unit, such as \"30s\", \"5m\" or \"24h\"";
        self.parsed(key, expected, parse_duration).unwrap_or(default)
    }

    /// Reads a duration, or `none`: the word for no duration at all.
    pub(super) fn duration_or(
        &mut self,
        key: &'static str,
        example: &str,
        none: &str,
        default: Option<Duration>,
    ) -> Option<Duration> {
        let parse = |text: &str| if text == none { Some(None) } else { parse_duration(text).map(Some) };
        self.parsed(key, &format!("a duration such as {example:?}, or {none:?}"), parse).unwrap_or(default)
    }

    /// Reads one of the names of an enum.
    pub(super) fn choice<T: Default + FromStr + VariantNames>(&mut self, key: &'static str) -> T {
        let expected = format!("one of {}", T::VARIANTS.join(", "));
        self.parsed(key, &expected, |text| text.parse().ok()).unwrap_or_default()
    }

    /// Reads a string or a bare number that `parse` accepts; `expected` completes "must be …".
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(key, expected, |raw| match raw {
            RawSetting::File(DeValue::String(text)) => parse(text),
            RawSetting::File(DeValue::Integer(number)) => parse(number.as_str()),
            RawSetting::Environment(text) => parse(text.trim()),
            RawSetting::File(_) => None,
        })
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        read: impl Fn(&RawSetting<'_>) -> Option<T>,
    ) -> Option<T> {
        let reader = &mut *self.reader;
        reader.requested_keys.push((self.name, key));
        let (value, written) = if let Some(text) = reader.environment.get(&variable_name(self.name, key)) {
            (read(&RawSetting::Environment(text)), format!("{text:?}"))
        } else {
            let value = reader.table.get(self.name)?.get_ref().as_table()?.get(key)?;
            let written = match value.get_ref() {
                DeValue::Table(_) => "a table",
                DeValue::Array(items) if items.iter().any(|it| it.get_ref().as_table().is_some()) => "a list",
                _ => reader.text.get(value.span()).unwrap_or_default(),
            };
            (read(&RawSetting::File(value.get_ref())), written.to_owned())
        };
        if value.is_none() {
            let displayed = if self.reader.may_show(key, &written) { &written } else { "the value given" };
            self.add_problem(key, format!("must be {expected}, not {displayed}"));
        }
        value
    }
}

/// Returns the name of the environment variable that overrides a key.
fn variable_name(section: &str, key: &str) -> String {
    format!("HALOSYNC_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Returns a clause with the known name that is nearest to a wrong one, whatever their case; empty if none is near.
pub(super) fn did_you_mean<'n>(wrong: &str, known: impl Iterator<Item = &'n str>) -> String {
    let folded = wrong.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&folded, &name.to_ascii_lowercase());
    let nearest = known.map(|name| (distance(name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + wrong.len() / 4 => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}
