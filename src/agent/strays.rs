//! Packages in a consumer's folder that the book does not know: whose they are, and what they say of the
//! database.

use std::path::PathBuf;

use super::AgentError;
use super::desk::{Desk, Restart};
use crate::config::Consumer;
use crate::export::{ExportError, Folder, Range, Stray};
use crate::store::{Delivered, StoreError};

impl Desk<'_> {
    /// The packages in the folder that the book does not know.
    pub(super) fn strays(&self, folder: &Folder, consumer: &Consumer) -> Result<Vec<Stray>, AgentError> {
        let known = self.store.read(|snapshot| snapshot.packages(consumer.as_str()))?;
        let range = |it: &Delivered| Range { from: it.from_seq, to: it.to_seq };
        let known = known.into_iter().map(|it| (range(&it), it.manifest_sha256)).collect();
        Ok(folder.strays(&known)?)
    }

    /// Begins a new lineage where one of these cannot be of this database's making: it ends behind the
    /// newest change, was made before one of its own, or is of a lineage that nobody has heard of.
    pub(super) fn judge(&mut self, folder: &Folder, strays: &[Stray]) -> Result<Option<Restart>, AgentError> {
        let found = self.store.read(|snapshot| {
            let (lineage, newest) = (snapshot.lineage()?, snapshot.greatest_seq()?);
            let server = snapshot.watermark()?.map(|mark| mark.scope.server);
            for stray in strays {
                let Range { from, to } = stray.range;
                let path = folder.path().join(stray.file());
                let its = stray.lineage(&lineage);
                if let (Some(manifest), Some(server)) = (&stray.manifest, &server)
                    && manifest.server != *server
                {
                    let why = format!("it is of another server, {}", manifest.server);
                    return Err(AgentError::from(ExportError::Contradiction { path, why }));
                }
                let is_older = || Ok::<_, StoreError>(stray.made_at < snapshot.observed_at(from, to)?);
                let is_own = its == lineage;
                if (is_own && (newest < to || is_older()?)) || (!is_own && !snapshot.knows_lineage(its)?) {
                    return Ok(Some((path, its.to_owned())));
                }
            }
            Ok(None)
        })?;
        found.map(|(evidence, superseded)| self.restart(evidence, &superseded)).transpose()
    }

    /// Moves packages of earlier lineages away; those of the present one stay among `strays`.
    pub(super) fn clear(
        &self,
        folder: &Folder,
        strays: &mut Vec<Stray>,
        restart: Option<&Restart>,
    ) -> Result<Option<PathBuf>, AgentError> {
        let lineage = self.store.read(|snapshot| snapshot.lineage())?;
        let is_present = |stray: &mut Stray| match &stray.manifest {
            Some(manifest) => manifest.lineage == lineage,
            None => restart.is_none(),
        };
        let present = strays.extract_if(.., is_present).collect();
        let earlier = std::mem::replace(strays, present);
        Ok(folder.supersede(&earlier, restart.map_or(&lineage, |it| &it.superseded))?)
    }
}
