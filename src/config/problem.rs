//! What is wrong with the settings.

use std::fmt;

/// A problem with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Location: `agent.toml:3`, or the name of an environment variable.
    pub location: String,
    /// What is wrong.
    pub message: String,
}

impl ConfigProblem {
    /// Whether an environment variable is wrong, and not the file.
    #[must_use]
    pub fn is_of_environment(&self) -> bool {
        self.location.starts_with("HALOSYNC_") && !self.location.contains(':')
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.location, self.message)
    }
}
