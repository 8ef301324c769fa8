//! JSON: one object a line, or one array of them. Nulls are written; booleans are `true` and `false`.

use super::any;
use crate::ticket::{Cell, Column, Kind};

/// Writes rows as JSON objects.
pub(super) struct Json {
    /// What stands before each value, and what the value is.
    members: Vec<(String, Kind)>,
    /// What stands before the next row.
    before: &'static [u8],
    between: &'static [u8],
    end: &'static [u8],
}

impl Json {
    pub(super) fn lines(columns: &[Column]) -> Json {
        // No line is no line, not an empty one: every line ends behind itself.
        Json { members: members(columns), before: b"", between: b"\n", end: b"" }
    }

    pub(super) fn array(columns: &[Column], out: &mut Vec<u8>) -> Json {
        out.push(b'[');
        Json { members: members(columns), before: b"\n", between: b",\n", end: b"\n]\n" }
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before);
        self.before = self.between;
        if self.end.is_empty() {
            self.end = b"\n";
        }
        let mut integer = itoa::Buffer::new();
        for ((name, kind), cell) in self.members.iter().zip(cells) {
            out.extend_from_slice(name.as_bytes());
            match cell {
                Cell::Null => out.extend_from_slice(b"null"),
                Cell::Integer(number) if *kind == Kind::Boolean => {
                    out.extend_from_slice(if number == 0 { b"false" } else { b"true" });
                }
                Cell::Integer(number) => out.extend_from_slice(integer.format(number).as_bytes()),
                Cell::Real(number) => encoded(&number, out),
                Cell::Json(text) => out.extend_from_slice(text.as_bytes()),
                Cell::Text(text) if any(text.as_bytes(), needs_escape) => encoded(text, out),
                Cell::Text(text) => {
                    out.push(b'"');
                    out.extend_from_slice(text.as_bytes());
                    out.push(b'"');
                }
            }
        }
        out.push(b'}');
    }

    pub(super) fn end(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.end);
    }
}

/// RFC 8259, section 7.
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1F)
}

/// A number or a text as `serde_json` writes it.
fn encoded<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let begin = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Numbers and texts into memory always succeed; half of one must not stand there all the same.
        out.truncate(begin);
        out.extend_from_slice(b"null");
    }
}

fn members(columns: &[Column]) -> Vec<(String, Kind)> {
    let named = columns.iter().enumerate().map(|(place, column)| {
        let bracket = if place == 0 { '{' } else { ',' };
        (format!("{bracket}\"{}\":", column.name), column.kind)
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::attribute::COUNT;
    use crate::ticket::{ATTRIBUTES, DeltaRow, Op, delta_columns};
    use proptest::prelude::*;

    fn rows(cells: &[Cell<'_>], count: i64, begin: fn(&mut Vec<u8>) -> Json) -> String {
        let mut bytes = Vec::new();
        let mut json = begin(&mut bytes);
        for seq in 0..count {
            let row = DeltaRow {
                seq,
                op: Op::Create,
                observed_at: "2026-11-22T12:00:00.000Z",
                cells,
                custom_fields: None,
            };
            json.row(row.all_cells(), &mut bytes);
        }
        json.end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_are_objects_and_an_array_is_one_document() {
        let cells = [Cell::Null; COUNT];
        for count in [0, 1, 3] {
            let lines = rows(&cells, count, |_| Json::lines(&delta_columns(false)));
            assert_eq!(lines.lines().count(), usize::try_from(count).unwrap(), "{lines:?}");
            let array = rows(&cells, count, |out| Json::array(&delta_columns(false), out));
            let array: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
            let lines: Vec<serde_json::Value> =
                lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(array, lines);
        }
    }

    proptest! {
        #[test]
        fn every_text_and_number_comes_back_equal(text: String, real: f64) {
            prop_assume!(real.is_finite());
            let mut cells = [Cell::Null; COUNT];
            cells[3] = Cell::Text(&text);
            cells[14] = Cell::Real(real);
            cells[24] = Cell::Integer(1);
            let line = rows(&cells, 1, |_| Json::lines(&delta_columns(false)));
            prop_assert_eq!(line.lines().count(), 1);
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(object[ATTRIBUTES[3].name].as_str(), Some(text.as_str()));
            prop_assert_eq!(object[ATTRIBUTES[14].name].as_f64(), Some(real));
            prop_assert_eq!(object[ATTRIBUTES[24].name].as_bool(), Some(true));
        }
    }
}
