//! Settings: parsed from `agent.toml` and the environment, and checked. Each section has a file of its own.
//!
//! Pure functions: text in, settings or all problems out. The file and the secret are read by
//! [`crate::app`].

mod columns;
mod export;
mod format;
mod halo;
mod lake;
mod log;
mod metrics;
mod privacy;
mod problem;
mod quantity;
mod reader;
mod server;
mod store;
mod sync;
mod template;

use std::collections::BTreeMap;
use std::path::Path;

pub use columns::ColumnSelection;
pub use export::{AckMode, ConsumerName, ExportConfig, ExportSchedule};
pub use format::{Format, FormatError, FormatOptions, Newlines};
pub use halo::{HaloConfig, SecretSource};
pub use lake::{DeletedRows, LakeConfig, LakeScheme, LakeServer, LakeUrl, StoreRoute};
pub use log::{LogConfig, LogFormat, LogLevel};
pub use metrics::MetricsConfig;
pub use privacy::PrivacyConfig;
pub use problem::ConfigProblem;
pub use quantity::{RateLimit, size_to_text};
pub use server::ServerUrl;
pub use store::StoreConfig;
pub use sync::SyncConfig;
pub use template::{EXAMPLE, settings_for, toml_string};

use reader::ConfigReader;

/// Checked settings.
#[derive(Debug)]
pub struct Config {
    /// `[halo]`
    pub halo: HaloConfig,
    /// `[privacy]`
    pub privacy: PrivacyConfig,
    /// `[sync]`
    pub sync: SyncConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[export]`
    pub export: ExportConfig,
    /// `[lake]`, if there is a lake.
    pub lake: Option<LakeConfig>,
    /// `[log]`
    pub log: LogConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
}

impl Config {
    /// Parses settings from the text of a file and the environment.
    ///
    /// `file` is the name of the file in problems, `folder` the base of relative paths, and `environment`
    /// all environment variables, of which those that begin with `HALOSYNC_` are used.
    ///
    /// # Errors
    /// All problems at once, in the order of the file.
    pub fn read(
        file: &str,
        text: &str,
        folder: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Vec<ConfigProblem>> {
        let environment = own_variables(environment);
        let mut reader = ConfigReader::new(file, text, folder, &environment)?;
        let halo = HaloConfig::read(&mut reader.section("halo"));
        let privacy = PrivacyConfig::read(&mut reader.section("privacy"), halo.as_ref());
        let sync = SyncConfig::read(&mut reader.section("sync"));
        let store = StoreConfig::read(&mut reader.section("store"), folder);
        let export = ExportConfig::read(&mut reader.section("export"), folder);
        let lake = LakeConfig::read(&mut reader.section("lake"), halo.as_ref());
        if lake.is_some() && export.consumer == ConsumerName::lake() {
            let problem = "must not be \"lake\": its packages are shipped by [lake]";
            reader.section("export").add_problem("consumer", problem);
        }
        let log = LogConfig::read(&mut reader.section("log"));
        let metrics = MetricsConfig::read(&mut reader.section("metrics"));
        match (halo, reader.finish()) {
            (Some(halo), problems) if problems.is_empty() => {
                Ok(Config { halo, privacy, sync, store, export, lake, log, metrics })
            }
            (_, problems) => Err(problems),
        }
    }
}

/// Reads `[log]` from the environment alone, for commands without a settings file, and returns it if no variable that
/// begins with `HALOSYNC_` is unknown.
///
/// # Errors
/// The problems of `[log]`, and every unknown variable.
pub fn read_log_from_environment(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<LogConfig, Vec<ConfigProblem>> {
    let environment = own_variables(environment);
    let no_folder = Path::new("");
    let mut reader = ConfigReader::new("", "", no_folder, &environment)?;
    let _ = HaloConfig::read(&mut reader.section("halo"));
    let _ = PrivacyConfig::read(&mut reader.section("privacy"), None);
    let _ = SyncConfig::read(&mut reader.section("sync"));
    let _ = StoreConfig::read(&mut reader.section("store"), no_folder);
    let _ = ExportConfig::read(&mut reader.section("export"), no_folder);
    let _ = LakeConfig::read(&mut reader.section("lake"), None);
    let _ = MetricsConfig::read(&mut reader.section("metrics"));
    reader.forget_problems();
    let log = LogConfig::read(&mut reader.section("log"));
    match reader.finish() {
        problems if problems.is_empty() => Ok(log),
        problems => Err(problems),
    }
}

fn own_variables(environment: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    environment.into_iter().filter(|(name, _)| name.starts_with("HALOSYNC_")).collect()
}
