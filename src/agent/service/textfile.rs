//! The figures as a file, for collectors that read a folder (`node_exporter`'s textfile collector).

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::board::Board;
use super::exposition::exposition;

/// The collector is another user; there is nothing in it that nobody may know.
const FOR_EVERYBODY: u32 = 0o644;

/// Writes the figures to the file of the settings, where they name one. That it cannot be is told once.
pub(super) async fn write_figures(board: Arc<Board>) {
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
