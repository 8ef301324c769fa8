//! CSV by RFC 4180: a header, CRLF, quotes only where needed.
//!
//! NULL is an empty field and an empty text is `""`. No CSV library can make that difference within one
//! column.

use std::borrow::Cow;
use std::io::Write as _;

use super::any_byte;
use crate::config::{FormatOptions, Newlines};
use crate::ticket::{CellValue, Column};

/// Writes rows as CSV.
pub(super) struct CsvWriter {
    exact: bool,
    excel_safe: bool,
    newlines: Newlines,
}

impl CsvWriter {
    pub(super) fn new(options: FormatOptions, columns: &[Column], out: &mut Vec<u8>) -> CsvWriter {
        for (index, column) in columns.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b"," });
            out.extend_from_slice(column.name.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        let FormatOptions { excel_safe, newlines, .. } = options;
        CsvWriter { exact: !excel_safe && newlines == Newlines::Keep, excel_safe, newlines }
    }

    pub(super) fn write_row<'a>(&self, cells: impl IntoIterator<Item = CellValue<'a>>, out: &mut Vec<u8>) {
        let mut integer = itoa::Buffer::new();
        for (index, cell) in cells.into_iter().enumerate() {
            if index != 0 {
                out.push(b',');
            }
            match cell {
                CellValue::Null => {}
                CellValue::Integer(number) => out.extend_from_slice(integer.format(number).as_bytes()),
                // `Debug` writes the shortest digits that parse to the same double, with a decimal point.
                // Writing to a `Vec` cannot fail.
                CellValue::Real(number) => drop(write!(out, "{number:?}")),
                CellValue::Text(text) | CellValue::Json(text) if self.exact => write_quoted(text, out),
                CellValue::Text(text) | CellValue::Json(text) => write_quoted(&self.transformed(text), out),
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Applies the options to a text.
    fn transformed<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if self.excel_safe && text.starts_with(FORMULA_PREFIXES) {
            text = Cow::Owned(format!("'{text}"));
        }
        if self.newlines == Newlines::Escape && text.contains(['\r', '\n', '\\']) {
            text = Cow::Owned(text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n"));
        }
        text
    }
}

/// Characters that a spreadsheet may take for the start of a formula, including full-width forms (OWASP,
/// CSV Injection), and the apostrophe itself, so that removing one leading apostrophe from every text
/// restores the original.
const FORMULA_PREFIXES: [char; 13] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠', '\''];

fn write_quoted(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    // An unquoted empty text would be NULL.
    if !bytes.is_empty() && !any_byte(bytes, |byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for (index, piece) in bytes.split(|byte| *byte == b'"').enumerate() {
        out.extend_from_slice(if index == 0 { b"" } else { b"\"\"" });
        out.extend_from_slice(piece);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;
    use crate::ticket::attribute::ATTRIBUTE_COUNT;
    use crate::ticket::{DeltaRow, Op, delta_columns};
    use proptest::prelude::*;

    const EXACT: FormatOptions = FormatOptions::exact(Format::Csv);

    /// Returns one row written as CSV, and its fields as parsed by an independent reader.
    fn round_trip(options: FormatOptions, cells: &[CellValue<'_>]) -> (String, Vec<String>) {
        let mut bytes = Vec::new();
        let csv = CsvWriter::new(options, &delta_columns(false), &mut bytes);
        let row = DeltaRow {
            seq: 7,
            op: Op::Update,
            observed_at: "2026-11-22T12:00:00.000Z",
            cells,
            custom_fields: None,
        };
        csv.write_row(row.all_cells(), &mut bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        assert_eq!(reader.headers().unwrap().len(), 3 + ATTRIBUTE_COUNT);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1, "a value ended the row");
        let fields = rows[0].iter().map(ToOwned::to_owned).collect();
        (String::from_utf8(bytes).unwrap(), fields)
    }

    fn cells<'a>(texts: &[&'a str]) -> [CellValue<'a>; ATTRIBUTE_COUNT] {
        let mut cells = [CellValue::Null; ATTRIBUTE_COUNT];
        for (cell, text) in cells.iter_mut().zip(texts) {
            *cell = CellValue::Text(text);
        }
        cells
    }

    #[test]
    fn null_and_empty_text_are_written_differently() {
        let mut cells = cells(&[""]);
        cells[1] = CellValue::Real(0.0);
        let (text, _) = round_trip(EXACT, &cells);
        assert!(
            text.ends_with(&format!(
                "7,u,2026-11-22T12:00:00.000Z,\"\",0.0{}\r\n",
                ",".repeat(ATTRIBUTE_COUNT - 2)
            )),
            "{text}"
        );
    }

    #[test]
    fn excel_safe_neutralizes_formulas_but_not_negative_numbers() {
        let mut cells = cells(&["=1+1", "@SUM(A1)", "'quoted", "a=b", "\tx", "＝1", "-5"]);
        cells[7] = CellValue::Integer(-5);
        let (_, fields) = round_trip(FormatOptions { excel_safe: true, ..EXACT }, &cells);
        assert_eq!(fields[3..11], ["'=1+1", "'@SUM(A1)", "''quoted", "a=b", "'\tx", "'＝1", "'-5", "-5"]);
    }

    /// Undoes the options, as `docs/loading.md` tells readers to.
    fn restore(options: FormatOptions, field: &str) -> String {
        let mut text = String::new();
        let mut rest = field.chars();
        while let Some(it) = rest.next() {
            text.push(match it {
                '\\' if options.newlines == Newlines::Escape => match rest.next() {
                    Some('r') => '\r',
                    Some('n') => '\n',
                    other => other.unwrap(),
                },
                it => it,
            });
        }
        let unquoted = if options.excel_safe { text.strip_prefix('\'') } else { None };
        unquoted.map_or(text.clone(), ToOwned::to_owned)
    }

    proptest! {
        #[test]
        fn text_and_numbers_round_trip_through_csv(
            texts in proptest::collection::vec("(?s).*|[\"\r\n,=+@'\\\\rn-]{0,8}", 4),
            real: f64,
            excel_safe: bool,
            escape: bool,
        ) {
            prop_assume!(real.is_finite());
            let newlines = if escape { Newlines::Escape } else { Newlines::Keep };
            let options = FormatOptions { excel_safe, newlines, ..EXACT };
            let mut cells = cells(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            cells[50] = CellValue::Real(real);
            let (text, fields) = round_trip(options, &cells);
            let back: Vec<_> = fields[3..7].iter().map(|field| restore(options, field)).collect();
            prop_assert_eq!(&back, &texts);
            prop_assert_eq!(fields[53].parse::<f64>().unwrap().to_bits(), real.to_bits());
            if escape {
                prop_assert_eq!(text.matches(['\r', '\n']).count(), 4, "each row is one line");
            }
            if excel_safe {
                prop_assert!(fields[3..7].iter().all(|field| !field.starts_with(&FORMULA_PREFIXES[..12])));
            }
        }
    }
}
