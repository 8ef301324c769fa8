//! Reads the rows of JSON Lines or of a JSON array, in pieces: the grammar of RFC 8259, without keeping any value.

use std::mem;

use serde::de::IgnoredAny;

use super::counted_rows::{CapturedValue, CountedRows};
use crate::ticket::{OP_COLUMN, SEQ_COLUMN};

/// Deepest nesting within a row; halosync writes three levels.
const MAX_DEPTH: usize = 64;

/// A reader of JSON.
pub(super) struct JsonRows {
    counted: CountedRows,
    is_array: bool,
    expected: Expected,
    token: JsonToken,
    /// The open objects and arrays of the row: whether each is an object.
    open: Vec<bool>,
    /// The name of the member, or the scalar, that is being read.
    value: CapturedValue,
    /// The member of the row whose value follows.
    member: Option<RowMember>,
    op: CapturedValue,
    seq: CapturedValue,
    has_op: bool,
    has_seq: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RowMember {
    Op,
    Seq,
}

/// What may come next, apart from blanks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    ArrayStart,
    Row,
    RowOrEnd,
    RowSeparator,
    Nothing,
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
}

/// The token that is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonToken {
    None,
    Text {
        is_name: bool,
    },
    Escape {
        is_name: bool,
    },
    /// So many hexadecimal digits are still to come.
    Hex {
        is_name: bool,
        digits: u8,
    },
    Scalar,
}

