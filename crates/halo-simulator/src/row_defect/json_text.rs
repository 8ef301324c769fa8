//! The structure of a JSON text that may be damaged: its properties and elements, as positions in the text.

use std::ops::Range;

/// A property of an object or an element of an array.
pub(super) struct Child {
    /// Without quotes; empty for an element.
    pub(super) name: Range<usize>,
    pub(super) start: usize,
    pub(super) value: Range<usize>,
}

/// Returns the properties or elements of the object or array at `container`. The text has no whitespace between values.
pub(super) fn children(text: &[u8], container: usize) -> Vec<Child> {
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
pub(super) fn select(text: &[u8], container: usize, path: &[String]) -> Vec<Child> {
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

/// Inserts text after the last property of an object; other rows stay as they are.
pub(super) fn insert_property(row: &mut Vec<u8>, property: &[u8]) {
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
pub(super) fn end_of(row: &[u8], text: &[u8]) -> Option<usize> {
    row.windows(text.len()).position(|window| window == text).map(|at| at + text.len())
}
