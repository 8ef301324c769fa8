//! A database with a lake in a folder, and what a reader finds there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::export_env::{ExportEnv, read_files, ticket_row};
use crate::support::database::temporary_directory_in_memory;
use crate::support::test_env::CommandResult;

/// The name of the copy in the lake.
pub(crate) const SERVER: &str = "acme";

/// The variable with the address of the lake.
pub(crate) const URL: &str = "HALOSYNC_LAKE__URL";

/// A row of a data file, by column.
pub(crate) type LakeRow = BTreeMap<String, Field>;

/// A database that a test writes itself, and a lake.
pub(crate) struct LakeEnv {
    env: ExportEnv,
    /// The folder of a local lake.
    lake: PathBuf,
    /// Where the lake is, and what a store needs to be reached.
    variables: RefCell<Vec<(&'static str, String)>>,
    _own_lake: Option<TempDir>,
}

impl Deref for LakeEnv {
    type Target = ExportEnv;

    fn deref(&self) -> &ExportEnv {
        &self.env
    }
}

impl LakeEnv {
    /// A lake of its own; `more` are further keys of `[lake]`, or sections behind it.
    pub(crate) fn new(more: &str) -> LakeEnv {
        let lake = temporary_directory_in_memory();
        let env = LakeEnv::with(SERVER, more, &format!("file://{}", lake.path().display()), []);
        LakeEnv { lake: lake.path().to_owned(), _own_lake: Some(lake), ..env }
    }

    /// A copy under a name in a lake that others share.
    pub(crate) fn in_folder(lake: &Path, server: &str) -> LakeEnv {
        let env = LakeEnv::with(server, "", &format!("file://{}", lake.display()), []);
        LakeEnv { lake: lake.to_owned(), ..env }
    }

    /// A copy under a name in a store that is reached with these environment variables.
    pub(crate) fn with(
        server: &str,
        more: &str,
        url: &str,
        variables: impl IntoIterator<Item = (&'static str, String)>,
    ) -> LakeEnv {
        let settings = format!("\n[export]\ndir = \"export\"\n\n[lake]\nserver = \"{server}\"\n{more}\n");
        let url = (URL, url.to_owned());
        LakeEnv {
            env: ExportEnv::new(&settings),
            lake: PathBuf::new(),
            variables: RefCell::new([url].into_iter().chain(variables).collect()),
            _own_lake: None,
        }
    }

    /// Changes how the store is reached from now on.
    pub(crate) fn set_variable(&self, name: &'static str, value: String) {
        let mut variables = self.variables.borrow_mut();
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    }

    pub(crate) fn lake(&self) -> &Path {
        &self.lake
    }

    pub(crate) fn url(&self) -> String {
        self.variables.borrow().iter().find(|(name, _)| *name == URL).unwrap().1.clone()
    }

    /// Stores tickets, each with this summary.
    pub(crate) fn edit(&self, ids: impl IntoIterator<Item = i64>, summary: &str) {
        let rows: Vec<_> = ids.into_iter().map(|id| ticket_row(id, summary)).collect();
        self.store_rows(&rows);
    }

    pub(crate) fn lake_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.env.command(arguments);
        command.envs(self.variables.borrow().iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command with `--json`.
    pub(crate) fn lake_run(&self, arguments: &[&str]) -> CommandResult {
        let arguments = [&["--json"][..], arguments].concat();
        CommandResult::of(self.lake_command(&arguments).spawn().unwrap())
    }

    /// A copy of this machine as it is now.
    pub(crate) fn clone_machine(&self) -> TempDir {
        let copy = temporary_directory_in_memory();
        for (name, content) in read_files(self.env.directory()) {
            let path = copy.path().join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
        }
        copy
    }

    /// Does something on a copy of this machine, which has its paths meanwhile.
    pub(crate) fn on<T>(&self, machine: &TempDir, work: impl FnOnce() -> T) -> T {
        self.swap(machine);
        let done = work();
        self.swap(machine);
        done
    }

    fn swap(&self, machine: &TempDir) {
        let aside = temporary_directory_in_memory();
        for name in ["halosync.db", "halosync.db-wal", "halosync.db-shm", "export"] {
            let (own, other, between) =
                (self.env.path(name), machine.path().join(name), aside.path().join(name));
            let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            };
            rename(&own, &between);
            rename(&other, &own);
            rename(&between, &other);
        }
    }

    /// Makes two packages: tickets 1 to 3, and a change of one.
    pub(crate) fn push_twice(&self) {
        self.edit(1..=3, "a");
        self.push();
        self.edit([1], "b");
        self.push();
    }

    /// Removes an object, or all below a folder.
    pub(crate) fn lose(&self, name: &str) {
        let path = self.lake.join(name);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
    }

    /// Takes the lake away, as an outage does, until [`LakeEnv::bring_lake_back`].
    pub(crate) fn take_lake_away(&self) {
        fs::rename(self.lake(), self.path("elsewhere")).unwrap();
    }

    pub(crate) fn bring_lake_back(&self) {
        fs::rename(self.path("elsewhere"), self.lake()).unwrap();
    }

    /// Pushes; it must succeed.
    #[track_caller]
    pub(crate) fn push(&self) -> Json {
        self.lake_run(&["lake", "push"]).success().json
    }

    /// Asserts that `lake verify` finds nothing.
    #[track_caller]
    pub(crate) fn verify(&self) {
        self.lake_run(&["lake", "verify", &self.url()]).success();
    }

    /// The objects of the lake, by name.
    pub(crate) fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        read_files(&self.lake)
    }

