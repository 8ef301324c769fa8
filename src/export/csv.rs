//! CSV by RFC 4180: a header, CRLF, quotes where they are needed.
//!
//! NULL is an empty field and an empty text is `""`: the two are different, and no CSV library quotes
//! one field of a kind and not the other.

use std::io::{self, Write};

use crate::ticket::{Cell, Column};

/// Writes rows as CSV.
pub struct Csv<W> {
    out: W,
}

impl<W: Write> Csv<W> {
    pub(super) fn begin(columns: &[Column], mut out: W) -> io::Result<Csv<W>> {
        for (place, column) in columns.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(out, "{comma}{}", column.name)?;
        }
        out.write_all(b"\r\n")?;
        Ok(Csv { out })
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> io::Result<()> {
        for (place, cell) in cells.into_iter().enumerate() {
            if place != 0 {
                self.out.write_all(b",")?;
            }
            match cell {
                Cell::Null => {}
                Cell::Integer(number) => write!(self.out, "{number}")?,
                // `Debug` writes the shortest digits that read back as the same double, with a point.
                Cell::Real(number) => write!(self.out, "{number:?}")?,
                Cell::Text(text) => self.text(text.as_bytes())?,
            }
        }
        self.out.write_all(b"\r\n")
    }

    pub(super) fn end(self) -> W {
        self.out
    }

    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        let plain = !text.is_empty() && !text.iter().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'));
        if plain {
            return self.out.write_all(text);
        }
        self.out.write_all(b"\"")?;
        let mut pieces = text.split(|byte| *byte == b'"');
        if let Some(first) = pieces.next() {
            self.out.write_all(first)?;
        }
        for piece in pieces {
            self.out.write_all(b"\"\"")?;
            self.out.write_all(piece)?;
        }
        self.out.write_all(b"\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::attribute::COUNT;
    use crate::ticket::{DeltaRow, Op, delta_columns};
    use proptest::prelude::*;

    /// The fields of one row of `cells`, as text, by an independent reader.
    fn round_trip(cells: &[Cell<'_>]) -> (String, Vec<String>) {
        let mut csv = Csv::begin(&delta_columns(), Vec::new()).unwrap();
        let row = DeltaRow { seq: 7, op: Op::Update, observed_at: "2026-11-22T12:00:00.000Z", cells };
        csv.row(row.all_cells()).unwrap();
        let bytes = csv.end();
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        assert_eq!(reader.headers().unwrap().len(), 3 + COUNT);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 1, "a value was taken for the end of the row");
        let fields = rows[0].iter().map(ToOwned::to_owned).collect();
        (String::from_utf8(bytes).unwrap(), fields)
    }

    #[test]
    fn null_and_an_empty_text_are_told_apart() {
        let mut cells = [Cell::Null; COUNT];
        cells[0] = Cell::Text("");
        cells[1] = Cell::Real(0.0);
        let (text, _) = round_trip(&cells);
        assert!(
            text.ends_with(&format!("7,u,2026-11-22T12:00:00.000Z,\"\",0.0{}\r\n", ",".repeat(COUNT - 2))),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn every_text_and_number_comes_back_equal(texts in proptest::collection::vec("(?s).*|[\"\r\n,=+@-]{0,6}", 4), real: f64) {
            prop_assume!(real.is_finite());
            let mut cells = [Cell::Null; COUNT];
            for (cell, text) in cells.iter_mut().zip(&texts) {
                *cell = Cell::Text(text);
            }
            cells[50] = Cell::Real(real);
            let (_, fields) = round_trip(&cells);
            prop_assert_eq!(&fields[3..7], &texts[..]);
            prop_assert_eq!(fields[53].parse::<f64>().unwrap().to_bits(), real.to_bits());
        }
    }
}
