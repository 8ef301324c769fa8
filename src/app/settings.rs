//! Where the settings and the secret are found, and who else could read them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::{AppError, SecretError};
use crate::config::{self, Config, SecretSource};

/// Settings, and the file that they are from.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// The file.
    pub file: PathBuf,
}

/// Where settings are looked for when nobody says where they are.
const DEFAULT_PATHS: [&str; 2] = ["agent.toml", "/etc/halosync/agent.toml"];

/// How a certificate begins in PEM.
const PEM_HEADER: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The name of the systemd credential.
pub(super) const CREDENTIAL: &str = "halo-client-secret";

/// The variable that may hold the secret.
const SECRET_VARIABLE: &str = "HALOSYNC_HALO__CLIENT_SECRET";

/// Reads the settings: `named`, else `HALOSYNC_CONFIG`, else the usual places.
///
/// # Errors
/// [`AgentError`]
pub fn load(path: Option<&Path>) -> Result<LoadedConfig, AppError> {
    let path = path.map(Path::to_owned).or_else(|| std::env::var_os("HALOSYNC_CONFIG").map(PathBuf::from));
    let default_path = || DEFAULT_PATHS.into_iter().map(PathBuf::from).find(|path| path.exists());
    let file =
        path.or_else(default_path).ok_or_else(|| AppError::NoSettings { tried: DEFAULT_PATHS.to_vec() })?;
    let unreadable = |source| AppError::Unreadable { what: "the settings", path: file.clone(), source };
    let text = fs::read_to_string(&file).map_err(unreadable)?;
    let folder = std::path::absolute(&file).map_err(unreadable)?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let config = Config::read(&file.display().to_string(), &text, &folder, environment)
        .map_err(|problems| AppError::Settings { file: file.clone(), problems })?;
    Ok(LoadedConfig { config, file })
}

/// Writes the commented example.
///
/// # Errors
/// [`AgentError`]; a file that is there is never touched.
pub fn init(file: &Path) -> Result<(), AppError> {
    let failed = |source| AppError::CannotCreate { path: file.to_owned(), source };
    let mut out =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o640).open(file).map_err(failed)?;
    let written = out.write_all(config::EXAMPLE.as_bytes()).and_then(|()| out.sync_all());
    if written.is_err() {
        // Half of the settings would be in the way of the next `init`.
        let _ = fs::remove_file(file);
    }
    written.map_err(failed)
}

/// Where the client secret is.
#[derive(Debug)]
pub enum SecretLocation<'a> {
    /// The credential that systemd hands over.
    Credential(PathBuf),
    /// The variable.
    Environment(&'a SecretString),
    /// A file of its own.
    File(&'a Path),
    /// The settings themselves.
    Settings(&'a SecretString),
}

/// Finds the client secret without reading it: the systemd credential, the environment, its own file, the
/// settings. Nobody else may be able to read it there.
pub(crate) fn find_secret(loaded: &LoadedConfig) -> Result<SecretLocation<'_>, AppError> {
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let file = Path::new(&folder).join(CREDENTIAL);
        if file.exists() {
            return Ok(SecretLocation::Credential(file));
        }
    }
    match &loaded.config.halo.secret {
        SecretSource::Environment(secret) => Ok(SecretLocation::Environment(secret)),
        SecretSource::File(file) => check_private(file).map(|()| SecretLocation::File(file)),
        SecretSource::Inline(secret) => {
            check_private(&loaded.file).map(|()| SecretLocation::Settings(secret))
        }
        SecretSource::Absent => {
            Err(AppError::Secret { location: loaded.file.clone(), problem: SecretError::Missing })
        }
    }
}

/// The client secret.
pub(crate) fn read_secret(loaded: &LoadedConfig) -> Result<SecretString, AppError> {
    match find_secret(loaded)? {
        SecretLocation::Credential(file) => read_secret_file(&file),
        SecretLocation::Environment(secret) => {
            validate_secret(secret.expose_secret(), SECRET_VARIABLE.as_ref())
        }
        SecretLocation::File(file) => read_secret_file(file),
        SecretLocation::Settings(secret) => validate_secret(secret.expose_secret(), &loaded.file),
    }
}

/// What is in `ca_file`.
pub(super) fn read_ca_file(file: &Path) -> Result<Vec<u8>, AppError> {
    let unreadable = |source| AppError::Unreadable { what: "the certificate", path: file.to_owned(), source };
    let pem = fs::read(file).map_err(unreadable)?;
    // What reads PEM passes over everything else, and would trust nobody more without a word.
    if !pem.windows(PEM_HEADER.len()).any(|bytes| bytes == PEM_HEADER) {
        let why = "there is no `-----BEGIN CERTIFICATE-----` in it";
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    Ok(pem)
}

fn read_secret_file(file: &Path) -> Result<SecretString, AppError> {
    let text = fs::read_to_string(file).map_err(|source| AppError::Unreadable {
        what: "the client secret",
        path: file.to_owned(),
        source,
    })?;
    // Every editor ends a file with a line break; nothing else is taken away.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    validate_secret(text.strip_suffix('\r').unwrap_or(text), file)
}

fn validate_secret(secret: &str, location: &Path) -> Result<SecretString, AppError> {
    let problem = if secret.is_empty() {
        SecretError::Empty
    } else if secret.contains(|it: char| it.is_control() || it == '\u{FEFF}') {
        SecretError::ControlCharacters
    } else if secret.trim() != secret {
        SecretError::SurroundingWhitespace
    } else {
        return Ok(SecretString::from(secret.to_owned()));
    };
    Err(AppError::Secret { location: location.to_owned(), problem })
}

/// Whether nobody but the owner can read the file; asked by its name, without opening it.
fn check_private(file: &Path) -> Result<(), AppError> {
    let metadata = fs::metadata(file).map_err(|source| AppError::Unreadable {
        what: "the client secret",
        path: file.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(AppError::Secret { location: file.to_owned(), problem: SecretError::Exposed { mode } })
}
