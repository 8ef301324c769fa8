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
    /// Another copy has put an object of this name with other content.
    #[error("another halosync ships under the same name: {object} has other content")]
    OtherWriter {
        /// Address of the object.
        object: String,
    },
    /// Another copy has begun a later epoch.
    #[error("another halosync has taken over this name: {object} was not put by this one")]
    Superseded {
        /// Address of its claim.
        object: String,
    },
    /// The lake does not have what this copy has put.
    #[error("the lake no longer has the claim of this copy's epoch: {object} does not exist")]
    ClaimMissing {
        /// Address of the claim.
        object: String,
    },
    /// The name belongs to a copy of another lineage.
    #[error("the name {server} belongs to another halosync: {object} has the lineage {lineage}")]
    Foreign {
        /// The name.
        server: String,
        /// Address of its claim.
        object: String,
        /// Lineage of the claim.
        lineage: String,
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
            _ => ExitStatus::DataError,
        }
    }

    pub(super) fn help(&self) -> String {
        match self {
            LakePushError::NotConfigured => "set `url` in [lake], such as \"s3://BUCKET/halo\"".into(),
            LakePushError::OtherName { configured, .. } => {
                format!("`halosync lake claim --server {configured}`, or change `server` in [lake]")
            }
            LakePushError::OtherWriter { .. } | LakePushError::Superseded { .. } => {
                "nothing was overwritten, and this copy ships nothing more. Stop the other one, or give one of them another \
                 `server` in [lake]; if this one is to go on under the name, `halosync lake claim` begins a new epoch with it"
                    .into()
            }
            LakePushError::Foreign { server, .. } => format!(
                "nothing was put. Give this copy another `server` in [lake]; if it replaces the other one, which has been \
                 stopped, `halosync lake claim --server {server}` takes the name over"
            ),
            LakePushError::ClaimMissing { .. } => {
                "check `url` in [lake], and that the disk of a local lake is mounted; if the lake was emptied, \
                 `halosync lake claim` begins an epoch with everything"
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
