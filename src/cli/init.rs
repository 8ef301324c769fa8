//! `halosync init`.

use std::path::Path;

use super::{CommandResult, block_on, print, printable};
use crate::app::{self, ExitStatus};
use crate::config::ServerUrl;

pub(super) fn init(file: &Path, server: Option<&ServerUrl>) -> CommandResult {
    let summary = block_on(async { Ok(app::init(file, server).await?) })?;
    let mut text = format!("wrote {}\n", file.display());
    if let Some(auth_server) = &summary.auth_server {
        let url = printable(auth_server.url.as_str());
        text += &format!("tokens are requested from {url}\n");
        if !auth_server.is_same_origin {
            text += "this is another address than the server's: keep it only if it is the \"Authorisation Server\" in \
                     Configuration > Integrations > HaloITSM API, because it gets the secret\n";
        }
    }
    print(&text)?;
    Ok(ExitStatus::Ok)
}
