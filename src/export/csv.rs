//! CSV by RFC 4180: a header, CRLF, quotes where they are needed.
//!
//! NULL is an empty field and an empty text is `""`: the two are different, and no CSV library quotes
//! one field of a kind and not the other.

use std::borrow::Cow;
use std::io::Write as _;

use super::any;
use crate::config::{Newlines, Style};
use crate::ticket::{Cell, Column};

/// Writes rows as CSV.
pub(super) struct Csv {
    exact: bool,
    excel_safe: bool,
    newlines: Newlines,
}

impl Csv {
    pub(super) fn begin(style: Style, columns: &[Column], out: &mut Vec<u8>) -> Csv {
        for (place, column) in columns.iter().enumerate() {
            out.extend_from_slice(if place == 0 { b"" } else { b"," });
            out.extend_from_slice(column.name.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        let Style { excel_safe, newlines, .. } = style;
        Csv { exact: !excel_safe && newlines == Newlines::Keep, excel_safe, newlines }
    }

    pub(super) fn row<'a>(&self, cells: impl IntoIterator<Item = Cell<'a>>, out: &mut Vec<u8>) {
        let mut integer = itoa::Buffer::new();
        for (place, cell) in cells.into_iter().enumerate() {
            if place != 0 {
                out.push(b',');
            }
            match cell {
                Cell::Null => {}
                Cell::Integer(number) => out.extend_from_slice(integer.format(number).as_bytes()),
                // `Debug` writes the shortest digits that read back as the same double, with a point.
                // Memory takes all that is written into it.
                Cell::Real(number) => drop(write!(out, "{number:?}")),
                Cell::Text(text) | Cell::Json(text) if self.exact => quoted(text, out),
                Cell::Text(text) | Cell::Json(text) => quoted(&self.spelled(text), out),
            }
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A text as the options want it.
    fn spelled<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if self.excel_safe && text.starts_with(FORMULA) {
            text = Cow::Owned(format!("'{text}"));
        }
        if self.newlines == Newlines::Escape && text.contains(['\r', '\n', '\\']) {
            text = Cow::Owned(text.replace('\\', "\\\\").replace('\r', "\\r").replace('\n', "\\n"));
        }
        text
    }
}

/// What a spreadsheet may take for the beginning of a formula, its full-width forms too (OWASP, CSV
/// Injection), and the apostrophe itself: so that taking one away from every text that begins with it
/// gives the exact texts back.
const FORMULA: [char; 13] = ['=', '+', '-', '@', '\t', '\r', '\n', '\0', '＝', '＋', '－', '＠', '\''];

fn quoted(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    // An empty text is quoted, or it would be NULL.
    if !bytes.is_empty() && !any(bytes, |byte| matches!(byte, b'"' | b',' | b'\r' | b'\n')) {
        out.extend_from_slice(bytes);
        return;
    }
    out.push(b'"');
    for (place, piece) in bytes.split(|byte| *byte == b'"').enumerate() {
        out.extend_from_slice(if place == 0 { b"" } else { b"\"\"" });
        out.extend_from_slice(piece);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Format;
    use crate::ticket::attribute::COUNT;
    use crate::ticket::{DeltaRow, Op, delta_columns};
    use proptest::prelude::*;

    const EXACT: Style = Style::exact(Format::Csv);

    /// One row of `cells` and its fields as text, by an independent reader.
    fn round_trip(style: Style, cells: &[Cell<'_>]) -> (String, Vec<String>) {
        let mut bytes = Vec::new();
        let csv = Csv::begin(style, &delta_columns(false), &mut bytes);
        let row = DeltaRow {
            seq: 7,
            op: Op::Update,
            observed_at: "2026-11-22T12:00:00.000Z",
            cells,
            custom_fields: None,
        };
        csv.row(row.all_cells(), &mut bytes);
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        assert_eq!(reader.headers().unwrap().len(), 3 + COUNT);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1, "a value was taken for the end of the row");
        let fields = rows[0].iter().map(ToOwned::to_owned).collect();
        (String::from_utf8(bytes).unwrap(), fields)
    }

    fn cells<'a>(texts: &[&'a str]) -> [Cell<'a>; COUNT] {
        let mut cells = [Cell::Null; COUNT];
        for (cell, text) in cells.iter_mut().zip(texts) {
            *cell = Cell::Text(text);
        }
        cells
    }

    #[test]
    fn null_and_an_empty_text_are_told_apart() {
        let mut cells = cells(&[""]);
        cells[1] = Cell::Real(0.0);
        let (text, _) = round_trip(EXACT, &cells);
        assert!(
            text.ends_with(&format!("7,u,2026-11-22T12:00:00.000Z,\"\",0.0{}\r\n", ",".repeat(COUNT - 2))),
            "{text}"
        );
    }

    #[test]
    fn a_text_that_a_spreadsheet_would_run_is_neutralised_and_a_negative_number_is_not() {
        let mut cells = cells(&["=1+1", "@SUM(A1)", "'quoted", "a=b", "\tx", "＝1", "-5"]);
        cells[7] = Cell::Integer(-5);
        let (_, fields) = round_trip(Style { excel_safe: true, ..EXACT }, &cells);
        assert_eq!(fields[3..11], ["'=1+1", "'@SUM(A1)", "''quoted", "a=b", "'\tx", "'＝1", "'-5", "-5"]);
    }

    /// What a reader does to undo the options, by the words of `docs/loading.md`.
    fn undone(style: Style, field: &str) -> String {
        let mut text = String::new();
        let mut rest = field.chars();
        while let Some(it) = rest.next() {
            text.push(match it {
                '\\' if style.newlines == Newlines::Escape => match rest.next() {
                    Some('r') => '\r',
                    Some('n') => '\n',
                    other => other.unwrap(),
                },
                it => it,
            });
        }
        let plain = if style.excel_safe { text.strip_prefix('\'') } else { None };
        plain.map_or(text.clone(), ToOwned::to_owned)
    }

    proptest! {
        #[test]
        fn every_text_and_number_comes_back_equal(
            texts in proptest::collection::vec("(?s).*|[\"\r\n,=+@'\\\\rn-]{0,8}", 4),
            real: f64,
            excel_safe: bool,
            escape: bool,
        ) {
            prop_assume!(real.is_finite());
            let newlines = if escape { Newlines::Escape } else { Newlines::Keep };
            let style = Style { excel_safe, newlines, ..EXACT };
            let mut cells = cells(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            cells[50] = Cell::Real(real);
            let (text, fields) = round_trip(style, &cells);
            let back: Vec<_> = fields[3..7].iter().map(|field| undone(style, field)).collect();
            prop_assert_eq!(&back, &texts);
            prop_assert_eq!(fields[53].parse::<f64>().unwrap().to_bits(), real.to_bits());
            if escape {
                prop_assert_eq!(text.matches(['\r', '\n']).count(), 4, "a row is a line");
            }
            if excel_safe {
                prop_assert!(fields[3..7].iter().all(|field| !field.starts_with(&FORMULA[..12])));
            }
        }
    }
}
