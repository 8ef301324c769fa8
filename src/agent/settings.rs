//! Where the settings and the secret are found, and who else could read them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::{AgentError, SecretProblem};
use crate::config::{self, Config, SecretSource};

/// Settings, and the file that they are from.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file.
    pub file: PathBuf,
}

/// Where settings are looked for when nobody says where they are.
const PLACES: [&str; 2] = ["agent.toml", "/etc/halosync/agent.toml"];

/// How a certificate begins in PEM.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The name of the systemd credential.
pub(super) const CREDENTIAL: &str = "halo-client-secret";

/// The variable that may hold the secret.
const VARIABLE: &str = "HALOSYNC_HALO__CLIENT_SECRET";

/// Reads the settings: `named`, else `HALOSYNC_CONFIG`, else the usual places.
///
/// # Errors
/// [`AgentError`]
pub fn load(named: Option<&Path>) -> Result<Loaded, AgentError> {
    let named = named.map(Path::to_owned).or_else(|| std::env::var_os("HALOSYNC_CONFIG").map(PathBuf::from));
    let usual = || PLACES.into_iter().map(PathBuf::from).find(|place| place.exists());
    let file = named.or_else(usual).ok_or_else(|| AgentError::NoSettings { tried: PLACES.to_vec() })?;
    let unreadable = |source| AgentError::Unreadable { what: "the settings", path: file.clone(), source };
    let text = fs::read_to_string(&file).map_err(unreadable)?;
    let folder = std::path::absolute(&file).map_err(unreadable)?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    let config = Config::read(&file.display().to_string(), &text, &folder, environment)
        .map_err(|problems| AgentError::Settings { file: file.clone(), problems })?;
    Ok(Loaded { config, file })
}

/// Writes the commented example.
///
/// # Errors
/// [`AgentError`]; a file that is there is never touched.
pub fn init(file: &Path) -> Result<(), AgentError> {
    let failed = |source| AgentError::CannotCreate { path: file.to_owned(), source };
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
pub enum SecretPlace<'a> {
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
pub(crate) fn secret_place(loaded: &Loaded) -> Result<SecretPlace<'_>, AgentError> {
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let file = Path::new(&folder).join(CREDENTIAL);
        if file.exists() {
            return Ok(SecretPlace::Credential(file));
        }
    }
    match &loaded.config.halo.secret {
        SecretSource::Environment(secret) => Ok(SecretPlace::Environment(secret)),
        SecretSource::File(file) => alone(file).map(|()| SecretPlace::File(file)),
        SecretSource::Inline(secret) => alone(&loaded.file).map(|()| SecretPlace::Settings(secret)),
        SecretSource::Absent => {
            Err(AgentError::Secret { place: loaded.file.clone(), problem: SecretProblem::Absent })
        }
    }
}

/// The client secret.
pub(crate) fn secret(loaded: &Loaded) -> Result<SecretString, AgentError> {
    match secret_place(loaded)? {
        SecretPlace::Credential(file) => from_file(&file),
        SecretPlace::Environment(secret) => checked(secret.expose_secret(), VARIABLE.as_ref()),
        SecretPlace::File(file) => from_file(file),
        SecretPlace::Settings(secret) => checked(secret.expose_secret(), &loaded.file),
    }
}

/// What is in `ca_file`.
pub(super) fn certificates(file: &Path) -> Result<Vec<u8>, AgentError> {
    let unreadable =
        |source| AgentError::Unreadable { what: "the certificate", path: file.to_owned(), source };
    let pem = fs::read(file).map_err(unreadable)?;
    // What reads PEM passes over everything else, and would trust nobody more without a word.
    if !pem.windows(BEGIN.len()).any(|bytes| bytes == BEGIN) {
        let why = "there is no `-----BEGIN CERTIFICATE-----` in it";
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, why)));
    }
    Ok(pem)
}

fn from_file(file: &Path) -> Result<SecretString, AgentError> {
    let text = fs::read_to_string(file).map_err(|source| AgentError::Unreadable {
        what: "the client secret",
        path: file.to_owned(),
        source,
    })?;
    // Every editor ends a file with a line break; nothing else is taken away.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    checked(text.strip_suffix('\r').unwrap_or(text), file)
}

fn checked(secret: &str, place: &Path) -> Result<SecretString, AgentError> {
    let problem = if secret.is_empty() {
        SecretProblem::Empty
    } else if secret.contains(|it: char| it.is_control() || it == '\u{FEFF}') {
        SecretProblem::ControlCharacters
    } else if secret.trim() != secret {
        SecretProblem::Blanks
    } else {
        return Ok(SecretString::from(secret.to_owned()));
    };
    Err(AgentError::Secret { place: place.to_owned(), problem })
}

/// Whether nobody but the owner can read the file; asked by its name, without opening it.
fn alone(file: &Path) -> Result<(), AgentError> {
    let metadata = fs::metadata(file).map_err(|source| AgentError::Unreadable {
        what: "the client secret",
        path: file.to_owned(),
        source,
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(AgentError::Secret { place: file.to_owned(), problem: SecretProblem::Exposed { mode } })
}
