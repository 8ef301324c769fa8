//! Format of exported files.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray, VariantNames};

use super::columns::ColumnSelection;

/// Format of a file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// CSV by RFC 4180, with a header.
    Csv,
    /// JSON Lines: one object a line.
    Jsonl,
    /// One JSON array.
    Json,
    /// Parquet: typed columns, compressed inside the file.
    Parquet,
}

impl Format {
    /// Returns its name, which is also the extension of its files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether this program can write the format.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        !matches!(self, Format::Parquet) || cfg!(feature = "lake")
    }
}

/// Why files cannot be written in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "format_")]
pub enum FormatError {
    /// gzip of a format that is compressed already.
    #[error("Parquet files are not compressed with gzip")]
    AlreadyCompressed,
    /// The program was built without the feature for it.
    #[error("this halosync was built without Parquet")]
    NotBuiltIn,
}

impl FormatError {
    /// What an administrator can do about it.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            FormatError::AlreadyCompressed => {
                "leave out --gzip: each column of a Parquet file is compressed already"
            }
            FormatError::NotBuiltIn => {
                "choose csv, jsonl or json with --format or in export.format, or install a halosync that was built with its \
                 feature `lake`"
            }
        }
    }
}

/// How line breaks within a CSV field are written. JSON has its own escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Newlines {
    /// Unchanged, in a quoted field.
    #[default]
    Keep,
    /// CR, LF and `\` become `\r`, `\n` and `\\`, so that each row is one line.
    Escape,
}

impl Newlines {
    /// Returns its name in settings, flags and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// Format of the file.
    pub format: Format,
    /// Whether the file is compressed with gzip.
    pub gzip: bool,
    /// Whether the file is for spreadsheets: a byte order mark, and no text that is run as a formula; CSV only.
    pub excel: bool,
    /// How line breaks are written; CSV only.
    pub newlines: Newlines,
    /// Which columns of tickets are written; all of them if `None`.
    pub columns: Option<ColumnSelection>,
}

/// Extension of compressed files, after that of their format.
const GZIP_EXTENSION: &str = ".gz";

impl FormatOptions {
    /// Returns options that write text exactly, without compression.
    #[must_use]
    pub const fn exact(format: Format) -> FormatOptions {
        FormatOptions { format, gzip: false, excel: false, newlines: Newlines::Keep, columns: None }
    }

    /// Checks that a program can write such files; `is_built_in` says which formats it has.
    ///
    /// # Errors
    /// A format that the program lacks, or one that is not compressed with gzip.
    pub fn check(self, is_built_in: impl Fn(Format) -> bool) -> Result<(), FormatError> {
        if !is_built_in(self.format) {
            return Err(FormatError::NotBuiltIn);
        }
        if self.gzip && self.format == Format::Parquet {
            return Err(FormatError::AlreadyCompressed);
        }
        Ok(())
    }

    /// Parses the extension of a file, which has only the format and the compression. A file that no program could have
    /// written, such as `parquet.gz`, is none.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<FormatOptions> {
        let uncompressed = extension.strip_suffix(GZIP_EXTENSION);
        let format = uncompressed.unwrap_or(extension).parse().ok()?;
        let options = FormatOptions { gzip: uncompressed.is_some(), ..FormatOptions::exact(format) };
        options.check(|_| true).is_ok().then_some(options)
    }

    /// Returns the extension of the file, such as `csv.gz`.
    #[must_use]
    pub fn extension(self) -> String {
        format!("{}{}", self.format.as_str(), if self.gzip { GZIP_EXTENSION } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_writes_what_it_has_and_compresses_nothing_twice() {
        let without_parquet = |format| format != Format::Parquet;
        for (format, gzip, with, without) in [
            (Format::Csv, true, Ok(()), Ok(())),
            (Format::Json, false, Ok(()), Ok(())),
            (Format::Parquet, false, Ok(()), Err(FormatError::NotBuiltIn)),
            (Format::Parquet, true, Err(FormatError::AlreadyCompressed), Err(FormatError::NotBuiltIn)),
        ] {
            let options = FormatOptions { gzip, ..FormatOptions::exact(format) };
            assert_eq!(options.check(|_| true), with, "{options:?}");
            assert_eq!(options.check(without_parquet), without, "{options:?}");
        }
        assert_eq!(Format::Parquet.is_built_in(), cfg!(feature = "lake"));
    }
}
