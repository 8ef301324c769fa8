//! Ships packages to the lake beside the cycles, so that an outage of the store never delays a run.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::app::lake::{PushMoment, push_due};
use crate::app::{
    AppError, ExitStatus, LakePush, LoadedConfig, WorkCounter, count, lake_status, now, push_to_lake,
};
use crate::lake::LakeError;

impl Service {
    /// Ships what waits, if that is due and the last push has ended.
    pub(super) fn push_to_lake_if_due(&mut self, moment: PushMoment) {
        let is_idle = self.lake_push.as_ref().is_none_or(JoinHandle::is_finished);
        if self.config().lake.is_some() && is_idle {
            let (loaded, stop) = (Arc::clone(&self.loaded), self.stop.clone());
            self.lake_push = Some(tokio::task::spawn_blocking(move || push_if_due(&loaded, moment, stop)));
        }
    }
}

fn push_if_due(loaded: &LoadedConfig, moment: PushMoment, stop: CancellationToken) {
    let Some(schedule) = loaded.config.lake.as_ref().map(|lake| lake.schedule) else { return };
    let before = match lake_status(loaded) {
        Ok(status) => status.and_then(|status| status.pushes),
        Err(error) => return tracing::debug!(%error, "cannot read how far the lake is"),
    };
    if !push_due(schedule, moment, before.as_ref(), now()) {
        return;
    }
    match push_to_lake(loaded, stop, &WorkCounter::default()) {
        Ok(push) => log_push(&push),
        Err(AppError::Lake(LakeError::Stopped)) => {}
        // Another export or push is at work, or a purge.
        Err(error) if error.exit_status() == ExitStatus::TryLater => {
            tracing::debug!(error = error.chain(), "cannot ship to the lake now");
        }
        Err(error) => {
            let (text, help) = (error.chain(), error.help());
            // The same outage is worth one line.
            if before.is_some_and(|before| before.error.as_ref() == Some(&text)) {
                tracing::debug!(error = text, "cannot ship to the lake");
            } else {
                tracing::warn!(error = text, "cannot ship to the lake: {text}; {help}");
            }
        }
    }
}

fn log_push(push: &LakePush) {
    if let Some(began) = &push.began {
        tracing::info!(epoch = began.epoch, reason = began.reason, "an epoch begins in the lake");
    }
    if !push.shipped.is_empty() {
        let packages = push.shipped.len() as u64;
        let (packages_text, to_seq) = (count(packages, "package"), push.to_seq);
        tracing::info!(packages, to_seq, "shipped {packages_text} to the lake, up to change {to_seq}");
    }
}