impl JsonRows {
    pub(super) fn new(counted: CountedRows, is_array: bool) -> JsonRows {
        JsonRows {
            counted,
            is_array,
            expected: if is_array { Expected::ArrayStart } else { Expected::RowOrEnd },
            token: JsonToken::None,
            open: Vec::new(),
            value: CapturedValue::default(),
            member: None,
            op: CapturedValue::default(),
            seq: CapturedValue::default(),
            has_op: false,
            has_seq: false,
        }
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// The problem, as a clause.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        for byte in bytes {
            match self.token {
                JsonToken::None => self.read_structure(*byte)?,
                JsonToken::Scalar if is_scalar_byte(*byte) => self.value.push(*byte),
                JsonToken::Scalar => {
                    self.end_scalar()?;
                    self.read_structure(*byte)?;
                }
                _ => self.read_text(*byte)?,
            }
        }
        Ok(())
    }

    fn read_text(&mut self, byte: u8) -> Result<(), String> {
        self.token = match self.token {
            JsonToken::Text { is_name } if byte == b'"' => {
                self.end_text(is_name)?;
                return Ok(());
            }
            JsonToken::Text { is_name } if byte == b'\\' => JsonToken::Escape { is_name },
            JsonToken::Text { .. } if byte < b' ' => return Err(self.malformed()),
            JsonToken::Escape { is_name } if byte == b'u' => JsonToken::Hex { is_name, digits: 4 },
            JsonToken::Escape { is_name } if b"\"\\/bfnrt".contains(&byte) => JsonToken::Text { is_name },
            JsonToken::Hex { is_name, digits: 1 } if byte.is_ascii_hexdigit() => JsonToken::Text { is_name },
            JsonToken::Hex { is_name, digits } if byte.is_ascii_hexdigit() => {
                JsonToken::Hex { is_name, digits: digits - 1 }
            }
            token @ JsonToken::Text { .. } => token,
            _ => return Err(self.malformed()),
        };
        self.value.push(byte);
        Ok(())
    }

    fn end_text(&mut self, is_name: bool) -> Result<(), String> {
        self.token = JsonToken::None;
        if !is_name {
            return self.end_value(true);
        }
        self.expected = Expected::Colon;
        if self.open.len() == 1 {
            self.member = match self.value.get() {
                Some(name) if name == OP_COLUMN.as_bytes() => Some(RowMember::Op),
                Some(name) if name == SEQ_COLUMN.as_bytes() => Some(RowMember::Seq),
                _ => None,
            };
        }
        Ok(())
    }

    fn end_scalar(&mut self) -> Result<(), String> {
        self.token = JsonToken::None;
        let is_valid = |it: &[u8]| is_integer(it) || serde_json::from_slice::<IgnoredAny>(it).is_ok();
        if !self.value.get().is_some_and(is_valid) {
            return Err(self.malformed());
        }
        self.end_value(false)
    }

    /// Ends a text or a scalar, and keeps it if it is one of the two members.
    fn end_value(&mut self, is_text: bool) -> Result<(), String> {
        self.expected = Expected::CommaOrEnd;
        match self.member.take_if(|_| self.open.len() == 1) {
            Some(RowMember::Op) if is_text => {
                mem::swap(&mut self.op, &mut self.value);
                if mem::replace(&mut self.has_op, true) { Err(self.malformed()) } else { Ok(()) }
            }
            Some(RowMember::Seq) if !is_text => {
                mem::swap(&mut self.seq, &mut self.value);
                if mem::replace(&mut self.has_seq, true) { Err(self.malformed()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn read_structure(&mut self, byte: u8) -> Result<(), String> {
        use Expected::{
            ArrayStart, Colon, CommaOrEnd, Name, NameOrEnd, Nothing, Row, RowOrEnd, RowSeparator, Value,
            ValueOrEnd,
        };
        let in_object = self.open.last().copied();
        self.expected = match (self.expected, byte) {
            (RowSeparator, b'\n') if !self.is_array => RowOrEnd,
            // In JSON Lines a row is one line.
            (_, b'\n') if !self.is_array => return Err(self.malformed()),
            (expected, b' ' | b'\t' | b'\r' | b'\n') => expected,
            (ArrayStart, b'[') => RowOrEnd,
            (Row | RowOrEnd, b'{') => {
                self.open.push(true);
                NameOrEnd
            }
            (RowOrEnd | RowSeparator, b']') if self.is_array => Nothing,
            (RowSeparator, b',') if self.is_array => Row,
            (Name | NameOrEnd, b'"') => {
                self.value.clear();
                self.token = JsonToken::Text { is_name: true };
                Name
            }
            (Colon, b':') => Value,
            (CommaOrEnd, b',') if in_object == Some(true) => Name,
            (CommaOrEnd, b',') => Value,
            (NameOrEnd | CommaOrEnd, b'}') if in_object == Some(true) => self.close()?,
            (ValueOrEnd | CommaOrEnd, b']') if in_object == Some(false) => self.close()?,
            (Value | ValueOrEnd, b'{' | b'[') if self.open.len() < MAX_DEPTH => {
                self.open.push(byte == b'{');
                if byte == b'{' { NameOrEnd } else { ValueOrEnd }
            }
            (Value | ValueOrEnd, b'"') => {
                self.value.clear();
                self.token = JsonToken::Text { is_name: false };
                CommaOrEnd
            }
            (Value | ValueOrEnd, _) if is_scalar_byte(byte) => {
                self.value.clear();
                self.value.push(byte);
                self.token = JsonToken::Scalar;
                CommaOrEnd
            }
            _ => return Err(self.malformed()),
        };
        Ok(())
    }

    /// Closes an object or array; with the outermost one the row ends.
    fn close(&mut self) -> Result<Expected, String> {
        self.open.pop();
        if !self.open.is_empty() {
            return Ok(Expected::CommaOrEnd);
        }
        let op = self.op.get().filter(|_| mem::take(&mut self.has_op));
        let seq = self.seq.get().filter(|_| mem::take(&mut self.has_seq));
        self.counted.add_row(op, seq)?;
        Ok(Expected::RowSeparator)
    }

    /// Reads the end of the file and returns the rows.
    pub(super) fn finish(self) -> Result<CountedRows, String> {
        let is_complete = match self.expected {
            Expected::Nothing => true,
            Expected::RowOrEnd | Expected::RowSeparator => !self.is_array,
            _ => false,
        };
        if is_complete { Ok(self.counted) } else { Err("it ends within a row or without its end".to_owned()) }
    }

    fn malformed(&self) -> String {
        format!("row {} is not valid", self.counted.rows + 1)
    }
}

fn is_scalar_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

/// Whether it is a usual integer; most scalars are.
fn is_integer(bytes: &[u8]) -> bool {
    !bytes.starts_with(b"0") && bytes.iter().all(u8::is_ascii_digit)
}
