//! The names of the objects of one copy in a lake.
//!
//! Data, manifests and the protocol's own objects have folders of their own, so that an engine that reads a folder finds
//! nothing but data there. The server stands in every name, so that credentials can be limited to it.

use crate::config::LakeServer;

/// Names the objects of one copy.
#[derive(Clone, Debug)]
pub struct LakeLayout {
    server: LakeServer,
}

/// Behind the name of a package before which another one lies at the same change record.
const AFTER_REFERENCE: &str = "-2";

/// Where a package begins in the chain of its epoch. Each place has one package, whatever it ends with: this is what
/// tells two writers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainPlace {
    /// Number of the epoch.
    pub epoch: i64,
    /// The change record before the first one in the package.
    pub from_seq: i64,
    /// Whether a package with nothing but reference tables lies before it at the same change record.
    pub after_reference: bool,
}

impl ChainPlace {
    /// Its name, without extension.
    fn name(self) -> String {
        let suffix = if self.after_reference { AFTER_REFERENCE } else { "" };
        format!("{:06}-{:012}{suffix}", self.epoch, self.from_seq)
    }

    /// Returns the place of an intent; `None` for the name of any other object.
    #[must_use]
    pub fn of_intent(name: &str) -> Option<ChainPlace> {
        let stem = name.rsplit('/').next()?.strip_suffix(".json")?;
        let (epoch, rest) = stem.split_once('-')?;
        let from_seq = rest.strip_suffix(AFTER_REFERENCE).unwrap_or(rest);
        let place = ChainPlace {
            epoch: epoch.parse().ok()?,
            from_seq: from_seq.parse().ok()?,
            after_reference: from_seq != rest,
        };
        (place.name() == stem).then_some(place)
    }
}

impl LakeLayout {
    /// Names the objects of `server`.
    #[must_use]
    pub fn new(server: LakeServer) -> LakeLayout {
        LakeLayout { server }
    }

    /// Returns the name of the copy.
    #[must_use]
    pub fn server(&self) -> &LakeServer {
        &self.server
    }

    fn own_folder(&self, folder: &str) -> String {
        format!("{folder}/server={}", self.server.as_str())
    }

    fn in_folder(&self, folder: &str, name: &str) -> String {
        format!("{}/{name}", self.own_folder(folder))
    }

    /// The folder of claims and intents.
    #[must_use]
    pub fn claims(&self) -> String {
        self.own_folder("claims")
    }

    /// The folder of manifests.
    #[must_use]
    pub fn manifests(&self) -> String {
        self.own_folder("manifests")
    }

    /// The folder of announced epochs.
    #[must_use]
    pub fn epochs(&self) -> String {
        self.own_folder("epochs")
    }

    /// Says whose an epoch is: put before its first package.
    #[must_use]
    pub fn claim(&self, epoch: i64) -> String {
        self.in_folder("claims", &format!("{epoch:06}.json"))
    }

    /// Sorts before the intents of an epoch from a change on; the claim of the epoch, and whatever a later epoch has, sort
    /// behind them.
    #[must_use]
    pub fn before_intents(&self, epoch: i64, from_seq: i64) -> String {
        self.in_folder("claims", &format!("{epoch:06}-{from_seq:012}"))
    }

    /// Says what a package will hold: put before any of its data.
    #[must_use]
    pub fn intent(&self, place: ChainPlace) -> String {
        self.in_folder("claims", &format!("{}.json", place.name()))
    }

    /// The intent of the package whose manifest has this name.
    #[must_use]
    pub fn intent_of(&self, manifest: &str) -> String {
        self.in_folder("claims", manifest.rsplit('/').next().unwrap_or_default())
    }

    /// Manifest of a package: put last.
    #[must_use]
    pub fn manifest(&self, place: ChainPlace) -> String {
        self.in_folder("manifests", &format!("{}.json", place.name()))
    }

    /// Says that an epoch is whole and readers may use it.
    #[must_use]
    pub fn epoch(&self, epoch: i64) -> String {
        self.in_folder("epochs", &format!("{epoch:06}.json"))
    }

    /// The folder of all files of changes.
    #[must_use]
    pub fn all_changes(&self) -> String {
        self.own_folder("changes")
    }

    /// A file of changes; `day` is a date such as `2026-11-26`, `file` its name on disk.
    #[must_use]
    pub fn changes(&self, epoch: i64, day: &str, file: &str) -> String {
        self.in_folder("changes", &format!("day={day}/{epoch:06}-{file}"))
    }

    /// A file of a reference table; `file` is its name on disk, without folders.
    #[must_use]
    pub fn reference(&self, table: &str, epoch: i64, file: &str) -> String {
        self.in_folder(&format!("reference/{table}"), &format!("{epoch:06}-{file}"))
    }

