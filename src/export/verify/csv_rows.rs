//! Counts the rows of a CSV file, strictly by RFC 4180.
//!
//! The CSV libraries find rows in any bytes: they skip empty lines without end, and take text behind a closing quote.

use std::io::BufRead as _;

use super::counted_rows::CountedRows;
use super::row_text::RowText;
use crate::ticket::{OP_COLUMN, SEQ_COLUMN};

/// UTF-8 byte order mark.
const BOM: &[u8] = "\u{FEFF}".as_bytes();

/// Counts the rows below the header.
pub(super) fn count_csv(text: &mut RowText<'_>, rows: &mut CountedRows) -> Result<(), String> {
    let mut record = Vec::new();
    if !read_record(text, &mut record)? {
        return Err("it has no header".to_owned());
    }
    let header = fields(record.strip_prefix(BOM).unwrap_or(&record));
    let header = header.ok_or_else(|| "its header is not valid CSV".to_owned())?;
    let column = |name: &str| header.iter().position(|field| *field == name.as_bytes());
    let (op, seq, columns) = (column(OP_COLUMN), column(SEQ_COLUMN), header.len());
    if rows.needs_changes() && (op.is_none() || seq.is_none()) {
        return Err(format!("its header lacks `{OP_COLUMN}` or `{SEQ_COLUMN}`"));
    }
    while read_record(text, &mut record)? {
        let row = rows.rows + 1;
        let values = fields(&record).ok_or_else(|| format!("row {row} is not valid CSV"))?;
        if values.len() != columns {
            return Err(format!("row {row} has {} fields, but the header has {columns}", values.len()));
        }
        let seq = seq.and_then(|it| str::from_utf8(values[it]).ok()?.parse().ok());
        rows.add_row(op.map(|it| values[it]), seq)?;
    }
    Ok(())
}

/// Reads a record without its line break; returns whether there is one.
fn read_record(text: &mut RowText<'_>, record: &mut Vec<u8>) -> Result<bool, String> {
    record.clear();
    text.get_mut().start_row();
    let mut is_quoted = false;
    loop {
        let start = record.len();
        let read = text.read_until(b'\n', record).map_err(|error| error.to_string())?;
        is_quoted = record[start..].iter().fold(is_quoted, |quoted, byte| quoted ^ (*byte == b'"'));
        match (read, is_quoted) {
            (0, true) => return Err("it ends within quotes".to_owned()),
            (0, false) => return Ok(false),
            (_, true) => {}
            (_, false) => break,
        }
    }
    for end in [b'\n', b'\r'] {
        record.pop_if(|last| *last == end);
    }
    Ok(true)
}

/// Returns the fields of a record without the quotes around them; none if one is not valid.
fn fields(record: &[u8]) -> Option<Vec<&[u8]>> {
    let mut is_quoted = false;
    let fields = record.split(|byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    });
    fields.map(without_quotes).collect()
}

fn without_quotes(field: &[u8]) -> Option<&[u8]> {
    let Some(quoted) = field.strip_prefix(b"\"") else {
        return (!field.iter().any(|byte| matches!(byte, b'"' | b'\r'))).then_some(field);
    };
    let text = quoted.strip_suffix(b"\"")?;
    // Quotes within quotes are doubled: nothing is between the first and the second, the third and the fourth ...
    let mut between = text.split(|byte| *byte == b'"').skip(1).step_by(2);
    between.all(<[u8]>::is_empty).then_some(text)
}
