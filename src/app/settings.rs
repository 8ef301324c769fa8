//! Finds and reads the settings file and the client secret.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::{AppError, FileProblem, SecretError, SecretLocation};
use super::trusted_file::{self, unreadable};
use crate::config::{self, Config, LogConfig, SecretSource};
use crate::halo::Certificates;

/// Settings and the file that they were read from.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// The file.
    pub file: PathBuf,
}

/// File that marks a folder as created by the demo.
pub(crate) const DEMO_MARKER: &str = ".halosync-demo";

impl LoadedConfig {
    /// Whether the demo wrote these settings, for a server that ends with it.
    pub(super) fn is_demo(&self) -> bool {
        self.config.halo.server.is_loopback() && self.file.with_file_name(DEMO_MARKER).exists()
    }
}

/// Where the settings file is looked for if no path is given.
const DEFAULT_PATHS: [&str; 2] = ["agent.toml", "/etc/halosync/agent.toml"];

/// The name of the systemd credential.
const CREDENTIAL: &str = "halo-client-secret";

/// What the files contain, as errors call it.
const SETTINGS: &str = "the settings";
const SECRET: &str = "the client secret";
const HASH_KEY: &str = "the key of `[privacy] hash`";

/// The largest settings file, secret and file of certificates, in bytes.
const SETTINGS_MAX: u64 = 1 << 20;
const SECRET_MAX: u64 = 64 << 10;
const CA_MAX: u64 = 4 << 20;

/// Reads the settings file: `path`, else `$HALOSYNC_CONFIG`, else the default paths.
pub fn load(path: Option<&Path>) -> Result<LoadedConfig, AppError> {
    let file = settings_path(path).ok_or(AppError::NoSettings(&DEFAULT_PATHS))?;
    let text = into_text(trusted_file::read(&file, SETTINGS, SETTINGS_MAX)?, SETTINGS, &file)?;
    let folder = std::path::absolute(&file).map_err(unreadable(SETTINGS, &file))?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    let config = Config::read(&file.display().to_string(), &text, &folder, environment());
    let config = config.map_err(AppError::Settings)?;
    Ok(LoadedConfig { config, file })
}

/// The `[log]` settings of a command that needs no settings file.
///
/// # Errors
/// A variable that begins with `HALOSYNC_` and is unknown.
pub fn load_log_from_environment() -> Result<LogConfig, AppError> {
    config::read_log_from_environment(environment()).map_err(AppError::Settings)
}

/// The path of the settings file: `path`, else `$HALOSYNC_CONFIG`, else a default path where there is a file.
pub(crate) fn settings_path(path: Option<&Path>) -> Option<PathBuf> {
    let path = path.map(Path::to_owned).or_else(|| std::env::var_os("HALOSYNC_CONFIG").map(PathBuf::from));
    path.or_else(|| DEFAULT_PATHS.into_iter().map(PathBuf::from).find(|path| path.exists()))
}

fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
}

/// Finds the client secret without reading it: the systemd credential, the environment variable, its own file,
/// the settings file. Fails if others can read the file that it is in.
pub(crate) fn find_secret(loaded: &LoadedConfig) -> Result<SecretLocation, AppError> {
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let file = Path::new(&folder).join(CREDENTIAL);
        if file.exists() {
            return Ok(SecretLocation::Credential(file));
        }
    }
    match &loaded.config.halo.secret {
        SecretSource::Environment(_) => Ok(SecretLocation::Environment),
        SecretSource::File(file) => check_private(file, SecretLocation::File(file.clone())),
        SecretSource::Inline(_) => check_private(&loaded.file, SecretLocation::Settings(loaded.file.clone())),
        SecretSource::Absent => Err(missing_secret(loaded)),
    }
}

/// Finds and reads the client secret.
pub(crate) fn read_secret(loaded: &LoadedConfig) -> Result<SecretString, AppError> {
    let location = find_secret(loaded)?;
    match (&location, &loaded.config.halo.secret) {
        (SecretLocation::Credential(file) | SecretLocation::File(file), _) => {
            read_secret_file(file, &location)
        }
        (_, SecretSource::Environment(secret) | SecretSource::Inline(secret)) => {
            validate_secret(secret.expose_secret(), &location)
        }
        (_, SecretSource::File(_) | SecretSource::Absent) => Err(missing_secret(loaded)),
    }
}

fn missing_secret(loaded: &LoadedConfig) -> AppError {
    AppError::Secret {
        location: SecretLocation::Settings(loaded.file.clone()),
        problem: SecretError::Missing,
    }
}

/// Reads `ca_file`.
pub(super) fn read_ca_file(file: &Path) -> Result<Certificates, AppError> {
    let what = "the certificates";
    let pem = trusted_file::read(file, what, CA_MAX)?;
    Certificates::from_pem(&pem).map_err(|problem| AppError::File {
        what,
        path: file.to_owned(),
        problem: problem.into(),
    })
}

/// Reads `hash_key_file`. Every editor ends a file with a line break, which is no part of the key.
pub(super) fn read_hash_key(file: &Path) -> Result<Vec<u8>, AppError> {
    let refused = |problem| AppError::File { what: HASH_KEY, path: file.to_owned(), problem };
    // systemd decides who can read its credentials.
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let mut key = if credentials.is_some_and(|folder| file.starts_with(folder)) {
        trusted_file::read_credential(file, HASH_KEY, SECRET_MAX)?
    } else {
        let mode = trusted_file::inspect(file, HASH_KEY)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(refused(FileProblem::Exposed { mode }));
        }
        trusted_file::read(file, HASH_KEY, SECRET_MAX)?
    };
    for end in [b'\n', b'\r'] {
        key.pop_if(|last| *last == end);
    }
    if key.is_empty() { Err(refused(FileProblem::Empty)) } else { Ok(key) }
}

fn read_secret_file(file: &Path, location: &SecretLocation) -> Result<SecretString, AppError> {
    let bytes = match location {
        SecretLocation::Credential(_) => trusted_file::read_credential(file, SECRET, SECRET_MAX),
        _ => trusted_file::read(file, SECRET, SECRET_MAX),
    }?;
    let text = into_text(bytes, SECRET, file)?;
    // Every editor ends a file with a line break; nothing else is removed.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    validate_secret(text.strip_suffix('\r').unwrap_or(text), location)
}

fn into_text(bytes: Vec<u8>, what: &'static str, file: &Path) -> Result<String, AppError> {
    let invalid = |_| unreadable(what, file)(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
    String::from_utf8(bytes).map_err(invalid)
}

fn validate_secret(secret: &str, location: &SecretLocation) -> Result<SecretString, AppError> {
    let problem = if secret.is_empty() {
        SecretError::Empty
    } else if secret.contains(|it: char| it.is_control() || it == '\u{FEFF}') {
        SecretError::ControlCharacters
    } else if secret.trim() != secret {
        SecretError::SurroundingWhitespace
    } else {
        return Ok(SecretString::from(secret.to_owned()));
    };
    Err(AppError::Secret { location: location.clone(), problem })
}

/// Returns `location` if nobody but its owner can read the file, and nobody but root and this user can write it; does
/// not open it.
fn check_private(file: &Path, location: SecretLocation) -> Result<SecretLocation, AppError> {
    let mode = trusted_file::inspect(file, SECRET)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(location);
    }
    Err(AppError::Secret { location, problem: SecretError::Exposed { mode } })
}
