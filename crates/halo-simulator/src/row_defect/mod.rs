//! Defects of rows: how a row, or an element of a reference list, is served wrongly.
//!
//! A defect alters the finished text of a row, so the ticket itself, its place in lists and its filters stay as they are.

mod alteration;
mod json_text;

use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

pub(crate) use alteration::{alter_elements, apply, apply_to_elements, row_id, set_property};

/// What is wrong with a row as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowDefect {
    /// A value has another form.
    Value {
        /// The form.
        form: ValueForm,
        /// The names of the properties that lead to the value; empty for the row itself.
        path: Vec<String>,
    },
    /// The text is not valid JSON, in this way.
    Text(TextDefect),
    /// `details` begins with that many megabytes of text.
    Huge(u32),
    /// `customfields` has that many elements, none of a known field.
    Fields(u32),
    /// `record_count` does not count the row.
    Uncounted,
}

/// A form of a value that differs from the usual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueForm {
    /// As a string: `"12"`, `"True"`.
    Text,
    /// A whole number with a fraction: `12.0`.
    Float,
    /// Null.
    Null,
    /// The property or element is absent.
    Missing,
    /// In an object: `{"id":12}`.
    Object,
    /// In an array: `[12]`.
    Array,
    /// A string that says nothing: `"n/a"`.
    Nonsense,
}

/// How the text of a row is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextDefect {
    /// The last property has no value.
    Broken,
    /// The text ends after two thirds; the next row follows.
    Cut,
    /// A string has a control character that is not escaped.
    Control,
    /// A string has an escaped NUL.
    Nul,
    /// A string has half of a surrogate pair, escaped.
    Surrogate,
    /// A string has a byte that is not UTF-8.
    Byte,
}

/// Which rows or elements have a defect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// All of them.
    All,
    /// Those at these places, counted from 1: of tickets in the order of all ids, of elements in their list.
    At(Vec<u32>),
}

/// The text is not a defect of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDefectError(String);

impl fmt::Display for RowDefectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = WORDS.iter().map(|(word, _, _)| *word).chain(FORMS.iter().map(|(word, _, _)| *word));
        write!(
            f,
            "unknown defect `{}`; known defects: {}",
            self.0,
            words.chain(OTHER_WORDS.map(|(word, _)| word)).collect::<Vec<_>>().join(", ")
        )
    }
}

impl std::error::Error for RowDefectError {}

const FORMS: &[(&str, ValueForm, &str)] = &[
    ("text", ValueForm::Text, "the value is a string: `\"12\"`, `\"27.5\"`, `\"True\"`"),
    ("float", ValueForm::Float, "a whole number has a fraction: `12.0`"),
    ("null", ValueForm::Null, "the value is null"),
    ("missing", ValueForm::Missing, "the property or element is absent"),
    ("object", ValueForm::Object, "the value is in an object: `{\"id\":12}`"),
    ("array", ValueForm::Array, "the value is in an array: `[12]`"),
    ("nonsense", ValueForm::Nonsense, "the value is `\"n/a\"`"),
];

const WORDS: &[(&str, TextDefect, &str)] = &[
    ("broken", TextDefect::Broken, "the last property has no value"),
    ("cut", TextDefect::Cut, "the text ends after two thirds, and the next row follows"),
    ("control", TextDefect::Control, "a string has a control character that is not escaped"),
    ("nul", TextDefect::Nul, "a string has an escaped NUL"),
    ("surrogate", TextDefect::Surrogate, "a string has half of a surrogate pair, escaped"),
    ("byte", TextDefect::Byte, "a string has a byte that is not UTF-8"),
];

const OTHER_WORDS: [(&str, &str); 3] = [
    ("hugeN", "`details` begins with N megabytes of text"),
    ("fieldsN", "`customfields` has N elements, none of a known field"),
    ("uncounted", "`record_count` does not count the row"),
];

impl FromStr for RowDefect {
    type Err = RowDefectError;

    /// Parses `FORM.PROPERTY[.PROPERTY…]`, as in `text.id`, `object.cost`, `null.customfields` or
    /// `text.customfields.121.id`, or one of the other words, as in `broken` and `huge70`.
    fn from_str(text: &str) -> Result<RowDefect, RowDefectError> {
        let error = || RowDefectError(text.to_owned());
        let number = |digits: &str| digits.parse().map_err(|_| error());
        if let Some((_, defect, _)) = WORDS.iter().find(|(word, _, _)| *word == text) {
            return Ok(RowDefect::Text(*defect));
        }
        if text == "uncounted" {
            return Ok(RowDefect::Uncounted);
        }
        if let Some(digits) = text.strip_prefix("huge") {
            return Ok(RowDefect::Huge(number(digits)?));
        }
        if let Some(digits) = text.strip_prefix("fields") {
            return Ok(RowDefect::Fields(number(digits)?));
        }
        let mut parts = text.split('.');
        let word = parts.next().unwrap_or_default();
        let (_, form, _) = FORMS.iter().find(|(known, _, _)| *known == word).ok_or_else(error)?;
        let path: Vec<String> = parts.map(str::to_owned).collect();
        if path.iter().any(String::is_empty) || (path.is_empty() && *form == ValueForm::Missing) {
            return Err(error());
        }
        Ok(RowDefect::Value { form: *form, path })
    }
}

impl RowDefect {
    /// Returns the table of defects as Markdown; a test compares it with `docs/simulator.md`.
    #[must_use]
    pub fn markdown() -> String {
        let mut text = String::from("| defect | what is wrong with the row |\n|---|---|\n");
        // Writing to a string cannot fail.
        for (word, _, description) in FORMS {
            let _ = writeln!(text, "| `{word}.PROPERTY` | {description} |");
        }
        let words = WORDS.iter().map(|(word, _, description)| (*word, *description));
        for (word, description) in words.chain(OTHER_WORDS) {
            let _ = writeln!(text, "| `{word}` | {description} |");
        }
        text
    }
}

impl Places {
    pub(crate) fn parse(text: &str) -> Option<Places> {
        if text.eq_ignore_ascii_case("all") {
            return Some(Places::All);
        }
        let places = text.split(',').map(|place| place.parse().ok().filter(|&place| place > 0));
        places.collect::<Option<_>>().map(Places::At)
    }

    /// Returns whether the row at this index, which counts from 0, is one of them.
    pub(crate) fn contains(&self, index: u32) -> bool {
        match self {
            Places::All => true,
            Places::At(places) => index.checked_add(1).is_some_and(|place| places.contains(&place)),
        }
    }
}
