//! The figures as a file, for collectors that read a folder (`node_exporter`'s textfile collector).

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The collector is another user; there is nothing in it that nobody may know.
const FOR_EVERYBODY: u32 = 0o644;

/// Writes the file: whoever reads it meanwhile sees the old one or the new one.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut draft = tempfile::Builder::new().prefix(".halosync-").tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.as_file().set_permissions(Permissions::from_mode(FOR_EVERYBODY))?;
    draft.persist(path)?;
    Ok(())
}
