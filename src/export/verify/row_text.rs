//! The text of a data file, for reading it row by row in bounded memory.

use std::io::{self, BufReader, Read};

use crate::export::file::CHUNK_SIZE;

/// Most bytes of a row, about. halosync keeps tickets of at most 12 MiB, and quotes at most double them.
const MAX_ROW_BYTES: u64 = 64 << 20;

/// The text of a data file.
pub(super) type RowText<'a> = BufReader<CheckedText<'a>>;

/// Checks a text while it is read: valid UTF-8 without endless rows. What is wrong is an error whose text is a clause.
pub(super) struct CheckedText<'a> {
    source: Box<dyn Read + 'a>,
    /// What a failure to read the source means.
    unreadable: &'static str,
    /// Number of bytes that may still be read of this row.
    left: u64,
    /// Beginning of a character whose end was not read yet.
    tail: Vec<u8>,
}

impl<'a> CheckedText<'a> {
    pub(super) fn new(source: Box<dyn Read + 'a>, unreadable: &'static str) -> RowText<'a> {
        let text = CheckedText { source, unreadable, left: MAX_ROW_BYTES, tail: Vec::new() };
        BufReader::with_capacity(CHUNK_SIZE, text)
    }

    /// Notes that the next row begins.
    pub(super) fn start_row(&mut self) {
        self.left = MAX_ROW_BYTES;
    }
}

impl Read for CheckedText<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let unreadable =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.unreadable));
        let read = self.source.read(buffer).map_err(unreadable)?;
        let too_long =
            || io::Error::other(format!("one of its rows has more than {} MiB", MAX_ROW_BYTES >> 20));
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_long)?;
        self.tail.extend_from_slice(&buffer[..read]);
        let valid = match str::from_utf8(&self.tail) {
            Ok(text) => text.len(),
            // The next bytes may complete it.
            Err(error) if error.error_len().is_none() && read != 0 => error.valid_up_to(),
            Err(_) => return Err(io::Error::other("it is not valid UTF-8")),
        };
        self.tail.drain(..valid);
        Ok(read)
    }
}
