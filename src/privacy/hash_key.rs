//! The key of the hashes.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A key for HMAC-SHA256 (RFC 2104).
#[derive(Clone)]
pub struct HashKey {
    hmac: Hmac<Sha256>,
    is_short: bool,
}

/// Shorter keys, in bytes, can be found by trying.
const SHORT: usize = 16;

/// The text whose hash tells keys apart.
const ID_TEXT: &str = "halosync: the id of the privacy key";

/// How many characters of that hash are kept: enough to tell keys apart.
const ID_CHARS: usize = 16;

impl HashKey {
    /// Creates the key from the content of its file.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    #[must_use]
    pub fn new(key: &[u8]) -> HashKey {
        let Ok(hmac) = Hmac::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
        HashKey { hmac, is_short: key.len() < SHORT }
    }

    /// Returns the HMAC-SHA256 of a text as 64 lowercase hexadecimal digits.
    #[must_use]
    pub fn hash(&self, text: &str) -> String {
        let mut hmac = self.hmac.clone();
        hmac.update(text.as_bytes());
        hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether the key can be found by trying, because it has fewer than 16 bytes.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_short
    }

    /// Returns what tells this key from others, and says nothing about it.
    #[must_use]
    pub fn id(&self) -> String {
        let mut id = self.hash(ID_TEXT);
        id.truncate(ID_CHARS);
        id
    }
}

/// Shows nothing of the key.
impl fmt::Debug for HashKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("HashKey(…)")
    }
}
