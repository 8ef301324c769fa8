//! What a run does not mind about the settings, but an administrator should know.

use std::path::Path;

use super::CheckOutcome;
use super::files::{FileStat, stat};
use crate::app::LoadedConfig;
use crate::config::SecretSource;
use crate::store::parent_folder;

/// The bit of a folder in which only the owner of a file may replace it.
const STICKY: u32 = 0o1000;

/// Describes settings that can be used.
pub(super) fn check(loaded: &LoadedConfig) -> CheckOutcome {
    let halo = &loaded.config.halo;
    let message = format!("{}: client {} at {}", loaded.file.display(), halo.client_id, halo.server.as_str());
    let (mut messages, mut helps) = (vec![message], Vec::new());
    let secret = if let SecretSource::File(file) = &halo.secret { Some(file.as_path()) } else { None };
    let trusted = [Some(loaded.file.as_path()), secret, halo.ca_file.as_deref()];
    let mut folders: Vec<_> = trusted.into_iter().flatten().map(|file: &Path| parent_folder(file)).collect();
    folders.dedup();
    for folder in folders.iter().filter_map(|folder| stat(folder)).filter(is_replaceable) {
        let path = folder.path.display();
        messages.push(format!("other users can replace files in {path} (mode {:04o})", folder.mode));
        helps.push(format!("chmod go-w {path}"));
    }
    if let Some(address) = loaded.config.metrics.listen.filter(|it| !it.ip().is_loopback()) {
        messages.push(format!("metrics and health are served to other machines, on {address}"));
        helps.push(
            "the endpoint has no password and no encryption: set metrics.listen to 127.0.0.1, or let a firewall decide \
             who reaches it"
                .to_owned(),
        );
    }
    if helps.is_empty() {
        CheckOutcome::Ok(messages.join("; "))
    } else {
        CheckOutcome::warning(messages.join("; "), helps.join("; "))
    }
}

fn is_replaceable(folder: &FileStat) -> bool {
    folder.mode & 0o022 != 0 && folder.mode & STICKY == 0
}
