//! The versions and the system that a check runs with.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::app;
use crate::store;

/// Longest name of an operating system, in characters.
const NAME_MAX: usize = 100;

/// The program and the system that it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramInfo {
    /// The version of halosync.
    pub version: &'static str,
    /// The version of SQLite.
    pub sqlite: &'static str,
    /// The name of the operating system.
    pub system: String,
    /// The kernel: name, release and architecture.
    pub kernel: String,
    /// The id of the user.
    pub user_id: u32,
    /// The settings file; `None` if none was found.
    pub settings: Option<String>,
}

impl ProgramInfo {
    /// Collects the facts; `config_path` is that of the command line.
    #[must_use]
    pub fn collect(config_path: Option<&Path>) -> ProgramInfo {
        let uname = rustix::system::uname();
        let parts = [uname.sysname(), uname.release(), uname.machine()];
        let os_release = ["/etc/os-release", "/usr/lib/os-release"]
            .into_iter()
            .find_map(|path| fs::read_to_string(path).ok());
        let system = os_release.and_then(|text| pretty_name(&text));
        ProgramInfo {
            version: env!("CARGO_PKG_VERSION"),
            sqlite: store::sqlite_version(),
            system: system.unwrap_or_else(|| uname.sysname().to_string_lossy().into_owned()),
            kernel: parts.map(|part| part.to_string_lossy().into_owned()).join(" "),
            user_id: rustix::process::geteuid().as_raw(),
            settings: app::settings_path(config_path).map(|path| path.display().to_string()),
        }
    }

    /// The facts as lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let ProgramInfo { version, sqlite, system, kernel, user_id, settings } = self;
        let settings = settings.as_deref().unwrap_or("none found");
        format!(
            "halosync {version}, SQLite {sqlite}\nsystem    {system}, {kernel}\nuser      {user_id}\nsettings  {settings}\n"
        )
    }
}

/// The `PRETTY_NAME` in os-release(5).
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let words = shlex::split(value)?;
    let name: String = words.join(" ").chars().take(NAME_MAX).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pretty_name_is_unquoted() {
        for (text, expected) in [
            ("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n", Some("Debian GNU/Linux 13 (trixie)")),
            ("PRETTY_NAME='Void'", Some("Void")),
            ("PRETTY_NAME=Alpine", Some("Alpine")),
            ("PRETTY_NAME=\"\"", None),
            ("PRETTY_NAME=\"cut", None),
            ("NAME=x", None),
        ] {
            assert_eq!(pretty_name(text).as_deref(), expected, "{text:?}");
        }
    }
}
