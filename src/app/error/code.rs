//! The code of each error, for programs.

use strum::VariantNames as _;

use super::{
    AppError, ConsumerError, FileProblem, HistoryError, LakePushError, PurgeError, ResetError, SecretError,
};
use crate::config::FormatError;
use crate::export::ExportError;
use crate::halo::HaloError;
use crate::lake::LakeError;
use crate::store::{LockError, StoreError};
use crate::sync::SyncError;

impl AppError {
    /// The code, which stays the same in later versions whatever the message says. `docs/troubleshooting.md` explains each.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            AppError::File { problem, .. } => problem.into(),
            AppError::Secret { problem, .. } => problem.into(),
            AppError::Sync(SyncError::Halo(error)) => error.into(),
            AppError::Sync(SyncError::Store(error)) | AppError::Store(error) => error.into(),
            AppError::Sync(error) => error.into(),
            AppError::Lock(error) => error.into(),
            AppError::Export(error) => error.into(),
            AppError::Format(error) => error.into(),
            AppError::Consumer(error) => error.into(),
            AppError::Reset(error) => error.into(),
            AppError::Purge(error) => error.into(),
            AppError::Lake(error) => error.into(),
            AppError::LakePush(error) => error.into(),
            AppError::History(error) => error.into(),
            error => error.into(),
        }
    }

    /// Every code, sorted.
    #[must_use]
    pub fn codes() -> Vec<&'static str> {
        let all = [
            AppError::VARIANTS,
            FileProblem::VARIANTS,
            SecretError::VARIANTS,
            SyncError::VARIANTS,
            HaloError::VARIANTS,
            StoreError::VARIANTS,
            LockError::VARIANTS,
            ExportError::VARIANTS,
            FormatError::VARIANTS,
            ConsumerError::VARIANTS,
            ResetError::VARIANTS,
            PurgeError::VARIANTS,
            LakeError::VARIANTS,
            LakePushError::VARIANTS,
            HistoryError::VARIANTS,
        ];
        let mut codes = all.concat();
        // An error that only holds another one has the code of that one.
        codes.retain(|code| !code.is_empty());
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}
