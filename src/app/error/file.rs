//! What can be wrong with a file that decides whom halosync trusts.

use std::path::Path;

use crate::halo::CaFileError;

/// Why a file of settings, secrets or certificates is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "file_")]
pub enum FileProblem {
    /// It is a folder, a named pipe, a socket or a device, as a clause.
    #[error("{0}, not a regular file")]
    NotRegular(&'static str),
    /// Its mode lets group or others write.
    #[error("other users can write it (mode {mode:04o})")]
    Writable {
        /// The mode.
        mode: u32,
    },
    /// It belongs to a user who is neither root nor the one that halosync runs as.
    #[error("it belongs to user {owner}, who can write it")]
    OwnedByAnother {
        /// The user's id.
        owner: u32,
    },
    /// Its mode lets group or others read what only its owner may know.
    #[error("other users can read it (mode {mode:04o})")]
    Exposed {
        /// The mode.
        mode: u32,
    },
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
    /// It is larger than any such file.
    #[error("it has more than {} KiB", max >> 10)]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// It has no certificate, or one that cannot be used.
    #[error(transparent)]
    #[strum(serialize = "unusable_certificate")]
    Certificate(#[from] CaFileError),
}

impl FileProblem {
    pub(super) fn help(self, what: &str, path: &Path) -> String {
        let path = path.display();
        match self {
            FileProblem::NotRegular("it is a folder") => format!("name the file itself: {path} is a folder"),
            FileProblem::NotRegular(_) => format!("put {what} into a regular file and name that"),
            FileProblem::Writable { .. } => format!("chmod go-w {path}, after a look at what is in it"),
            FileProblem::Exposed { .. } => format!("chmod 600 {path}"),
            FileProblem::Empty => {
                format!("write a secret into it, for example: head -c 32 /dev/urandom | base64 > {path}")
            }
            FileProblem::OwnedByAnother { owner } => {
                format!("chown root {path}, or run halosync as its owner: sudo -u '#{owner}' halosync …")
            }
            FileProblem::TooLarge { .. } => format!("check that {path} is the right file"),
            FileProblem::Certificate(_) => format!(
                "check that {path} holds whole certificates in PEM; a binary one (DER) is converted by: openssl x509 \
                 -inform der -in FILE -out {path}"
            ),
        }
    }
}
