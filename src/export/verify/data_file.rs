//! Hashes a data file and counts its rows in one reading, in bounded memory whatever it holds.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::counted_rows::CountedRows;
use super::csv_rows::count_csv;
use super::json_rows::{count_json_array, count_json_lines};
use super::parquet_footer::FooterPlace;
use super::row_text::{CheckedText, RowText};
use crate::config::Format;
use crate::content_digest::hex;
use crate::export::file::CHUNK_SIZE;
use crate::export::manifest::{Compression, ManifestFile};
use crate::export::name::SeqRange;
use crate::export::work_counter::WorkCounter;

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
    bytes_read: &WorkCounter,
) -> io::Result<DataContent> {
    let footer = match entry.format {
        Format::Parquet => Some(FooterPlace::find(&file, entry.bytes)?),
        Format::Csv | Format::Jsonl | Format::Json => None,
    };
    let hashed =
        HashedFile { file: file.take(entry.bytes.saturating_add(1)), hash: Sha256::new(), bytes_read };
    let mut source = BufReader::with_capacity(CHUNK_SIZE, hashed);
    let rows = CountedRows::new(range, entry.rows);
    let rows = match footer {
        Some(footer) => footer.and_then(|footer| count_parquet(&mut source, &footer, rows)),
        None => count_rows(text_of(&mut source, entry.compression), entry.format, rows),
    };
    // The rest is hashed too. An error of reading that was taken for one of the content shows again.
    io::copy(&mut source, &mut io::sink())?;
    Ok(DataContent { sha256: hex(&source.into_inner().hash.finalize()), rows })
}

fn text_of<'a>(source: &'a mut BufReader<HashedFile<'_>>, compression: Compression) -> RowText<'a> {
    match compression {
        Compression::None => CheckedText::new(Box::new(source), "it cannot be read"),
        // Loaders too read all members of a file.
        Compression::Gzip => CheckedText::new(
            Box::new(MultiGzDecoder::new(source)),
            "it is not valid gzip, or other bytes follow it",
        ),
    }
}

fn count_parquet(
    source: &mut impl BufRead,
    footer: &FooterPlace,
    mut rows: CountedRows,
) -> Result<CountedRows, String> {
    rows.set_total(footer.count_rows(source)?);
    Ok(rows)
}

/// Counts the rows of a format that is text.
fn count_rows(mut text: RowText<'_>, format: Format, mut rows: CountedRows) -> Result<CountedRows, String> {
    match format {
        Format::Csv => count_csv(&mut text, &mut rows),
        Format::Jsonl => count_json_lines(&mut text, &mut rows),
        Format::Json => count_json_array(&mut text, &mut rows),
        Format::Parquet => Err("it is no text".to_owned()),
    }?;
    Ok(rows)
}

/// A file that is hashed while it is read.
struct HashedFile<'a> {
    file: io::Take<File>,
    hash: Sha256,
    bytes_read: &'a WorkCounter,
}

impl Read for HashedFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes_read.add(read as u64);
        Ok(read)
    }
}
