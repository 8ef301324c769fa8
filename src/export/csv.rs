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
    excel: bool,
    newlines: Newlines,
}

impl CsvWriter {
    pub(super) fn new(options: FormatOptions, columns: &[Column], out: &mut Vec<u8>) -> CsvWriter {
        let FormatOptions { excel, newlines, .. } = options;
        if excel {
            // Without it Excel does not read UTF-8.
            out.extend_from_slice("\u{FEFF}".as_bytes());
        }
        for (index, column) in columns.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b"," });
            out.extend_from_slice(column.name.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        CsvWriter { exact: !excel && newlines == Newlines::Keep, excel, newlines }
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
        let mut text = if self.excel { without_formulas(text) } else { Cow::Borrowed(text) };
        if self.newlines == Newlines::Escape && text.contains(['\r', '\n', '\\']) {
            text = Cow::Owned(text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n"));
        }
        text
    }
}

/// Characters that a spreadsheet may take for the start of a formula, including full-width forms (OWASP,
/// CSV Injection), and the apostrophe itself, so that removing one apostrophe at each place where one may have been
/// added restores the original.
const FORMULA_STARTS: [char; 13] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠', '\''];

/// Characters that a spreadsheet may take for the end of a cell, whatever the file's separator is: which one it
/// expects depends on the language of the machine, and its import also offers others.
const CELL_ENDS: [char; 11] =
    [',', ';', '\t', '|', '\r', '\n', '\u{B}', '\u{C}', '\u{85}', '\u{2028}', '\u{2029}'];

/// Adds an apostrophe before everything in a text that a spreadsheet might run as a formula: a character of
/// [`FORMULA_STARTS`] that is the first of a cell, apart from blanks and quotes.
fn without_formulas(text: &str) -> Cow<'_, str> {
    if !text.contains(FORMULA_STARTS) {
        return Cow::Borrowed(text);
    }
    let mut neutralized = String::with_capacity(text.len() + 8);
    let mut at_start = true;
    for it in text.chars() {
        if at_start && FORMULA_STARTS.contains(&it) {
            neutralized.push('\'');
            at_start = false;
        }
        neutralized.push(it);
        at_start = CELL_ENDS.contains(&it) || (at_start && is_skipped(it));
    }
    Cow::Owned(neutralized)
}

/// Whether a spreadsheet may skip the character at the start of a cell: blanks, quotes, and what has no width.
fn is_skipped(it: char) -> bool {
    it == '"'
        || it.is_whitespace()
        || it.is_control()
        || matches!(it, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

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

    /// Number of columns before the attributes.
    const BEFORE: usize = 4;

    /// Returns one row written as CSV, and its fields as parsed by an independent reader.
    fn round_trip(options: FormatOptions, cells: &[CellValue<'_>]) -> (String, Vec<String>) {
        let mut bytes = Vec::new();
        let csv = CsvWriter::new(options, &delta_columns(), &mut bytes);
        let row = DeltaRow {
            seq: 7,
            op: Op::Update,
            observed_at: "2026-11-22T12:00:00.000Z",
            reason: None,
            cells,
            extra: None,
            custom_fields: None,
        };
        csv.write_row(row.all_cells(), &mut bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        assert_eq!(reader.headers().unwrap().len(), BEFORE + ATTRIBUTE_COUNT + 2);
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
                "7,u,2026-11-22T12:00:00.000Z,,\"\",0.0{}\r\n",
                ",".repeat(ATTRIBUTE_COUNT)
            )),
            "{text}"
        );
    }

    #[test]
    fn excel_neutralizes_formulas_behind_every_separator_but_no_numbers() {
        let excel = FormatOptions { excel: true, ..EXACT };
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-5", "'-5"),
            ("'quoted", "''quoted"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("＝1", "'＝1"),
            (" \u{A0}+1", " \u{A0}'+1"),
            ("\u{FEFF}=1", "\u{FEFF}'=1"),
            ("\"=1\"", "\"'=1\""),
            ("a;=1", "a;'=1"),
            ("a\t=1", "a\t'=1"),
            ("a|@x", "a|'@x"),
            ("a, -1", "a, '-1"),
            ("a\r\n+1", "a\r'\n'+1"),
            ("a\n\n＋1", "a\n'\n'＋1"),
            ("a\u{2028}=1", "a\u{2028}'=1"),
            ("a;;'=1", "a;;''=1"),
            ("a=b", "a=b"),
            ("a - b", "a - b"),
            ("2026-11-22", "2026-11-22"),
            ("a@example.com", "a@example.com"),
        ] {
            let mut cells = cells(&[text]);
            (cells[1], cells[2]) = (CellValue::Integer(-5), CellValue::Real(-0.5));
            let (file, fields) = round_trip(excel, &cells);
            assert_eq!(fields[BEFORE..BEFORE + 3], [written, "-5", "-0.5"], "{text:?}");
            assert_eq!(restore(excel, written), text);
            assert!(file.starts_with("\u{FEFF}_seq,"), "{file:?}");
        }
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
        if !options.excel {
            return text;
        }
        let (mut restored, mut at_start) = (String::new(), true);
        for it in text.chars() {
            if at_start && it == '\'' {
                at_start = false;
                continue;
            }
            restored.push(it);
            at_start = CELL_ENDS.contains(&it) || (at_start && is_skipped(it));
        }
        restored
    }

    proptest! {
        #[test]
        fn text_and_numbers_round_trip_through_csv(
            texts in proptest::collection::vec("(?s).*|[\"\r\n\t,;| =+@＝'\\\\rn-]{0,8}", 4),
            real: f64,
            excel: bool,
            escape: bool,
        ) {
            prop_assume!(real.is_finite());
            let newlines = if escape { Newlines::Escape } else { Newlines::Keep };
            let options = FormatOptions { excel, newlines, ..EXACT };
            let mut cells = cells(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            cells[50] = CellValue::Real(real);
            let (text, fields) = round_trip(options, &cells);
            let back: Vec<_> = fields[BEFORE..BEFORE + 4].iter().map(|field| restore(options, field)).collect();
            prop_assert_eq!(&back, &texts);
            prop_assert_eq!(fields[BEFORE + 50].parse::<f64>().unwrap().to_bits(), real.to_bits());
            if escape {
                prop_assert_eq!(text.matches(['\r', '\n']).count(), 4, "each row is one line");
            }
            if excel {
                for cell in fields[BEFORE..BEFORE + 4].iter().flat_map(|field| field.split(CELL_ENDS)) {
                    let shown = cell.trim_start_matches(is_skipped);
                    prop_assert!(!shown.starts_with(&FORMULA_STARTS[..12]), "{cell:?}");
                }
            }
        }
    }
}
