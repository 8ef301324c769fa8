//! Counts the rows of a Parquet file by its footer, in one reading and constant memory whatever the footer says.
//!
//! Not by the library that writes such files: its reader keeps everything that a footer describes, and a forged one makes
//! it panic, or nests deeper than any stack.

use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::fs::FileExt as _;

/// What a Parquet file begins and ends with.
const MAGIC: [u8; 4] = *b"PAR1";

/// Number of bytes at the end: the length of the footer, and the magic.
const TAIL_BYTES: usize = 8;

/// Most bytes of a footer. That of a million tickets has 6 MiB.
const MAX_FOOTER_BYTES: u64 = 64 << 20;

/// Where the footer of a file is.
#[derive(Debug)]
pub(super) struct FooterPlace {
    start: u64,
    length: u64,
}

impl FooterPlace {
    /// Finds the footer of a file with this many bytes; what is wrong is a clause. Does not move the position of the file.
    pub(super) fn find(file: &File, file_bytes: u64) -> io::Result<Result<FooterPlace, String>> {
        let not_parquet = || Ok(Err("it is not a Parquet file".to_owned()));
        let Some(most) = file_bytes.checked_sub((MAGIC.len() + TAIL_BYTES) as u64) else {
            return not_parquet();
        };
        let end = file_bytes - TAIL_BYTES as u64;
        let mut tail = [0; TAIL_BYTES];
        match file.read_exact_at(&mut tail, end) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return not_parquet(),
            read => read?,
        }
        let [length @ .., _, _, _, _] = tail;
        if tail[length.len()..] != MAGIC {
            return not_parquet();
        }
        let length = u64::from(u32::from_le_bytes(length));
        if most < length {
            return Ok(Err("its footer does not fit into it".to_owned()));
        }
        if MAX_FOOTER_BYTES < length {
            return Ok(Err(format!("its footer has more than {} MiB", MAX_FOOTER_BYTES >> 20)));
        }
        Ok(Ok(FooterPlace { start: end - length, length }))
    }

    /// Reads a file from its beginning to the end of the footer and returns the number of its rows; what is wrong is a
    /// clause.
    pub(super) fn count_rows(&self, file: &mut impl BufRead) -> Result<u64, String> {
        let mut magic = [0; MAGIC.len()];
        let read = file.read_exact(&mut magic);
        if read.is_err() || magic != MAGIC {
            return Err("it is not a Parquet file".to_owned());
        }
        let data = self.start - MAGIC.len() as u64;
        let damaged = || "its footer is damaged".to_owned();
        let skipped = io::copy(&mut file.by_ref().take(data), &mut io::sink());
        if !skipped.is_ok_and(|skipped| skipped == data) {
            return Err(damaged());
        }
        let mut footer = ThriftReader { source: file.take(self.length) };
        let FooterRows { total, in_groups } = footer.read_file().ok_or_else(damaged)?;
        if footer.source.limit() != 0 {
            return Err("something follows its footer".to_owned());
        }
        if total != in_groups {
            return Err(format!("its footer says {total} rows, but its row groups have {in_groups}"));
        }
        Ok(total)
    }
}

/// Numbers of rows in a footer.
struct FooterRows {
    total: u64,
    in_groups: u64,
}

/// Types of values in the compact protocol of Thrift, in which footers are written.
mod wire_type {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

/// Number of the field with the rows in `FileMetaData`, and in `RowGroup` (parquet.thrift).
const NUM_ROWS: i16 = 3;

/// Number of the field with the row groups in `FileMetaData`.
const ROW_GROUPS: i16 = 4;

/// Most structs, lists and maps within each other; footers have about eight.
const MAX_DEPTH: u8 = 32;

/// Reads the compact protocol of Thrift; `None` is anything that is not valid. Everything takes at least one byte, so the
/// time is that of the bytes.
struct ThriftReader<R> {
    source: R,
}

impl<R: BufRead> ThriftReader<R> {
    fn read_file(&mut self) -> Option<FooterRows> {
        let (mut field, mut total, mut in_groups) = (0, None, None);
        while let Some(kind) = self.next_field(&mut field)? {
            match (field, kind) {
                (NUM_ROWS, wire_type::I64) if total.is_none() => total = Some(self.count()?),
                (ROW_GROUPS, wire_type::LIST) if in_groups.is_none() => {
                    in_groups = Some(self.read_groups()?);
                }
                (NUM_ROWS | ROW_GROUPS, _) => return None,
                _ => self.skip(kind, MAX_DEPTH)?,
            }
        }
        Some(FooterRows { total: total?, in_groups: in_groups? })
    }

    fn read_groups(&mut self) -> Option<u64> {
        let (count, wire_type::STRUCT) = self.list()? else { return None };
        let mut rows: u64 = 0;
        for _ in 0..count {
            let (mut field, mut in_group) = (0, None);
            while let Some(kind) = self.next_field(&mut field)? {
                match (field, kind) {
                    (NUM_ROWS, wire_type::I64) if in_group.is_none() => in_group = Some(self.count()?),
                    (NUM_ROWS, _) => return None,
                    _ => self.skip(kind, MAX_DEPTH)?,
                }
            }
            rows = rows.checked_add(in_group?)?;
        }
        Some(rows)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.source.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    /// A number of 7 bits a byte, the lowest first.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A signed number, whose sign is the lowest bit.
    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn count(&mut self) -> Option<u64> {
        u64::try_from(self.signed()?).ok()
    }

    /// Moves to the next field of a struct and returns its type; `Some(None)` is the end of the struct.
    #[expect(clippy::option_option, reason = "the outer one is for what is not valid, as everywhere here")]
    fn next_field(&mut self, field: &mut i16) -> Option<Option<u8>> {
        let header = self.byte()?;
        if header == 0 {
            return Some(None);
        }
        let step = i16::from(header >> 4);
        *field = if step == 0 { i16::try_from(self.signed()?).ok()? } else { field.checked_add(step)? };
        Some(Some(header & 0xF))
    }

    /// The beginning of a list: how many values it has, and of which type.
    fn list(&mut self) -> Option<(u64, u8)> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        Some((count, header & 0xF))
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // The type of a field is its value.
            wire_type::TRUE | wire_type::FALSE => Some(()),
            wire_type::BYTE => self.skip_bytes(1),
            wire_type::I16 | wire_type::I32 | wire_type::I64 => self.varint().map(drop),
            wire_type::DOUBLE => self.skip_bytes(8),
            wire_type::UUID => self.skip_bytes(16),
            wire_type::BINARY => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            wire_type::LIST | wire_type::SET => {
                let (count, kind) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            wire_type::MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0xF, depth)
                })
            }
            wire_type::STRUCT => {
                let mut field = 0;
                while let Some(kind) = self.next_field(&mut field)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    fn skip_element(&mut self, kind: u8, depth: u8) -> Option<()> {
        match kind {
            wire_type::TRUE | wire_type::FALSE => self.skip_bytes(1),
            kind => self.skip(kind, depth),
        }
    }

    fn skip_bytes(&mut self, count: u64) -> Option<()> {
        let skipped = io::copy(&mut self.source.by_ref().take(count), &mut io::sink()).ok()?;
        (skipped == count).then_some(())
    }
}
