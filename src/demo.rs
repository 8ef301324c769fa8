//! The demo: a simulated HaloITSM on loopback and everything the agent does, on real sockets, with a
//! real database and real files.
//!
//! It tells what happened as [`Scene`]s and prints nothing itself.

use std::fs;
use std::future::pending;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;

use crate::agent::{self, AgentError, Handover, Loaded, Wish};
use crate::config::{Consumer, Format, Style};
use crate::simulator::{Effect, Endpoint, Fault, RetryAfter, Settings, Simulator};
use crate::sync::{Progress, Report};

/// What marks a folder as the demo's own.
const MARKER: &str = ".halosync-demo";

/// How the demo is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its folder.
    pub dir: PathBuf,
    /// How many tickets the server has.
    pub tickets: u32,
}

/// One step, with its figures.
#[derive(Debug)]
pub enum Scene {
    /// The server is up.
    Serving {
        /// Where.
        url: String,
        /// With how many tickets.
        tickets: u32,
    },
    /// A pass was run.
    Pass {
        /// What it shows.
        title: &'static str,
        /// What it did.
        report: Box<Report>,
        /// How long it took.
        took: Duration,
    },
    /// A package was made.
    Export {
        /// What it shows.
        title: &'static str,
        /// What was handed on.
        handover: Box<Handover>,
        /// How long it took.
        took: Duration,
    },
}

/// The demo's server and folder.
pub struct Stage {
    simulator: Simulator,
    loaded: Loaded,
}

impl Stage {
    /// Prepares folder and server.
    ///
    /// # Errors
    /// [`AgentError::NotADemo`] where the folder is not the demo's own; it stays as it is then.
    pub async fn set(wanted: &Wanted, tell: &mut impl FnMut(Scene)) -> Result<Stage, AgentError> {
        clear(&wanted.dir)?;
        let settings = Settings { tickets: wanted.tickets, ..Settings::default() };
        let (client_id, secret) = (settings.client_id.clone(), settings.client_secret.clone());
        let simulator = Simulator::start(settings).await.map_err(AgentError::Serve)?;
        let file = furnish(&wanted.dir, &simulator.url(), &client_id, &secret)?;
        tell(Scene::Serving { url: simulator.url(), tickets: wanted.tickets });
        Ok(Stage { simulator, loaded: agent::load(Some(&file))? })
    }

    /// Plays everything.
    ///
    /// # Errors
    /// [`AgentError`]
    pub async fn play(
        &self,
        progress: impl Fn() -> Arc<dyn Progress>,
        tell: &mut impl FnMut(Scene),
    ) -> Result<(), AgentError> {
        let changes = Wish::default();
        let full = Wish { full: true, ..Wish::default() };
        tell(self.pass("first sync: everything", changes, &progress).await?);
        tell(self.pass("nothing changed: one list request", changes, &progress).await?);
        tell(self.export("first package for `warehouse`", "warehouse", Format::Csv)?);

        self.simulator.with(|server| {
            server.edit_some(25, Utc::now());
            server.create(5, Utc::now());
        });
        tell(self.pass("25 tickets edited, 5 opened", changes, &progress).await?);

        let patience = Effect::Throttle(RetryAfter::Seconds, 1);
        self.simulator.with(|server| {
            server.edit_some(3, Utc::now());
            server.inject(Fault::at(Endpoint::List, patience).at_most(1));
        });
        tell(self.pass("3 edited, and the server says 429: wait a second", changes, &progress).await?);

        self.simulator.with(|server| {
            let ids = server.ids();
            for id in ids.iter().step_by(ids.len() / 3 + 1) {
                server.delete(*id, Utc::now());
            }
        });
        tell(
            self.pass("3 deleted at the server: a list of changes does not show that", changes, &progress)
                .await?,
        );
        tell(self.pass("a full walk finds them missing and asks about each", full, &progress).await?);

        tell(self.export("next package for `warehouse`: only what changed", "warehouse", Format::Csv)?);
        tell(self.export("another consumer, in JSON, from the beginning", "lake", Format::Json)?);
        Ok(())
    }

    /// The settings it wrote.
    #[must_use]
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Ends the server.
    pub async fn strike(self) {
        self.simulator.stop().await;
    }

    async fn pass(
        &self,
        title: &'static str,
        wish: Wish,
        progress: &impl Fn() -> Arc<dyn Progress>,
    ) -> Result<Scene, AgentError> {
        let since = Instant::now();
        let report = agent::sync(&self.loaded, wish, progress(), pending()).await?;
        Ok(Scene::Pass { title, report: Box::new(report), took: since.elapsed() })
    }

    fn export(&self, title: &'static str, consumer: &str, format: Format) -> Result<Scene, AgentError> {
        let since = Instant::now();
        let consumer =
            Consumer::parse(consumer).unwrap_or_else(|| self.loaded.config.export.consumer.clone());
        let handover = agent::deliver(&self.loaded, &consumer, Style::exact(format), None)?;
        Ok(Scene::Export { title, handover: Box::new(handover), took: since.elapsed() })
    }
}

/// Makes the folder; one that an earlier demo left is replaced.
fn clear(dir: &Path) -> Result<(), AgentError> {
    let failed = |source| AgentError::CannotCreate { path: dir.to_owned(), source };
    let empty = fs::read_dir(dir).map(|mut entries| entries.next().is_none());
    match empty {
        Ok(true) => fs::write(dir.join(MARKER), "").map_err(failed),
        Ok(false) if dir.join(MARKER).is_file() => {
            fs::remove_dir_all(dir).map_err(failed)?;
            clear(dir)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::DirBuilder::new().mode(0o750).create(dir).map_err(failed)?;
            fs::write(dir.join(MARKER), "").map_err(failed)
        }
        Ok(false) | Err(_) => Err(AgentError::NotADemo { path: dir.to_owned() }),
    }
}

/// Writes settings and secret as a person would.
fn furnish(dir: &Path, url: &str, client_id: &str, secret: &str) -> Result<PathBuf, AgentError> {
    let write = |name: &str, mode, text: &str| {
        let path = dir.join(name);
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| AgentError::CannotCreate { path: path.clone(), source })
            .map(|()| path)
    };
    write("client-secret", 0o600, &format!("{secret}\n"))?;
    let text = format!(
        "# Written by `halosync demo`. The server is simulated; its limit is set far away.\n\n\
         [halo]\nserver_url = \"{url}\"\nclient_id = \"{client_id}\"\nclient_secret_file = \"client-secret\"\n\
         rate_limit = \"100000/1m\"\ninclude_custom_fields = true\n\n[store]\nfull_text = true\n"
    );
    write("agent.toml", 0o640, &text)
}
