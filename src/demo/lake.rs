//! Three servers that ship to one lake, in a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use tokio_util::sync::CancellationToken;

use super::{Demo, DemoStep, cannot_create, create_folder, recreate_folder};
use crate::app::{self, AppError, SyncOptions, VerifyReport, WorkCounter};
use crate::config::LakeUrl;
use crate::sync::Progress;

/// The names of the copies in the lake.
const COPIES: [&str; 3] = ["acme", "globex", "initech"];

/// Where the recipes are that the demo writes for its lake, so that they are those of the documents.
const PAGE: &str = include_str!("../../docs/lake.md");

/// The names of the recipes in [`PAGE`] and of the files that they are written to.
const RECIPES: [(&str, &str); 2] =
    [("sql duckdb-tickets", "tickets.sql"), ("python pyspark-tickets", "tickets.py")];

/// What stands for the lake in the recipes.
const PLACEHOLDERS: [&str; 2] = ["s3a://BUCKET/halo", "s3://BUCKET/halo"];

/// Copies three servers with so many tickets each, ships everything and then what changed, and verifies the lake. Returns where
/// the lake is.
///
/// # Errors
/// [`AppError::NotADemo`] if the folder was not created by a demo; it is left unchanged.
pub async fn run_with_lake(
    dir: &Path,
    tickets: u32,
    progress: impl Fn() -> Arc<dyn Progress>,
    on_step: &mut impl FnMut(DemoStep),
) -> Result<LakeUrl, AppError> {
    recreate_folder(dir)?;
    let folder = std::path::absolute(dir.join("lake")).map_err(cannot_create(dir))?;
    create_folder(&folder)?;
    let url = LakeUrl::parse(&format!("file://{}", folder.display()))
        .map_err(|problem| cannot_create(&folder)(io::Error::other(format!("its address {problem}"))))?;
    for (number, name) in COPIES.into_iter().enumerate() {
        let own = dir.join(name);
        create_folder(&own)?;
        let section = format!("\n[lake]\nurl = \"{url}\"\nserver = \"{name}\"\n");
        let copy = Demo::start(&own, (tickets, number as u64 + 1), &section, on_step).await?;
        let shipped = copy.ship(number == 0, name, &progress, on_step).await;
        copy.teardown().await;
        shipped?;
    }
    for (name, file) in RECIPES {
        let path = dir.join(file);
        let text = recipe(name, &folder.display().to_string()).unwrap_or_default();
        fs::write(&path, text + "\n").map_err(cannot_create(&path))?;
    }
    let started = Instant::now();
    let report = verify(&url)?;
    on_step(DemoStep::Verified { report: Box::new(report), elapsed: started.elapsed() });
    Ok(url)
}

impl Demo {
    async fn ship(
        &self,
        changes: bool,
        name: &str,
        progress: &impl Fn() -> Arc<dyn Progress>,
        on_step: &mut impl FnMut(DemoStep),
    ) -> Result<(), AppError> {
        let title = format!("first sync of `{name}`: everything");
        self.sync(&title, SyncOptions::default(), progress, on_step).await?;
        self.push("everything is shipped, and readers are told at the end", on_step)?;
        if changes {
            self.sync_changes(progress, on_step).await?;
            self.push("only what changed is shipped", on_step)?;
        }
        Ok(())
    }

    fn push(&self, title: &str, on_step: &mut impl FnMut(DemoStep)) -> Result<(), AppError> {
        let started = Instant::now();
        let push = tokio::task::block_in_place(|| {
            app::push_to_lake(&self.loaded, CancellationToken::new(), &WorkCounter::default())
        })?;
        on_step(DemoStep::Push { title: title.to_owned(), push: Box::new(push), elapsed: started.elapsed() });
        Ok(())
    }
}

fn verify(url: &LakeUrl) -> Result<VerifyReport, AppError> {
    let bytes = WorkCounter::default();
    tokio::task::block_in_place(|| app::verify_lake(None, url, None, CancellationToken::new(), &bytes))
}

/// A recipe of `docs/lake.md` by the words behind its fence, for a lake at an address; `None` if there is none of that name.
#[must_use]
pub fn recipe(name: &str, lake: &str) -> Option<String> {
    let (_, rest) = PAGE.split_once(&format!("```{name}\n"))?;
    let (recipe, _) = rest.split_once("\n```")?;
    Some(PLACEHOLDERS.iter().fold(recipe.to_owned(), |recipe, placeholder| recipe.replace(placeholder, lake)))
}
