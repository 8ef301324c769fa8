//! Errors about shipping to the lake.

use super::ExitStatus;
use crate::lake::LakeError;

/// Why nothing more can be shipped to the lake.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case", prefix = "lake_")]
pub enum LakePushError {
    /// The settings name no lake.
    #[error("the settings name no lake")]
    NotConfigured,
    /// The name given is not that of the settings.
    #[error("the settings call this copy {configured}, not {given}")]
    OtherName {
        /// Name in the settings.
        configured: String,
        /// Name that was given.
        given: String,
    },
    /// The present epoch has an object that this copy has not put.
    #[error("another halosync ships as {server}: {object} was not put by this one")]
    OtherWriter {
        /// Name of both.
        server: String,
        /// Address of the object.
        object: String,
    },
    /// Another copy has begun a later epoch.
    #[error("another halosync has taken over the name {server}: {object} was not put by this one")]
    Superseded {
        /// Name of both.
        server: String,
        /// Address of its claim.
        object: String,
    },
    /// The lake does not have what this copy has put.
    #[error("the lake no longer has what {server} has put: {object} does not exist")]
    ClaimMissing {
        /// Name of this copy.
        server: String,
        /// Address of the claim.
        object: String,
    },
    /// This copy has never shipped under its name, and another one has.
    #[error("the name {server} belongs to another halosync: {object} was not put by this one")]
    Foreign {
        /// The name.
        server: String,
        /// Address of its claim.
        object: String,
    },
    /// There is nothing to verify.
    #[error("there are no packages in {url}")]
    NoPackage {
        /// Address of the lake.
        url: String,
    },
    /// A package on disk is not as it was made.
    #[error("the package {path} is not as it was made: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl LakePushError {
    pub(super) fn exit_status(&self) -> ExitStatus {
        match self {
            LakePushError::NotConfigured => ExitStatus::Config,
            LakePushError::OtherName { .. } => ExitStatus::Usage,
            LakePushError::NoPackage { .. } => ExitStatus::NoInput,
            _ => ExitStatus::DataError,
        }
    }

    pub(super) fn help(&self) -> String {
        match self {
            LakePushError::NotConfigured => "set `url` in [lake], such as \"s3://BUCKET/halo\"".into(),
            LakePushError::OtherName { configured, .. } => {
                format!("`halosync lake claim --server {configured}`, or change `server` in [lake]")
            }
            LakePushError::OtherWriter { server, .. } | LakePushError::Superseded { server, .. } => format!(
                "nothing was overwritten, and this copy ships nothing more. If two machines run it, stop one, or give it another \
                 `server` in [lake]. If this machine was restored from a backup, or is to have the name, `halosync lake \
                 claim --server {server}` begins a new epoch with it"
            ),
            LakePushError::Foreign { server, .. } => format!(
                "nothing was put. Give this copy another `server` in [lake]; if it replaces the other one, which has been \
                 stopped, `halosync lake claim --server {server}` takes the name over"
            ),
            LakePushError::ClaimMissing { server, .. } => format!(
                "check `url` in [lake], and that the disk of a local lake is mounted; if the lake was emptied, \
                 `halosync lake claim --server {server}` begins an epoch with everything"
            ),
            LakePushError::NoPackage { .. } => {
                "check the address, and the name behind `--server`; `halosync lake push` ships packages there"
                    .into()
            }
            LakePushError::Damaged { .. } => {
                "nothing is lost: the next push begins a new epoch with everything".into()
            }
        }
    }
}

/// The status and the advice for an error of the store.
pub(super) fn remedy(error: &LakeError) -> (ExitStatus, String) {
    match error {
        LakeError::Settings(_) => (
            ExitStatus::Config,
            "check [lake] and the credentials in the environment; docs/lake.md lists them".into(),
        ),
        LakeError::Unavailable(_) => (
            ExitStatus::Unavailable,
            "check the network, `endpoint`, the proxy, and that there are credentials in the environment; the next push continues \
             where this one stopped".into(),
        ),
        LakeError::Refused { .. } => (
            ExitStatus::Refused,
            "check the credentials, and that they may list, read and put objects below the prefix; docs/lake.md has the \
             policy"
                .into(),
        ),
        LakeError::NotFound { .. } => {
            (ExitStatus::Config, "check that the bucket or container of `url` exists in that region".into())
        }
        LakeError::NoFolder(_) => {
            (ExitStatus::Config, "create it, or mount its disk; halosync never creates it".into())
        }
        LakeError::AcceptsSecond { .. } => (
            ExitStatus::Config,
            "the store ignores `If-None-Match: *`, so that two copies could overwrite each other: use a store that has \
             conditional writes (docs/lake.md)"
                .into(),
        ),
        LakeError::Io { .. } => {
            (ExitStatus::Io, "check the folder, its permissions and the free space".into())
        }
        LakeError::Stopped => (ExitStatus::Terminated, "the next push continues where this one stopped".into()),
    }
}
