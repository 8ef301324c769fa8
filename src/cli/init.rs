//! `halosync init`.

use std::path::Path;

use serde::Serialize;

use super::args::CliArgs;
use super::{CommandResult, block_on, print_report, printable, program, shell_path};
use crate::app::{self, ExitStatus, InitSummary};
use crate::config::ServerUrl;

/// The document of `docs/init.schema.json`.
#[derive(Serialize)]
struct InitJson {
    file: String,
    auth_url: Option<String>,
    is_same_origin: Option<bool>,
}

pub(super) fn init(arguments: &CliArgs, file: &Path, server: Option<&ServerUrl>) -> CommandResult {
    let summary = block_on(async { Ok(app::init(file, server).await?) })?;
    let report = InitJson {
        file: file.display().to_string(),
        auth_url: summary.auth_server.as_ref().map(|it| printable(it.url.as_str())),
        is_same_origin: summary.auth_server.as_ref().map(|it| it.is_same_origin),
    };
    print_report(arguments, &report, &to_text(file, server.is_some(), &summary))?;
    Ok(ExitStatus::Ok)
}

fn to_text(file: &Path, has_server: bool, summary: &InitSummary) -> String {
    let mut text = format!("wrote {}\n", file.display());
    if let Some(auth_server) = &summary.auth_server {
        text += &format!("tokens are requested from {}\n", printable(auth_server.url.as_str()));
        if !auth_server.is_same_origin {
            text += "this is another address than the server's: keep it only if it is the \"Authorisation Server\" in \
                     Configuration > Integrations > HaloITSM API, because it gets the secret\n";
        }
    }
    let name = shell_path(file);
    let secret = shell_path(&file.with_file_name("client-secret"));
    let missing = if has_server { "client_id" } else { "server_url and client_id" };
    let program = program();
    // These are found without being named.
    let command = match file.to_str() {
        Some("agent.toml" | "./agent.toml" | "/etc/halosync/agent.toml") => program.to_owned(),
        _ => format!("{program} -c {name}"),
    };
    text + &format!(
        "\nNext steps:\n  \
         1. In HaloITSM, create an API application: Configuration > Integrations > HaloITSM API,\n     \
            authentication method \"Client ID and Secret (Services)\", login type \"Agent\",\n     \
            permission \"read:tickets\". Write {missing} into {name}.\n  \
         2. Save its secret in a file that only you can read. Paste it, then press Enter and Ctrl-D:\n     \
            (umask 077; cat > {secret})\n  \
         3. Check everything, then fetch the tickets:\n     \
            {command} check && {command} sync\n"
    )
}
