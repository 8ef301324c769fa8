//! The exit statuses of all commands.

use std::process::ExitCode;

use serde::{Serialize, Serializer};

/// The status that a command ends with, named as in `sysexits.h` where that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitStatus {
    /// The command did what it was asked to do.
    Ok = 0,
    /// An unexpected error: a bug, or the operating system refused something basic.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Data was stored, but something may be missing, or nothing may be deleted yet.
    Incomplete = 3,
    /// The data is older than asked for, or there is nothing new.
    NotFresh = 4,
    /// Data cannot be read or trusted: a response, the database, a package.
    DataError = 65,
    /// There is no such database, ticket, consumer, package or file to replay.
    NoInput = 66,
    /// The server cannot be reached.
    Unavailable = 69,
    /// A file or folder cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed, or the disk is full.
    Io = 74,
    /// Another process holds a lock, or the rate limit is used up.
    TryLater = 75,
    /// The server refuses the client.
    Refused = 77,
    /// The settings do not fit the server, the database or this machine.
    Config = 78,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl ExitStatus {
    /// The number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status.code())
    }
}

impl Serialize for ExitStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}
