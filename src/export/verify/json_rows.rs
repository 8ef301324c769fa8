//! Counts the rows of JSON Lines and of a JSON array. Of a row only the two members are kept that tell what happened.

use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::Deserializer;

use super::counted_rows::CountedRows;
use super::row_text::RowText;
use crate::ticket::{OP_COLUMN, SEQ_COLUMN};

#[derive(Deserialize)]
struct JsonRow {
    #[serde(rename = "_op")]
    op: Option<String>,
    #[serde(rename = "_seq")]
    seq: Option<i64>,
}

/// Counts rows of which each is one line.
pub(super) fn count_json_lines(text: &mut RowText<'_>, rows: &mut CountedRows) -> Result<(), String> {
    let mut line = Vec::new();
    while text.read_until(b'\n', &mut line).map_err(clause)? != 0 {
        check_object(&mut line.as_slice(), rows)?;
        add_row(serde_json::from_slice(&line), rows)?;
        line.clear();
        text.get_mut().start_row();
    }
    Ok(())
}

/// Counts the rows of an array.
pub(super) fn count_json_array(text: &mut RowText<'_>, rows: &mut CountedRows) -> Result<(), String> {
    let mut next = take(text)?;
    if next != Some(b'[') {
        return Err("it is not a JSON array".to_owned());
    }
    if peek(text)? == Some(b']') {
        next = take(text)?;
    }
    while next != Some(b']') {
        check_object(text, rows)?;
        add_row(read_object(text), rows)?;
        text.get_mut().start_row();
        next = take(text)?;
        if !matches!(next, Some(b',' | b']')) {
            return Err(format!("its array does not go on after row {}", rows.rows));
        }
    }
    if peek(text)?.is_some() { Err("something follows its array".to_owned()) } else { Ok(()) }
}

/// Reads an object, and nothing behind it.
fn read_object(text: &mut RowText<'_>) -> serde_json::Result<JsonRow> {
    // The whole object is usually in the buffer, and a slice is parsed in a fraction of the time.
    let mut buffered = Deserializer::from_slice(text.buffer()).into_iter();
    if let Some(Ok(row)) = buffered.next() {
        let length = buffered.byte_offset();
        text.consume(length);
        return Ok(row);
    }
    JsonRow::deserialize(&mut Deserializer::from_reader(text))
}

fn add_row(row: serde_json::Result<JsonRow>, rows: &mut CountedRows) -> Result<(), String> {
    match row {
        Ok(row) => rows.add_row(row.op.as_deref().map(str::as_bytes), row.seq),
        Err(error) if error.is_io() => Err(error.to_string()),
        Err(error) if error.is_data() => {
            let row = rows.rows + 1;
            Err(format!("`{OP_COLUMN}` or `{SEQ_COLUMN}` of row {row} has the wrong type, or occurs twice"))
        }
        Err(_) => Err(invalid(rows)),
    }
}

/// Checks that an object is next: a struct can also be read from an array.
fn check_object(text: &mut impl BufRead, rows: &CountedRows) -> Result<(), String> {
    if peek(text)? == Some(b'{') { Ok(()) } else { Err(invalid(rows)) }
}

fn invalid(rows: &CountedRows) -> String {
    format!("row {} is not valid JSON", rows.rows + 1)
}

/// Skips blanks and returns the byte behind them.
fn peek(text: &mut impl BufRead) -> Result<Option<u8>, String> {
    loop {
        match text.fill_buf().map_err(clause)?.first().copied() {
            Some(b' ' | b'\t' | b'\r' | b'\n') => text.consume(1),
            byte => return Ok(byte),
        }
    }
}

/// Skips blanks and takes the byte behind them.
fn take(text: &mut impl BufRead) -> Result<Option<u8>, String> {
    let byte = peek(text)?;
    text.consume(usize::from(byte.is_some()));
    Ok(byte)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn clause(error: io::Error) -> String {
    error.to_string()
}
