//! Why a connection failed, in the words of the library that knows.

use std::error::Error;

use super::redaction::Redactor;

/// The innermost cause of an error. The layers above it add only their own names.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RootCause(String);

impl RootCause {
    /// Returns the last error in the chain of causes.
    #[must_use]
    pub fn of(error: &dyn Error) -> RootCause {
        let mut root = error;
        while let Some(cause) = root.source() {
            root = cause;
        }
        RootCause(root.to_string())
    }

    /// Makes its text safe to show.
    pub(super) fn redacted(&self, redactor: &Redactor) -> RootCause {
        RootCause(redactor.text(&self.0).into_string())
    }
}
