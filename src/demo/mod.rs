//! The demo: everything that halosync does, against a simulated HaloITSM on loopback, with real sockets, a real
//! database and real files.
//!
//! It reports [`DemoStep`]s and prints nothing itself.

#[cfg(feature = "lake")]
mod lake;

use std::future::pending;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use chrono::Utc;
use halo_simulator::{ApiEndpoint, Effect, RetryAfter, ServerFault, Simulator, SimulatorSettings};

#[cfg(feature = "lake")]
pub use lake::{recipe, run_with_lake};

use crate::app::{self, AppError, DEMO_MARKER, DeltaSummary, LoadedConfig, SyncOptions, WorkCounter};
#[cfg(feature = "lake")]
use crate::app::{LakePush, VerifyReport};
use crate::config::{ConsumerName, Format, FormatOptions};
use crate::sync::{Progress, RunReport};

/// A step that was done, with its figures.
#[derive(Debug)]
pub enum DemoStep {
    /// The simulated server runs.
    Serving {
        /// Its address.
        url: String,
        /// Number of its tickets.
        tickets: u32,
    },
    /// A run ended.
    Sync {
        /// What it shows.
        title: String,
        /// Report of the run.
        report: Box<RunReport>,
        /// How long it took.
        elapsed: Duration,
    },
    /// A package was written.
    Export {
        /// What it shows.
        title: String,
        /// What was exported.
        summary: Box<DeltaSummary>,
        /// How long it took.
        elapsed: Duration,
    },
    /// Packages were shipped to the lake.
    #[cfg(feature = "lake")]
    Push {
        /// What it shows.
        title: String,
        /// What was shipped.
        push: Box<LakePush>,
        /// How long it took.
        elapsed: Duration,
    },
    /// The lake was verified.
    #[cfg(feature = "lake")]
    Verified {
        /// What was found.
        report: Box<VerifyReport>,
        /// How long it took.
        elapsed: Duration,
    },
}

/// The demo's server and folder.
pub struct Demo {
    simulator: Simulator,
    loaded: LoadedConfig,
}

