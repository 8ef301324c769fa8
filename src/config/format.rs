//! How rows are written into a file.

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 4180, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// One JSON array.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Csv, Format::Jsonl, Format::Json];

    /// Its word, which is the ending of its files too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Json => "json",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// What becomes of line breaks within a CSV field. JSON has its own escapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Newlines {
    /// They stand there, in quotes.
    #[default]
    Keep,
    /// CR, LF and `\` become `\r`, `\n` and `\\`, so that a row is a line.
    Escape,
}

impl Newlines {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Newlines::Keep => "keep",
            Newlines::Escape => "escape",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Newlines> {
        [Newlines::Keep, Newlines::Escape].into_iter().find(|it| it.as_str() == text)
    }
}

/// Everything about how rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatOptions {
    /// The format.
    pub format: Format,
    /// Whether the file is packed.
    pub gzip: bool,
    /// Whether texts that a spreadsheet would run are neutralised; CSV only.
    pub excel_safe: bool,
    /// What becomes of line breaks; CSV only.
    pub newlines: Newlines,
}

impl FormatOptions {
    /// Exact and unpacked.
    #[must_use]
    pub const fn exact(format: Format) -> FormatOptions {
        FormatOptions { format, gzip: false, excel_safe: false, newlines: Newlines::Keep }
    }

    /// The ending of its files, without the dot before it.
    #[must_use]
    pub fn extension(self) -> String {
        let gz = if self.gzip { ".gz" } else { "" };
        format!("{}{gz}", self.format.as_str())
    }
}
