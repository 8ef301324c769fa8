//! Alters the text of a row by its defects.

use super::json_text::{children, end_of, insert_property, select};
use super::{Places, RowDefect, TextDefect, ValueForm};
use crate::generated::GeneratedText;

const FIELD: &str = r#"{"id":#,"name":"CF#","label":"Field #","type":0,"value":"x","display":"x"}"#;

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

/// Sets a property of a row to a JSON value, or removes it.
pub(crate) fn set_property(row: &mut Vec<u8>, name: &str, value: Option<&str>) {
    // As it stands in JSON, without quotes.
    let quoted = serde_json::Value::from(name).to_string();
    let path = [quoted[1..quoted.len() - 1].to_owned()];
    match value {
        None => replace_values(row, ValueForm::Missing, &path),
        Some(value) => {
            let found =
                children(row, 0).into_iter().rfind(|child| row[child.name.clone()] == *path[0].as_bytes());
            match found {
                Some(child) => drop(row.splice(child.value, value.bytes())),
                None => insert_property(row, format!("{quoted}:{value}").as_bytes()),
            }
        }
    }
}

/// Returns the id of a row, if it has an integral one.
pub(crate) fn row_id(row: &[u8]) -> Option<i64> {
    let id = children(row, 0).into_iter().find(|child| row[child.name.clone()] == *b"id")?;
    std::str::from_utf8(row.get(id.value)?).ok()?.parse().ok()
}

/// Alters the elements of a bare array one by one.
pub(crate) fn alter_elements(array: &mut Vec<u8>, mut alter: impl FnMut(&mut Vec<u8>)) {
    if array.first() != Some(&b'[') {
        return;
    }
    // From the last to the first, so that the positions of the others stay right.
    for element in children(array, 0).into_iter().rev() {
        let mut text = array[element.value.clone()].to_vec();
        alter(&mut text);
        array.splice(element.value, text);
    }
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
