//! Hashes a data file and counts its rows in one reading, in bounded memory whatever it holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use sha2::{Digest as _, Sha256};

use super::counted_rows::CountedRows;
use super::csv_rows::CsvRows;
use super::json_rows::JsonRows;
use crate::config::Format;
use crate::export::file::{CHUNK_SIZE, hex};
use crate::export::manifest::{Compression, ManifestFile};
use crate::export::name::SeqRange;

/// What a data file holds.
pub(super) struct DataContent {
    /// SHA-256 in hex.
    pub(super) sha256: String,
    /// The rows, or why they cannot be counted, as a clause.
    pub(super) rows: Result<CountedRows, String>,
}

/// Reads a data file as its entry in the manifest describes it; `range` is given for the changes of a delta.
pub(super) fn read_data(
    file: File,
    entry: &ManifestFile,
    range: Option<SeqRange>,
) -> io::Result<DataContent> {
    let hashed = HashedFile { file: file.take(entry.bytes.saturating_add(1)), hash: Sha256::new() };
    let mut source = BufReader::with_capacity(CHUNK_SIZE, hashed);
    let rows = match entry.compression {
        Compression::None => count_rows(&mut source, RowReader::new(entry, range)),
        Compression::Gzip => count_compressed_rows(&mut source, RowReader::new(entry, range)),
    };
    // The rest is hashed too. An error of reading that was taken for one of the content shows again.
    io::copy(&mut source, &mut io::sink())?;
    Ok(DataContent { sha256: hex(&source.into_inner().hash.finalize()), rows })
}

/// A file that is hashed while it is read.
struct HashedFile {
    file: io::Take<File>,
    hash: Sha256,
}

impl Read for HashedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

enum RowReader {
    Csv(CsvRows),
    Json(JsonRows),
}

impl RowReader {
    fn new(entry: &ManifestFile, range: Option<SeqRange>) -> RowReader {
        let counted = CountedRows::new(range, entry.rows);
        match entry.format {
            Format::Csv => RowReader::Csv(CsvRows::new(counted)),
            Format::Jsonl => RowReader::Json(JsonRows::new(counted, false)),
            Format::Json => RowReader::Json(JsonRows::new(counted, true)),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            RowReader::Csv(csv) => csv.push(bytes),
            RowReader::Json(json) => json.push(bytes),
        }
    }

    fn finish(self) -> Result<CountedRows, String> {
        match self {
            RowReader::Csv(csv) => csv.finish(),
            RowReader::Json(json) => json.finish(),
        }
    }
}

fn count_rows(source: &mut impl BufRead, mut rows: RowReader) -> Result<CountedRows, String> {
    loop {
        let bytes = source.fill_buf().map_err(|error| error.to_string())?;
        if bytes.is_empty() {
            return rows.finish();
        }
        rows.push(bytes)?;
        let read = bytes.len();
        source.consume(read);
    }
}

/// Counts the rows in all members of a gzip file, as loaders read them.
fn count_compressed_rows(source: &mut impl BufRead, mut rows: RowReader) -> Result<CountedRows, String> {
    let mut buffer = vec![0; CHUNK_SIZE];
    let mut members = 0;
    while members == 0 || !source.fill_buf().map_err(|error| error.to_string())?.is_empty() {
        let mut member = GzDecoder::new(&mut *source);
        loop {
            match member.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => rows.push(&buffer[..read])?,
                Err(error) if members == 0 => return Err(format!("it is not valid gzip: {error}")),
                Err(_) => return Err("bytes follow its compressed content".to_owned()),
            }
        }
        members += 1;
    }
    rows.finish()
}
