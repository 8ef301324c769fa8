//! Writes a commented settings file, on request with what a server says about itself.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::AppError;
use crate::config::{self, RateLimit, ServerUrl};
use crate::halo::{ClientOptions, HaloClient, HttpOptions, HttpTransport, RateLimiter, ReportedAuthServer};

/// How long one of the few requests may take: somebody is waiting.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of the server of a new settings file.
#[derive(Debug, Default)]
pub struct InitSummary {
    /// Its authorization server, if it was asked and named one.
    pub auth_server: Option<ReportedAuthServer>,
}

/// Writes the commented example; with a server also its address, and the authorization server and tenant that it names.
///
/// # Errors
/// A file that exists is never touched. A server that cannot be asked is an error, and nothing is written.
pub async fn init(file: &Path, server: Option<&ServerUrl>) -> Result<InitSummary, AppError> {
    let (text, auth_server) = match server {
        None => (config::EXAMPLE.to_owned(), None),
        Some(server) => {
            // Nobody is asked for a file that could not be written.
            if fs::symlink_metadata(file).is_ok() {
                let source = Errno::EXIST.into();
                return Err(AppError::CannotCreate { path: file.to_owned(), source });
            }
            let auth_server = ask(server).await?;
            let auth = auth_server.as_ref().map(|it| (&it.url, it.tenant.as_deref()));
            (config::settings_for(server, auth), auth_server)
        }
    };
    write_new(file, &text)?;
    Ok(InitSummary { auth_server })
}

/// Asks a server for its authorization server. No secret is known yet.
async fn ask(server: &ServerUrl) -> Result<Option<ReportedAuthServer>, AppError> {
    let http = HttpTransport::new(&HttpOptions {
        connect_timeout: REQUEST_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        loopback: server.is_loopback(),
        ..HttpOptions::default()
    });
    let http = http.map_err(AppError::HttpOptions)?;
    let options = ClientOptions::without_credentials(server.clone());
    let limit = RateLimit { requests: 10, window: Duration::from_mins(1) };
    let halo = HaloClient::new(Arc::new(http), RateLimiter::new(limit, 0), options, fastrand::f64);
    Ok(halo.reported_auth_server().await?)
}

fn write_new(file: &Path, text: &str) -> Result<(), AppError> {
    let failed = |source| AppError::CannotCreate { path: file.to_owned(), source };
    let mut out =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(file).map_err(failed)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    if written.is_err() {
        // A partial file would make the next `init` fail.
        let _ = fs::remove_file(file);
    }
    written.map_err(failed)
}
