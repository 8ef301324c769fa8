//! Reads settings one by one out of the file and the environment, and remembers what was asked for.
//!
//! A key that nobody asked for is unknown, so there is no second list of keys to keep. Every problem
//! is collected, so that one run shows all of them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `agent.toml:3`, or the name of an environment variable.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.what)
    }
}

/// A value, from wherever it was given.
enum Given<'a> {
    File(&'a DeValue<'a>),
    Environment(&'a str),
}

pub(super) struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    table: DeTable<'a>,
    environment: &'a BTreeMap<String, String>,
    asked: Vec<(&'static str, &'static str)>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// `file` is how the file is called in problems, `environment` the variables that begin with
    /// `HALOSYNC_`.
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        environment: &'a BTreeMap<String, String>,
    ) -> Result<Reader<'a>, Vec<Problem>> {
        match DeTable::parse(text) {
            Ok(table) => {
                let table = table.into_inner();
                Ok(Reader { file, text, table, environment, asked: Vec::new(), problems: Vec::new() })
            }
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                let what = format!("not TOML: {}", error.message());
                Err(vec![Problem { place: format!("{file}:{line}"), what }])
            }
        }
    }

    /// Ends the reading: all problems, those of unknown keys among them.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let mut unknown = self.unknown_in_file();
        unknown.extend(self.unknown_in_environment());
        self.problems.extend(unknown);
        // As they stand in the file, from its beginning to its end; then the environment's.
        let file = self.file;
        self.problems.sort_by_key(|Problem { place, .. }| match place.strip_prefix(file) {
            Some(line) => line.trim_start_matches(':').parse().unwrap_or(0),
            None => usize::MAX,
        });
        self.problems
    }

    pub(super) fn problem(&mut self, section: &str, key: &str, what: impl Into<String>) {
        let place = self.place(section, key);
        self.problems.push(Problem { place, what: format!("`{section}.{key}` {}", what.into()) });
    }

    /// Whether the key has a value, usable or not.
    pub(super) fn is_given(&self, section: &str, key: &str) -> bool {
        let in_file = self.table.get(section).and_then(|it| it.get_ref().as_table()?.get(key));
        self.environment.contains_key(&variable(section, key)) || in_file.is_some()
    }

    pub(super) fn text(&mut self, section: &'static str, key: &'static str, default: &str) -> String {
        self.optional_text(section, key).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn optional_text(&mut self, section: &'static str, key: &'static str) -> Option<String> {
        self.read(section, key, "a text", |given| match given {
            Given::File(DeValue::String(text)) => Some(text.to_string()),
            Given::Environment(text) => Some((*text).to_owned()),
            Given::File(_) => None,
        })
    }

    /// A text, or an array of texts.
    pub(super) fn texts(&mut self, section: &'static str, key: &'static str) -> Vec<String> {
        let strings = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => {
                items.iter().map(|item| item.get_ref().as_str().map(ToOwned::to_owned)).collect()
            }
            _ => None,
        };
        let read = self.read(section, key, "a text or a list of texts", |given| match given {
            Given::File(value) => strings(value),
            Given::Environment(text) if text.trim_start().starts_with('[') => {
                strings(DeValue::parse(text.trim()).ok()?.get_ref())
            }
            Given::Environment(text) => Some(vec![(*text).to_owned()]),
        });
        read.unwrap_or_default().into_iter().filter(|text| !text.trim().is_empty()).collect()
    }

    pub(super) fn boolean(&mut self, section: &'static str, key: &'static str, default: bool) -> bool {
        let read = self.read(section, key, "`true` or `false`", |given| match given {
            Given::File(value) => value.as_bool(),
            Given::Environment(text) => text.trim().parse().ok(),
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
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let read = self.read(section, key, &wanted, |given| {
            let text = match given {
                Given::File(DeValue::Integer(number)) => number.as_str(),
                Given::Environment(text) => text.trim(),
                Given::File(_) => return None,
            };
            text.parse().ok().filter(|number| range.contains(number))
        });
        read.unwrap_or(default)
    }

    /// A duration with a unit, such as `"5m"`; never zero.
    pub(super) fn duration(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: Duration,
    ) -> Duration {
        self.parsed(section, key, "a duration with a unit, such as \"30s\", \"5m\" or \"24h\"", duration)
            .unwrap_or(default)
    }

    /// A text that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(section, key, wanted, |given| match given {
            Given::File(DeValue::String(text)) => parse(text),
            Given::Environment(text) => parse(text.trim()),
            Given::File(_) => None,
        })
    }

    fn read<T>(
        &mut self,
        section: &'static str,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&Given<'_>) -> Option<T>,
    ) -> Option<T> {
        self.asked.push((section, key));
        let name = variable(section, key);
        let (value, shown) = if let Some(text) = self.environment.get(&name) {
            (read(&Given::Environment(text)), format!("{text:?}"))
        } else {
            let value = self.table.get(section)?.get_ref().as_table()?.get(key)?;
            let written = self.text.get(value.span()).unwrap_or_default();
            (read(&Given::File(value.get_ref())), written.to_owned())
        };
        if value.is_none() {
            // A secret is never shown, not even a wrong one.
            let shown = if key.contains("secret") { "the value given".to_owned() } else { shown };
            self.problem(section, key, format!("must be {wanted}, not {shown}"));
        }
        value
    }

    fn place(&self, section: &str, key: &str) -> String {
        let name = variable(section, key);
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

    fn unknown_in_file(&self) -> Vec<Problem> {
        let mut unknown = Vec::new();
        let mut report = |key: &Spanned<_>, what: String| {
            let place = format!("{}:{}", self.file, line_of(self.text, key.span().start));
            unknown.push(Problem { place, what });
        };
        for (section, value) in &self.table {
            let name = section.get_ref().as_ref();
            let Some(keys) = value.get_ref().as_table() else {
                let hint = self.asked.iter().find(|(_, key)| *key == name).map(|(section, _)| *section);
                let hint = hint.map_or(String::new(), |section| format!("; it belongs under [{section}]"));
                report(section, format!("`{name}` stands outside of a section{hint}"));
                continue;
            };
            let known: Vec<_> =
                self.asked.iter().filter(|(it, _)| *it == name).map(|(_, key)| *key).collect();
            if known.is_empty() {
                let sections = self.asked.iter().map(|(section, _)| *section);
                report(section, format!("unknown section [{name}]{}", did_you_mean(name, sections)));
                continue;
            }
            for key in keys.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
                let wrong = key.get_ref().as_ref();
                let elsewhere = self.asked.iter().find(|(_, key)| *key == wrong);
                let meant = elsewhere.map_or_else(
                    || did_you_mean(wrong, known.iter().copied()),
                    |(section, _)| format!("; it belongs under [{section}]"),
                );
                report(key, format!("unknown key `{wrong}` in [{name}]{meant}"));
            }
        }
        unknown
    }

    fn unknown_in_environment(&self) -> Vec<Problem> {
        let known: Vec<_> = self.asked.iter().map(|(section, key)| variable(section, key)).collect();
        // One underscore may belong to anybody, unless it is a key of ours but for the second one.
        let ours =
            |name: &str| name.contains("__") || known.iter().any(|it| it.replacen("__", "_", 1) == name);
        let unknown = self.environment.keys().filter(|name| !known.contains(name) && ours(name));
        unknown
            .map(|name| Problem {
                place: name.clone(),
                what: format!(
                    "unknown environment variable{}",
                    did_you_mean(name, known.iter().map(String::as_str))
                ),
            })
            .collect()
    }
}

/// The environment variable that overrides a key.
fn variable(section: &str, key: &str) -> String {
    format!("HALOSYNC_{}__{}", section.to_ascii_uppercase(), key.to_ascii_uppercase())
}

/// A duration with a unit; never zero.
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
