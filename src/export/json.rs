//! JSON: one object a line, or one array of them. Nulls are written; booleans are `true` and `false`.

use std::io::{self, Write};

use crate::ticket::{Cell, Column, Kind};

/// Writes rows as JSON objects.
pub struct Json<W> {
    out: W,
    /// What stands before each value, and what the value is.
    members: Vec<(String, Kind)>,
    /// What stands before the next row.
    before: &'static [u8],
    between: &'static [u8],
    end: &'static [u8],
}

impl<W: Write> Json<W> {
    pub(super) fn lines(columns: &[Column], out: W) -> Json<W> {
        Json { out, members: members(columns), before: b"", between: b"\n", end: b"\n" }
    }

    pub(super) fn array(columns: &[Column], mut out: W) -> io::Result<Json<W>> {
        out.write_all(b"[")?;
        Ok(Json { out, members: members(columns), before: b"\n", between: b",\n", end: b"\n]\n" })
    }

    pub(super) fn row<'a>(&mut self, cells: impl IntoIterator<Item = Cell<'a>>) -> io::Result<()> {
        self.out.write_all(self.before)?;
        self.before = self.between;
        for ((name, kind), cell) in self.members.iter().zip(cells) {
            self.out.write_all(name.as_bytes())?;
            match cell {
                Cell::Null => self.out.write_all(b"null")?,
                Cell::Integer(number) if *kind == Kind::Boolean => {
                    self.out.write_all(if number == 0 { b"false" } else { b"true" })?;
                }
                Cell::Integer(number) => write!(self.out, "{number}")?,
                Cell::Real(number) => serde_json::to_writer(&mut self.out, &number)?,
                Cell::Text(text) => serde_json::to_writer(&mut self.out, text)?,
            }
        }
        self.out.write_all(b"}")
    }

    pub(super) fn end(mut self) -> io::Result<W> {
        // No line is no line, not an empty one.
        if !(self.before.is_empty() && self.end == b"\n") {
            self.out.write_all(self.end)?;
        }
        Ok(self.out)
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

    fn rows(cells: &[Cell<'_>], count: i64, mut json: Json<Vec<u8>>) -> String {
        for seq in 0..count {
            let row = DeltaRow { seq, op: Op::Create, observed_at: "2026-11-22T12:00:00.000Z", cells };
            json.row(row.all_cells()).unwrap();
        }
        String::from_utf8(json.end().unwrap()).unwrap()
    }

    #[test]
    fn lines_are_objects_and_an_array_is_one_document() {
        let cells = [Cell::Null; COUNT];
        for count in [0, 1, 3] {
            let lines = rows(&cells, count, Json::lines(&delta_columns(), Vec::new()));
            assert_eq!(lines.lines().count(), usize::try_from(count).unwrap(), "{lines:?}");
            let array = rows(&cells, count, Json::array(&delta_columns(), Vec::new()).unwrap());
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
            let line = rows(&cells, 1, Json::lines(&delta_columns(), Vec::new()));
            prop_assert_eq!(line.lines().count(), 1);
            let object: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(object[ATTRIBUTES[3].name].as_str(), Some(text.as_str()));
            prop_assert_eq!(object[ATTRIBUTES[14].name].as_f64(), Some(real));
            prop_assert_eq!(object[ATTRIBUTES[24].name].as_bool(), Some(true));
        }
    }
}