impl Demo {
    /// Creates the folder for settings, database and exports, and starts a server with so many tickets.
    ///
    /// # Errors
    /// [`AppError::NotADemo`] if the folder was not created by a demo; it is left unchanged.
    pub async fn prepare(
        dir: &Path,
        tickets: u32,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<Demo, AppError> {
        recreate_folder(dir)?;
        Demo::start(dir, (tickets, SimulatorSettings::default().seed), "", on_step).await
    }

    /// Starts a server with so many tickets, which a seed makes, and writes settings for it; `more` are further sections.
    async fn start(
        dir: &Path,
        (tickets, seed): (u32, u64),
        more: &str,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<Demo, AppError> {
        let settings = SimulatorSettings { tickets, seed, ..SimulatorSettings::default() };
        let (client_id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.map_err(AppError::Serve)?;
        let file = write_config(dir, &simulator.url(), &client_id, &secret, more)?;
        on_step(DemoStep::Serving { url: simulator.url(), tickets });
        Ok(Demo { simulator, loaded: app::load(Some(&file))? })
    }

    /// Runs all steps.
    pub async fn run(
        &self,
        progress: impl Fn() -> Arc<dyn Progress>,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<(), AppError> {
        let incremental = SyncOptions::default();
        let full = SyncOptions { full: true, ..SyncOptions::default() };
        self.sync("first sync: everything", incremental, &progress, on_step).await?;
        self.sync("nothing changed: one list request", incremental, &progress, on_step).await?;
        on_step(self.export("first package for `warehouse`", "warehouse", Format::Csv)?);

        self.sync_changes(&progress, on_step).await?;

        let rate_limited = Effect::Throttle(RetryAfter::Seconds, 1);
        self.simulator.with(|server| {
            server.edit_some(3, Utc::now());
            server.inject(ServerFault::at(ApiEndpoint::List, rate_limited).at_most(1));
        });
        let title = "3 edited, and the server answers 429: wait one second";
        self.sync(title, incremental, &progress, on_step).await?;

        self.simulator.with(|server| {
            let ids = server.ids();
            for id in ids.iter().step_by(ids.len() / 3 + 1) {
                server.delete(*id, Utc::now());
            }
        });
        let title = "3 deleted on the server: an incremental scan cannot show that";
        self.sync(title, incremental, &progress, on_step).await?;
        let title = "a full scan finds them unlisted and confirms each deletion";
        self.sync(title, full, &progress, on_step).await?;

        on_step(self.export("next package for `warehouse`: only what changed", "warehouse", Format::Csv)?);
        on_step(self.export("another consumer, in JSON, from the beginning", "siem", Format::Json)?);
        #[cfg(feature = "lake")]
        on_step(self.export("a third one, in Parquet", "analytics", Format::Parquet)?);
        Ok(())
    }

    /// The settings of the demo.
    #[must_use]
    pub fn loaded(&self) -> &LoadedConfig {
        &self.loaded
    }

    /// Stops the server.
    pub async fn teardown(self) {
        self.simulator.stop().await;
    }

    async fn sync(
        &self,
        title: &str,
        options: SyncOptions,
        progress: &impl Fn() -> Arc<dyn Progress>,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<(), AppError> {
        let started = Instant::now();
        let report = app::sync(&self.loaded, options, progress(), pending()).await?;
        on_step(DemoStep::Sync {
            title: title.to_owned(),
            report: Box::new(report),
            elapsed: started.elapsed(),
        });
        Ok(())
    }

    /// Changes tickets on the server, and synchronizes.
    async fn sync_changes(
        &self,
        progress: &impl Fn() -> Arc<dyn Progress>,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<(), AppError> {
        self.simulator.with(|server| {
            server.edit_some(25, Utc::now());
            server.create(5, Utc::now());
        });
        self.sync("25 tickets edited, 5 opened", SyncOptions::default(), progress, on_step).await
    }

    fn export(&self, title: &str, consumer: &str, format: Format) -> Result<DemoStep, AppError> {
        let started = Instant::now();
        let consumer =
            ConsumerName::parse(consumer).unwrap_or_else(|| self.loaded.config.export.consumer.clone());
        let summary = app::export_delta(
            &self.loaded,
            &consumer,
            FormatOptions::exact(format),
            None,
            &WorkCounter::default(),
        )?;
        Ok(DemoStep::Export {
            title: title.to_owned(),
            summary: Box::new(summary),
            elapsed: started.elapsed(),
        })
    }
}

fn cannot_create(path: &Path) -> impl Fn(io::Error) -> AppError {
    move |source| AppError::CannotCreate { path: path.to_owned(), source }
}

fn create_folder(path: &Path) -> Result<(), AppError> {
    fs::DirBuilder::new().mode(0o750).create(path).map_err(cannot_create(path))
}

/// Creates the folder; replaces one that an earlier demo left.
fn recreate_folder(dir: &Path) -> Result<(), AppError> {
    let failed = cannot_create(dir);
    let create = || create_folder(dir);
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) if dir.join(DEMO_MARKER).is_file() => {
            fs::remove_dir_all(dir).map_err(&failed)?;
            create()?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create()?,
        Ok(false) | Err(_) => return Err(AppError::NotADemo(dir.to_owned())),
    }
    fs::write(dir.join(DEMO_MARKER), "").map_err(&failed)
}

/// Writes settings and secret as a person would, and returns the settings file.
fn write_config(
    dir: &Path,
    url: &str,
    client_id: &str,
    secret: &str,
    more: &str,
) -> Result<PathBuf, AppError> {
    let write = |name: &str, mode, text: &str| {
        let path = dir.join(name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(cannot_create(&path))
            .map(|()| path)
    };
    write("client-secret", 0o600, &format!("{secret}\n"))?;
    let text = format!(
        "# Written by `halosync demo`. The server is simulated, so the rate limit is set very high.\n\n\
         [halo]\nserver_url = \"{url}\"\nclient_id = \"{client_id}\"\nclient_secret_file = \"client-secret\"\n\
         rate_limit = \"100000/1m\"\nmax_retries = 1\ninclude_custom_fields = true\n\n[store]\nfull_text = true\n{more}"
    );
    write("agent.toml", 0o640, &text)
}
