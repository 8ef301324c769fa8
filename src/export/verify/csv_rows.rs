//! Reads the rows of a CSV file by RFC 4180, in pieces.

use std::mem;

use super::counted_rows::{CapturedValue, CountedRows};
use crate::ticket::{OP_COLUMN, SEQ_COLUMN};

/// UTF-8 byte order mark.
const BOM: &[u8] = "\u{FEFF}".as_bytes();

/// A reader of CSV.
pub(super) struct CsvRows {
    counted: CountedRows,
    state: CsvState,
    /// Number of columns, once the header was read.
    columns: Option<usize>,
    op_column: Option<usize>,
    seq_column: Option<usize>,
    /// Number of complete fields of the record.
    fields: usize,
    field: CapturedValue,
    op: CapturedValue,
    seq: CapturedValue,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CsvState {
    RecordStart,
    FieldStart,
    Unquoted,
    Quoted,
    /// After a quote within quotes, which ends them or is the first of two.
    QuoteInQuotes,
    CarriageReturn,
}

impl CsvRows {
    pub(super) fn new(counted: CountedRows) -> CsvRows {
        CsvRows {
            counted,
            state: CsvState::RecordStart,
            columns: None,
            op_column: None,
            seq_column: None,
            fields: 0,
            field: CapturedValue::default(),
            op: CapturedValue::default(),
            seq: CapturedValue::default(),
        }
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// The problem, as a clause.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        for byte in bytes {
            self.state = self.next_state(*byte)?;
        }
        Ok(())
    }

    fn next_state(&mut self, byte: u8) -> Result<CsvState, String> {
        use CsvState::{CarriageReturn, FieldStart, QuoteInQuotes, Quoted, RecordStart, Unquoted};
        Ok(match (self.state, byte) {
            (Quoted, b'"') => QuoteInQuotes,
            (QuoteInQuotes, b'"') | (Quoted, _) => {
                self.field.push(byte);
                Quoted
            }
            (RecordStart | FieldStart, b'"') => Quoted,
            (CarriageReturn, b'\n') => {
                self.end_record()?;
                RecordStart
            }
            (CarriageReturn, _) => return Err(self.malformed("has a carriage return alone")),
            (_, b',') => {
                self.end_field();
                FieldStart
            }
            (_, b'\r') => CarriageReturn,
            (_, b'\n') => {
                self.end_record()?;
                RecordStart
            }
            (QuoteInQuotes, _) => return Err(self.malformed("has text behind a closing quote")),
            (Unquoted, b'"') => return Err(self.malformed("has a quote in an unquoted field")),
            (RecordStart | FieldStart | Unquoted, _) => {
                self.field.push(byte);
                Unquoted
            }
        })
    }

    fn end_field(&mut self) {
        let index = self.fields;
        self.fields += 1;
        if self.columns.is_none() {
            let name = self.field.get().unwrap_or_default();
            let name = if index == 0 { name.strip_prefix(BOM).unwrap_or(name) } else { name };
            if name == OP_COLUMN.as_bytes() {
                self.op_column = Some(index);
            } else if name == SEQ_COLUMN.as_bytes() {
                self.seq_column = Some(index);
            }
        } else if self.op_column == Some(index) {
            mem::swap(&mut self.op, &mut self.field);
        } else if self.seq_column == Some(index) {
            mem::swap(&mut self.seq, &mut self.field);
        }
        self.field.clear();
    }

    fn end_record(&mut self) -> Result<(), String> {
        self.end_field();
        let fields = mem::take(&mut self.fields);
        match self.columns {
            None => {
                self.columns = Some(fields);
                if self.counted.needs_changes() && (self.op_column.is_none() || self.seq_column.is_none()) {
                    return Err(format!("its header lacks `{OP_COLUMN}` or `{SEQ_COLUMN}`"));
                }
                Ok(())
            }
            Some(columns) if columns != fields => {
                let row = self.counted.rows + 1;
                Err(format!("row {row} has {fields} fields, but the header has {columns}"))
            }
            Some(_) => self.counted.add_row(self.op.get(), self.seq.get()),
        }
    }

    /// Reads the end of the file and returns the rows.
    pub(super) fn finish(mut self) -> Result<CountedRows, String> {
        match self.state {
            CsvState::Quoted => return Err(self.malformed("ends within quotes")),
            CsvState::RecordStart => {}
            _ => self.end_record()?,
        }
        if self.columns.is_none() {
            return Err("it has no header".to_owned());
        }
        Ok(self.counted)
    }

    fn malformed(&self, problem: &str) -> String {
        match self.columns {
            None => format!("its header {problem}"),
            Some(_) => format!("row {} {problem}", self.counted.rows + 1),
        }
    }
}
