//! JSON: one object per line, or one array of objects. Nulls are written; booleans are `true` and `false`.

use super::any_byte;
use crate::ticket::{CellValue, Column, ValueKind};

/// Writes rows as JSON objects.
pub(super) struct JsonWriter {
    /// Text before each value, and the kind of the value.
    members: Vec<(String, ValueKind)>,
    /// Text before the next row.
    row_prefix: &'static [u8],
    separator: &'static [u8],
    terminator: &'static [u8],
}

impl JsonWriter {
    pub(super) fn lines(columns: &[Column]) -> JsonWriter {
        // The terminator is set by the first row, so that no rows give an empty file, not an empty line.
        JsonWriter { members: members(columns), row_prefix: b"", separator: b"\n", terminator: b"" }
    }

    pub(super) fn array(columns: &[Column], out: &mut Vec<u8>) -> JsonWriter {
        out.push(b'[');
        JsonWriter { members: members(columns), row_prefix: b"\n", separator: b",\n", terminator: b"\n]\n" }
    }

    pub(super) fn write_row<'a>(
        &mut self,
        cells: impl IntoIterator<Item = CellValue<'a>>,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(self.row_prefix);
        self.row_prefix = self.separator;
        if self.terminator.is_empty() {
            self.terminator = b"\n";
        }
        let mut integer = itoa::Buffer::new();
        for ((name, kind), cell) in self.members.iter().zip(cells) {
            out.extend_from_slice(name.as_bytes());
            match cell {
                CellValue::Null => out.extend_from_slice(b"null"),
                CellValue::Integer(number) if *kind == ValueKind::Boolean => {
                    out.extend_from_slice(if number == 0 { b"false" } else { b"true" });
                }
                CellValue::Integer(number) => out.extend_from_slice(integer.format(number).as_bytes()),
                CellValue::Real(number) => write_json(&number, out),
                CellValue::Json(text) => out.extend_from_slice(text.as_bytes()),
                CellValue::Text(text) if any_byte(text.as_bytes(), needs_escape) => write_json(text, out),
                CellValue::Text(text) => {
                    out.push(b'"');
                    out.extend_from_slice(text.as_bytes());
                    out.push(b'"');
                }
            }
        }
        out.push(b'}');
    }

    pub(super) fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.terminator);
    }
}

/// Whether a byte must be escaped (RFC 8259, section 7).
fn needs_escape(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1F)
}

/// Writes a number or text by `serde_json`.
fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        // Cannot happen in memory; if it did, half a value must not remain.
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

fn members(columns: &[Column]) -> Vec<(String, ValueKind)> {
    let prefixed = columns.iter().enumerate().map(|(index, column)| {
        let bracket = if index == 0 { '{' } else { ',' };
        (format!("{bracket}\"{}\":", column.name), column.kind)
    });
    prefixed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::attribute::ATTRIBUTE_COUNT;
    use crate::ticket::{ATTRIBUTES, DeltaRow, Op, delta_columns};
    use proptest::prelude::*;

    fn render_rows(
        cells: &[CellValue<'_>],
        count: i64,
        new_writer: fn(&mut Vec<u8>) -> JsonWriter,
    ) -> String {
        let mut bytes = Vec::new();
        let mut json = new_writer(&mut bytes);
        for seq in 0..count {
            let row = DeltaRow {
                seq,
                op: Op::Create,
                observed_at: "2026-11-22T12:00:00.000Z",
                reason: None,
                cells,
                extra: None,
                custom_fields: None,
            };
            json.write_row(row.all_cells(), &mut bytes);
        }
        json.finish(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_and_json_array_hold_the_same_objects() {
        let cells = [CellValue::Null; ATTRIBUTE_COUNT];
        for count in [0, 1, 3] {
            let lines = render_rows(&cells, count, |_| JsonWriter::lines(&delta_columns()));
            assert_eq!(lines.lines().count(), usize::try_from(count).unwrap(), "{lines:?}");
            let array = render_rows(&cells, count, |out| JsonWriter::array(&delta_columns(), out));
            let array: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
            let lines: Vec<serde_json::Value> =
                lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(array, lines);
        }
    }

    proptest! {
        #[test]
        fn text_and_numbers_round_trip_through_json(text: String, real: f64) {
            prop_assume!(real.is_finite());
            let mut cells = [CellValue::Null; ATTRIBUTE_COUNT];
            cells[3] = CellValue::Text(&text);
            cells[14] = CellValue::Real(real);
            cells[24] = CellValue::Integer(1);
            let line = render_rows(&cells, 1, |_| JsonWriter::lines(&delta_columns()));
            prop_assert_eq!(line.lines().count(), 1);
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(object[ATTRIBUTES[3].name].as_str(), Some(text.as_str()));
            prop_assert_eq!(object[ATTRIBUTES[14].name].as_f64(), Some(real));
            prop_assert_eq!(object[ATTRIBUTES[24].name].as_bool(), Some(true));
        }
    }
}
