//! Writes the metrics to a file for `node_exporter`'s textfile collector.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Service;
use super::metrics::render_metrics;
use super::state::ServiceState;

/// The mode of the file: the collector is another user, and the metrics are not secret.
const WORLD_READABLE: u32 = 0o644;

/// The greatest age of the file while a run is in progress.
const TEXTFILE_AGE_MAX: Duration = Duration::from_mins(1);

impl Service {
    /// Starts writing the metrics file, unless an earlier write is still in progress. The loop does not wait for a
    /// slow disk.
    pub(super) fn write_textfile(&mut self) {
        if self.textfile_write.as_ref().is_none_or(|(task, _)| task.is_finished()) {
            let task = tokio::spawn(update_textfile(Arc::clone(&self.state)));
            self.textfile_write = Some((task, Instant::now()));
        }
    }

    /// The same if the last write is old: an initial load may take hours.
    pub(super) fn write_textfile_if_due(&mut self) {
        if self.textfile_write.as_ref().is_none_or(|(_, at)| TEXTFILE_AGE_MAX <= at.elapsed()) {
            self.write_textfile();
        }
    }
}

/// Writes the metrics to the file in the settings, if one is set; a failure is logged once.
async fn update_textfile(state: Arc<ServiceState>) {
    let Some(path) = state.lock().loaded.config.metrics.textfile.clone() else { return };
    let (display_path, shared) = (path.display().to_string(), Arc::clone(&state));
    let written =
        spawn_blocking(move || write_atomically(&path, &render_metrics(&shared.metrics_snapshot()))).await;
    let Ok(written) = written else { return };
    let already_reported = std::mem::replace(&mut state.lock().textfile_failed, written.is_err());
    match written {
        Err(error) if !already_reported => {
            tracing::warn!(
                file = display_path,
                "cannot write the metrics to {display_path}: {error} (a folder outside the service's own needs \
                 ReadWritePaths= in its unit)"
            );
        }
        Err(error) => tracing::debug!(file = display_path, %error, "cannot write the metrics"),
        Ok(()) => {}
    }
}

/// Replaces the file in one step, so that readers see the old or the new content.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut temp_file = tempfile::Builder::new().prefix(".halosync-").tempfile_in(folder)?;
    temp_file.write_all(text.as_bytes())?;
    temp_file.as_file().set_permissions(Permissions::from_mode(WORLD_READABLE))?;
    temp_file.persist(path)?;
    Ok(())
}
