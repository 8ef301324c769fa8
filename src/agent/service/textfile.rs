//! The figures as a file, for collectors that read a folder (`node_exporter`'s textfile collector).

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::Service;
use super::board::Board;
use super::exposition::exposition;

/// The collector is another user; there is nothing in it that nobody may know.
const FOR_EVERYBODY: u32 = 0o644;

/// How old the figures in the file may become.
const FIGURES: Duration = Duration::from_mins(1);

impl Service {
    /// Writes the figures to their file, unless that is still being done: nobody waits for a slow disk, and the
    /// next figures are as good.
    pub(super) fn write_figures(&mut self) {
        if self.writing.as_ref().is_none_or(|(writing, _)| writing.is_finished()) {
            let writing = tokio::spawn(publish(Arc::clone(&self.board)));
            self.writing = Some((writing, Instant::now()));
        }
    }

    /// The same where the last ones are old: a first pass may take hours.
    pub(super) fn write_figures_if_due(&mut self) {
        if self.writing.as_ref().is_none_or(|(_, at)| FIGURES <= at.elapsed()) {
            self.write_figures();
        }
    }
}

/// Writes the figures to the file of the settings, where they name one. That it cannot be is told once.
async fn publish(board: Arc<Board>) {
    let Some(path) = board.entries().loaded.config.metrics.textfile.clone() else { return };
    let (shown, figures) = (path.display().to_string(), Arc::clone(&board));
    let written = spawn_blocking(move || write(&path, &exposition(&figures.figures()))).await;
    let Ok(written) = written else { return };
    let told = std::mem::replace(&mut board.entries().figures_fail, written.is_err());
    match written {
        Err(error) if !told => {
            tracing::warn!(
                file = shown,
                "the figures cannot be written to {shown}: {error} (a folder outside of the service's own needs \
                 ReadWritePaths= in its unit)"
            );
        }
        Err(error) => tracing::debug!(file = shown, %error, "the figures cannot be written"),
        Ok(()) => {}
    }
}

/// Writes the file: whoever reads it meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".halosync-").tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().set_permissions(Permissions::from_mode(FOR_EVERYBODY))?;
    draft.persist(path)?;
    Ok(())
}