    /// Their names.
    pub(crate) fn object_names(&self) -> Vec<String> {
        self.objects().into_keys().map(|it| it.display().to_string()).collect()
    }

    fn document(&self, name: &str) -> Json {
        serde_json::from_slice(&fs::read(self.lake.join(name)).unwrap()).unwrap()
    }

    /// The newest announced epoch.
    pub(crate) fn epoch(&self) -> i64 {
        let folder = self.lake.join(format!("epochs/server={SERVER}"));
        let names = read_files(&folder).into_keys();
        let numbers = names.map(|it| it.to_str().unwrap().trim_end_matches(".json").parse::<i64>().unwrap());
        numbers.max().expect("an announced epoch")
    }

    /// The manifests of the epoch that readers use, in order.
    pub(crate) fn manifests(&self) -> Vec<Json> {
        let prefix = format!("manifests/server={SERVER}/{:06}-", self.epoch());
        let names = self.object_names().into_iter().filter(|name| name.starts_with(&prefix));
        let mut manifests: Vec<_> = names.map(|name| self.document(&name)).collect();
        let number = |manifest: &Json, key: &str| manifest[key].as_i64().unwrap();
        manifests.sort_by_key(|it| (number(it, "from_seq"), number(it, "to_seq")));
        manifests
    }

    /// The rows of the files with a role in the epoch that readers use, in order.
    pub(crate) fn rows(&self, role: &str) -> Vec<LakeRow> {
        let mut rows = Vec::new();
        for manifest in self.manifests() {
            for file in manifest["files"].as_array().unwrap().iter().filter(|file| file["role"] == role) {
                rows.extend(read_rows(&self.lake.join(file["object"].as_str().unwrap())));
            }
        }
        rows
    }

    /// The tickets as a reader of the lake has them: the newest row of each, unless it is deleted, with its summary.
    pub(crate) fn fold(&self) -> BTreeMap<i64, String> {
        let mut newest: BTreeMap<i64, (i64, LakeRow)> = BTreeMap::new();
        for row in self.rows("tickets") {
            let (id, seq) = (integer(&row, "UID"), integer(&row, "_seq"));
            if newest.get(&id).is_none_or(|(known, _)| *known <= seq) {
                newest.insert(id, (seq, row));
            }
        }
        let present = newest.into_iter().filter(|(_, (_, row))| text(row, "_op") != Some("d"));
        present.map(|(id, (_, row))| (id, text(&row, "NAME").unwrap_or_default().to_owned())).collect()
    }

    /// The tickets of the database, with their summaries.
    pub(crate) fn stored(&self) -> BTreeMap<i64, String> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT UID, COALESCE(NAME, '') FROM tickets").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Asserts that a reader of the lake has what the database has.
    #[track_caller]
    pub(crate) fn assert_lake_is_whole(&self) {
        self.verify();
        assert_eq!(self.fold(), self.stored());
    }
}

/// The rows of a Parquet file.
pub(crate) fn read_rows(path: &Path) -> Vec<LakeRow> {
    let reader = SerializedFileReader::new(Bytes::from(fs::read(path).unwrap())).unwrap();
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().into_columns().into_iter().collect()).collect()
}

#[track_caller]
pub(crate) fn integer(row: &LakeRow, column: &str) -> i64 {
    match row.get(column) {
        Some(Field::Long(number)) => *number,
        other => panic!("{column} is {other:?}"),
    }
}

pub(crate) fn text<'r>(row: &'r LakeRow, column: &str) -> Option<&'r str> {
    match row.get(column) {
        Some(Field::Str(text)) => Some(text),
        _ => None,
    }
}
