//! Format of exported files.

use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};

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
}

impl Format {
    /// Returns its name, which is also the extension of its files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
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
    /// Whether the file is compressed.
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

    /// Parses the extension of a file, which has only the format and the compression.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<FormatOptions> {
        let uncompressed = extension.strip_suffix(GZIP_EXTENSION);
        let format = uncompressed.unwrap_or(extension).parse().ok()?;
        Some(FormatOptions { gzip: uncompressed.is_some(), ..FormatOptions::exact(format) })
    }

    /// Returns the extension of the file, such as `csv.gz`.
    #[must_use]
    pub fn extension(self) -> String {
        format!("{}{}", self.format.as_str(), if self.gzip { GZIP_EXTENSION } else { "" })
    }
}
