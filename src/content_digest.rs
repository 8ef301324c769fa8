//! Size and hash of a content, of a file as of an object.

use sha2::{Digest as _, Sha256};

/// Size and hash of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentDigest {
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl ContentDigest {
    /// Returns that of a content in memory.
    #[must_use]
    pub fn of(content: &[u8]) -> ContentDigest {
        ContentDigest { bytes: content.len() as u64, sha256: hex(&Sha256::digest(content)) }
    }
}

/// Writes bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
