//! Defects of rows: how a row, or an element of a reference list, is served wrongly.
//!
//! A defect alters the finished text of a row, so the ticket itself, its place in lists and its filters stay as they are.

use std::fmt;
use std::fmt::Write;
use std::ops::Range;
use std::str::FromStr;

use crate::generated::GeneratedText;

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
        let words = WORDS.iter().map(|(word, _)| *word).chain(FORMS.iter().map(|(word, _, _)| *word));
        write!(
            f,
            "unknown defect `{}`; known defects: {}",
            self.0,
            words.chain(["hugeN", "fieldsN", "uncounted"]).collect::<Vec<_>>().join(", ")
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

const WORDS: &[(&str, TextDefect)] = &[
    ("broken", TextDefect::Broken),
    ("cut", TextDefect::Cut),
    ("control", TextDefect::Control),
    ("nul", TextDefect::Nul),
    ("surrogate", TextDefect::Surrogate),
    ("byte", TextDefect::Byte),
];

impl FromStr for RowDefect {
    type Err = RowDefectError;

    /// Parses `FORM.PROPERTY[.PROPERTY…]`, as in `text.id`, `object.cost`, `null.customfields` or
    /// `text.customfields.121.id`, or one of the other words, as in `broken` and `huge70`.
    fn from_str(text: &str) -> Result<RowDefect, RowDefectError> {
        let error = || RowDefectError(text.to_owned());
        let number = |digits: &str| digits.parse().map_err(|_| error());
        if let Some((_, defect)) = WORDS.iter().find(|(word, _)| *word == text) {
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
        for (word, description) in [
            ("broken", "the last property has no value"),
            ("cut", "the text ends after two thirds, and the next row follows"),
            ("control", "a string has a control character that is not escaped"),
            ("nul", "a string has an escaped NUL"),
            ("surrogate", "a string has half of a surrogate pair, escaped"),
            ("byte", "a string has a byte that is not UTF-8"),
            ("hugeN", "`details` begins with N megabytes of text"),
            ("fieldsN", "`customfields` has N elements, none of a known field"),
            ("uncounted", "`record_count` does not count the row"),
        ] {
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

/// Applies defects to a row and returns the text to generate in it, with the position of each.
pub(crate) fn apply(defects: &[RowDefect], row: &mut Vec<u8>) -> Vec<(usize, GeneratedText)> {
    // Values first, because a damaged text has no structure any more.
    for defect in defects {
        match defect {
            RowDefect::Value { form, path } => replace_values(row, *form, path),
            RowDefect::Fields(_) => set_empty_fields(row),
            RowDefect::Text(_) | RowDefect::Huge(_) | RowDefect::Uncounted => {}
        }
    }
    for defect in defects {
        if let RowDefect::Text(defect) = defect {
            damage(row, *defect);
        }
    }
    let mut generated = Vec::new();
    for defect in defects {
        match *defect {
            RowDefect::Huge(megabytes) => generated
                .extend(end_of(row, b"\"details\":\"").map(|at| (at, GeneratedText::sentences(megabytes)))),
            RowDefect::Fields(count) => generated.extend(
                end_of(row, b"\"customfields\":[").map(|at| (at, GeneratedText::list(FIELD, count.into()))),
            ),
            _ => {}
        }
    }
    generated
}

/// Applies defects to the elements of an array.
pub(crate) fn apply_to_elements(defects: &[(Places, RowDefect)], array: &mut Vec<u8>) {
    if array.first() != Some(&b'[') {
        return;
    }
    // From the last to the first, so that the positions of the others stay right.
    for (index, element) in (0..).zip(children(array, 0)).collect::<Vec<_>>().into_iter().rev() {
        let of_element: Vec<_> = defects
            .iter()
            .filter(|(places, _)| places.contains(index))
            .map(|(_, defect)| defect.clone())
            .collect();
        if !of_element.is_empty() {
            let mut text = array[element.value.clone()].to_vec();
            // Nothing is generated in elements, which have neither `details` nor `customfields`.
            drop(apply(&of_element, &mut text));
            array.splice(element.value, text);
        }
    }
}

const FIELD: &str = r#"{"id":#,"name":"CF#","label":"Field #","type":0,"value":"x","display":"x"}"#;

/// A property of an object or an element of an array.
struct Child {
    /// Without quotes; empty for an element.
    name: Range<usize>,
    start: usize,
    value: Range<usize>,
}

/// Returns the properties or elements of the object or array at `container`. The text has no whitespace between values.
fn children(text: &[u8], container: usize) -> Vec<Child> {
    let is_object = match text.get(container) {
        Some(b'{') => true,
        Some(b'[') => false,
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut start = container + 1;
    while text.get(start).is_some_and(|byte| !matches!(byte, b'}' | b']')) {
        let name_end = if is_object { end_of_string(text, start) } else { start };
        let value_start = if is_object { (name_end + 1).min(text.len()) } else { start };
        let end = end_of_value(text, value_start);
        let name = if is_object { start + 1..name_end.saturating_sub(1) } else { start..start };
        found.push(Child { name, start, value: value_start..end });
        start = end + usize::from(text.get(end) == Some(&b','));
        if start == end && start == value_start {
            break;
        }
    }
    found
}

/// Returns the end of the string whose opening quote is at `start`.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Returns the end of the value at `start`.
fn end_of_value(text: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0_usize);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = end_of_string(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Returns what a path leads to. In an array, a number selects the elements with that id; any other name is one of a
/// property of every element.
fn select(text: &[u8], container: usize, path: &[String]) -> Vec<Child> {
    let Some((first, rest)) = path.split_first() else { return Vec::new() };
    let in_array = text.get(container) == Some(&b'[');
    let id = first.parse::<i64>().ok();
    let mut found = Vec::new();
    for child in children(text, container) {
        let is_selected = match id {
            Some(id) if in_array => id_of(text, child.value.start) == Some(id),
            None if in_array => {
                found.extend(select(text, child.value.start, path));
                continue;
            }
            _ => text.get(child.name.clone()) == Some(first.as_bytes()),
        };
        if is_selected && rest.is_empty() {
            found.push(child);
        } else if is_selected {
            found.extend(select(text, child.value.start, rest));
        }
    }
    found
}

fn id_of(text: &[u8], object: usize) -> Option<i64> {
    let id = children(text, object).into_iter().find(|child| text.get(child.name.clone()) == Some(b"id"))?;
    std::str::from_utf8(text.get(id.value)?).ok()?.parse().ok()
}

fn replace_values(row: &mut Vec<u8>, form: ValueForm, path: &[String]) {
    if path.is_empty() {
        *row = replacement(form, row);
        return;
    }
    for child in select(row, 0, path).into_iter().rev() {
        if form != ValueForm::Missing {
            let value = replacement(form, &row[child.value.clone()]);
            row.splice(child.value, value);
        } else if child.start > 0 && row[child.start - 1] == b',' {
            row.drain(child.start - 1..child.value.end);
        } else {
            let comma = usize::from(row.get(child.value.end) == Some(&b','));
            row.drain(child.start..child.value.end + comma);
        }
    }
}

fn replacement(form: ValueForm, value: &[u8]) -> Vec<u8> {
    match form {
        ValueForm::Text => as_string(value),
        ValueForm::Float if is_integer(value) => [value, b".0"].concat(),
        ValueForm::Float => value.to_vec(),
        ValueForm::Null => b"null".to_vec(),
        ValueForm::Missing => Vec::new(),
        ValueForm::Object => [b"{\"id\":", value, b"}"].concat(),
        ValueForm::Array => [b"[", value, b"]"].concat(),
        ValueForm::Nonsense => b"\"n/a\"".to_vec(),
    }
}

fn is_integer(value: &[u8]) -> bool {
    !value.is_empty() && value.strip_prefix(b"-").unwrap_or(value).iter().all(u8::is_ascii_digit)
}

fn as_string(value: &[u8]) -> Vec<u8> {
    match value {
        [b'"', ..] => value.to_vec(),
        b"true" => b"\"True\"".to_vec(),
        b"false" => b"\"False\"".to_vec(),
        _ => serde_json::Value::from(String::from_utf8_lossy(value)).to_string().into_bytes(),
    }
}

/// Replaces `customfields` by an empty array, or adds it.
fn set_empty_fields(row: &mut Vec<u8>) {
    if let Some(fields) = select(row, 0, &["customfields".to_owned()]).pop() {
        row.splice(fields.value, *b"[]");
    } else {
        insert_property(row, b"\"customfields\":[]");
    }
}

fn damage(row: &mut Vec<u8>, defect: TextDefect) {
    let damaged: &[u8] = match defect {
        TextDefect::Broken => return insert_property(row, b"\"broken\":"),
        TextDefect::Cut => return row.truncate(row.len() * 2 / 3),
        TextDefect::Control => b"\x0b",
        TextDefect::Nul => b"\\u0000",
        TextDefect::Surrogate => b"\\ud83d",
        TextDefect::Byte => b"\xff",
    };
    let texts = children(row, 0).into_iter().filter(|child| {
        let name: Option<&[u8]> = row.get(child.name.clone());
        [Some(&b"summary"[..]), Some(&b"name"[..])].contains(&name)
            && row.get(child.value.start) == Some(&b'"')
    });
    match texts.map(|child| child.value.start + 1).next() {
        Some(at) => drop(row.splice(at..at, damaged.iter().copied())),
        None => insert_property(row, &[b"\"note\":\"", damaged, b"\""].concat()),
    }
}

/// Inserts text after the last property of an object; other rows stay as they are.
fn insert_property(row: &mut Vec<u8>, property: &[u8]) {
    if row.last() != Some(&b'}') {
        return;
    }
    row.pop();
    if row.len() > 1 {
        row.push(b',');
    }
    row.extend_from_slice(property);
    row.push(b'}');
}

/// Returns the position after the first occurrence of `text`.
fn end_of(row: &[u8], text: &[u8]) -> Option<usize> {
    row.windows(text.len()).position(|window| window == text).map(|at| at + text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = concat!(
        r#"{"id":12,"summary":"Say \"hi\", {","cost":-0.0,"flagged":true,"priority":{"id":3,"name":"[x]"},"#,
        r#""customfields":[{"id":120,"value":[1,2]},{"id":121,"value":"a,b"}],"details":"d"}"#,
    );

    fn with(defect: &str) -> String {
        let mut row = ROW.as_bytes().to_vec();
        let defect = defect.parse().expect("a defect");
        assert!(apply(&[defect], &mut row).is_empty());
        String::from_utf8_lossy(&row).into_owned()
    }

    #[test]
    fn value_takes_the_form_and_the_rest_of_the_row_stays() {
        for (defect, old, new) in [
            ("text.id", r#""id":12,"#, r#""id":"12","#),
            ("float.id", r#""id":12,"#, r#""id":12.0,"#),
            ("float.cost", "", ""),
            ("null.id", r#""id":12,"#, r#""id":null,"#),
            ("missing.id", r#""id":12,"#, ""),
            ("missing.details", r#","details":"d""#, ""),
            ("missing.flagged", r#""flagged":true,"#, ""),
            ("object.cost", r#""cost":-0.0"#, r#""cost":{"id":-0.0}"#),
            ("array.priority", r#"{"id":3,"name":"[x]"}"#, r#"[{"id":3,"name":"[x]"}]"#),
            ("nonsense.priority.id", r#"{"id":3,"#, r#"{"id":"n/a","#),
            ("text.flagged", "true", r#""True""#),
            ("text.summary", "", ""),
            ("text.customfields.121.id", r#""id":121"#, r#""id":"121""#),
            ("missing.customfields.120", r#"{"id":120,"value":[1,2]},"#, ""),
            ("null.customfields.121", r#"{"id":121,"value":"a,b"}"#, "null"),
            ("null.customfields", r#"[{"id":120,"value":[1,2]},{"id":121,"value":"a,b"}]"#, "null"),
            ("text.unknown", "", ""),
        ] {
            assert_eq!(with(defect), ROW.replacen(old, new, 1), "{defect}");
        }
        let all = ROW.replace(r#""id":120"#, r#""id":null"#).replace(r#""id":121"#, r#""id":null"#);
        assert_eq!(with("null.customfields.id"), all);
        assert_eq!(with("nonsense"), "\"n/a\"");
    }

    #[test]
    fn text_defects_spoil_the_text() {
        assert!(with("broken").ends_with(r#","broken":}"#));
        assert!(ROW.starts_with(&with("cut")));
        assert!(with("control").contains("\"summary\":\"\u{b}Say"));
        assert!(with("nul").contains(r#""summary":"\u0000Say"#));
        assert!(with("surrogate").contains(r#""summary":"\ud83dSay"#));
        assert!(with("byte").contains("\"summary\":\"\u{fffd}Say"));
        for defect in ["broken", "cut", "control", "surrogate"] {
            assert!(serde_json::from_str::<serde_json::Value>(&with(defect)).is_err(), "{defect}");
        }
        let mut empty = b"{}".to_vec();
        drop(apply(&[RowDefect::Text(TextDefect::Control)], &mut empty));
        assert_eq!(empty, b"{\"note\":\"\x0b\"}");
    }

    #[test]
    fn generated_text_is_placed_inside_its_property() {
        let mut row = ROW.as_bytes().to_vec();
        let generated = apply(&[RowDefect::Fields(3), RowDefect::Huge(1)], &mut row);
        let row = String::from_utf8(row).expect("UTF-8");
        for (at, _) in &generated {
            assert!(row[..*at].ends_with("\"customfields\":[") || row[..*at].ends_with("\"details\":\""));
        }
        assert_eq!(generated.len(), 2);
    }

    #[test]
    fn any_text_is_accepted_and_unknown_defects_are_not() {
        for text in ["", "{", "[", "{\"", "{\"a\"", "{\"a\":", "[,]", "{,}", "nonsense", "{\"a\":[}", "\"\\"]
        {
            for defect in ["text.a", "missing.a.b", "missing.1", "cut", "nul", "broken", "huge1", "fields2"] {
                let mut row = text.as_bytes().to_vec();
                drop(apply(&[defect.parse().expect("a defect")], &mut row));
                apply_to_elements(&[(Places::All, defect.parse().expect("a defect"))], &mut row);
            }
        }
        for text in ["", "id", "text.", "missing", "huge", "hugex", "fields-1", "text.a..b"] {
            assert!(text.parse::<RowDefect>().is_err(), "{text}");
        }
    }
}