    /// How fresh the copy is: the only object that is replaced.
    #[must_use]
    pub fn status(&self) -> String {
        self.own_folder("status") + ".json"
    }

    /// What `check` puts, to see whether the store refuses a second one of that name.
    #[must_use]
    pub fn probe(&self) -> String {
        self.own_folder("probes") + ".json"
    }
}

/// Returns the name of the copy whose object this is.
#[must_use]
pub fn server_of(name: &str) -> Option<LakeServer> {
    let part = name.split('/').find_map(|part| part.strip_prefix("server="))?;
    // The status is a file.
    let is_status = name.starts_with("status/") || name.starts_with("probes/");
    LakeServer::parse(if is_status { part.strip_suffix(".json")? } else { part })
}

/// Returns the epoch at the beginning of the name of an intent, a manifest or a data file.
#[must_use]
pub fn epoch_in(name: &str) -> Option<i64> {
    name.rsplit('/').next()?.split_once('-')?.0.parse().ok()
}

/// Returns the number of the epoch whose claim or announcement has this name; intents have none.
#[must_use]
pub fn epoch_of(name: &str) -> Option<i64> {
    let stem = name.rsplit('/').next()?.strip_suffix(".json")?;
    (6 <= stem.len() && stem.bytes().all(|it| it.is_ascii_digit())).then(|| stem.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_server_in_their_names_and_data_a_folder_of_its_own() {
        let layout = LakeLayout::new(LakeServer::parse("acme.haloitsm.com").unwrap());
        let place = ChainPlace { epoch: 1, from_seq: 4_200, after_reference: false };
        let after_reference = ChainPlace { after_reference: true, ..place };
        for (name, expected) in [
            (layout.claim(1), "claims/server=acme.haloitsm.com/000001.json"),
            (layout.intent(place), "claims/server=acme.haloitsm.com/000001-000000004200.json"),
            (layout.intent(after_reference), "claims/server=acme.haloitsm.com/000001-000000004200-2.json"),
            (layout.manifest(place), "manifests/server=acme.haloitsm.com/000001-000000004200.json"),
            (layout.epoch(1), "epochs/server=acme.haloitsm.com/000001.json"),
            (
                layout.changes(1, "2026-11-26", "000000004200-000000004211.parquet"),
                "changes/server=acme.haloitsm.com/day=2026-11-26/000001-000000004200-000000004211.parquet",
            ),
            (
                layout.reference("agents", 1, "000000004200-000000004211.parquet"),
                "reference/agents/server=acme.haloitsm.com/000001-000000004200-000000004211.parquet",
            ),
            (layout.status(), "status/server=acme.haloitsm.com.json"),
            (layout.claims(), "claims/server=acme.haloitsm.com"),
        ] {
            assert_eq!(name, expected);
        }
    }

    #[test]
    fn owner_of_an_object_is_in_its_name() {
        for (name, server) in [
            ("claims/server=a.b/000001.json", Some("a.b")),
            ("reference/agents/server=a/x.parquet", Some("a")),
            ("status/server=a.b.json", Some("a.b")),
            ("status/server=a", None),
            ("changes/server=A/x", None),
            ("README", None),
        ] {
            assert_eq!(server_of(name).as_ref().map(LakeServer::as_str), server, "{name}");
        }
    }

    #[test]
    fn intents_of_an_epoch_sort_before_its_claim_and_that_before_the_next_epoch() {
        let layout = LakeLayout::new(LakeServer::parse("a").unwrap());
        let place = ChainPlace { epoch: 1, from_seq: 7, after_reference: false };
        let after_reference = ChainPlace { after_reference: true, ..place };
        let next = ChainPlace { epoch: 2, from_seq: 0, after_reference: false };
        assert!(place < after_reference && after_reference < next);
        let intents = [place, after_reference].map(|place| layout.intent(place));
        for (place, intent) in [place, after_reference].into_iter().zip(&intents) {
            assert!(&layout.before_intents(1, 7) < intent && intent < &layout.claim(1), "{intent}");
            assert_eq!(ChainPlace::of_intent(intent), Some(place));
        }
        assert!(layout.claim(1) < layout.intent(next) && layout.intent(next) < layout.claim(2));
        for name in [layout.claim(1), "x/000001-7.json".into(), "x/000001-000000000007-3.json".into()] {
            assert_eq!(ChainPlace::of_intent(&name), None, "{name}");
        }
    }

    #[test]
    fn only_claims_and_announcements_have_the_number_of_an_epoch() {
        for (name, epoch) in [
            ("claims/server=a/000012.json", Some(12)),
            ("1234567.json", Some(1_234_567)),
            ("claims/server=a/000012-000000000000.json", None),
            ("claims/server=a/12.json", None),
            ("claims/server=a/+00012.json", None),
            ("claims/server=a/000012", None),
        ] {
            assert_eq!(epoch_of(name), epoch, "{name}");
        }
    }
}
