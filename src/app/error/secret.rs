//! Where the client secret is, and what can be wrong with it.

use std::fmt;
use std::path::PathBuf;

/// The environment variable that may hold the secret.
const VARIABLE: &str = "HALOSYNC_HALO__CLIENT_SECRET";

/// Where the client secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretLocation {
    /// The file of the systemd credential.
    Credential(PathBuf),
    /// The environment variable.
    Environment,
    /// The file named in the settings.
    File(PathBuf),
    /// The settings file itself.
    Settings(PathBuf),
}

/// The path or the name of the variable.
impl fmt::Display for SecretLocation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretLocation::Credential(file)
            | SecretLocation::File(file)
            | SecretLocation::Settings(file) => write!(out, "{}", file.display()),
            SecretLocation::Environment => out.write_str(VARIABLE),
        }
    }
}

/// What is wrong with a secret, which is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "secret_")]
pub enum SecretError {
    /// No secret is configured.
    #[error("there is no client secret")]
    Missing,
    /// The secret is empty.
    #[error("the client secret is empty")]
    Empty,
    /// The secret contains a line break or another control character.
    #[error("the client secret contains a line break, a byte order mark or another control character")]
    ControlCharacters,
    /// The secret starts or ends with whitespace.
    #[error("the client secret starts or ends with whitespace")]
    SurroundingWhitespace,
    /// Other users can read the file.
    #[error("the client secret can be read by others (mode {mode:04o})")]
    Exposed {
        /// The mode of its file.
        mode: u32,
    },
}

impl SecretError {
    pub(super) fn help(self, location: &SecretLocation) -> String {
        match (self, location) {
            (SecretError::Exposed { .. }, _) => format!("chmod 600 {location}"),
            (SecretError::Missing, _) => {
                "put it into a file of mode 0600 and name that file in client_secret_file".into()
            }
            // The credential is systemd's copy of a file, and empty where that file does not exist.
            (_, SecretLocation::Credential(_)) => "write it into the file that LoadCredential= of the unit \
                 names, such as /etc/halosync/client-secret: one line, nothing before or after it"
                .into(),
            _ => format!("write it again into {location}: one line, nothing before or after it"),
        }
    }
}
