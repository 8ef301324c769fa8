//! The reference tables: what the server's lists showed, and what must therefore be stored. Shares no code with the client.
//!
//! - A list that the server refuses, that cannot be read, is empty, or lost more than half of its rows changes nothing.
//! - Any other one is stored: each of its rows has its name and is present. A row that it does not have stays with the name
//!   that it had, and is not present.
//! - Lists that are read page by page are stored page by page, and only their end says what is not present, if the server's
//!   count agrees.
//! - A table that the settings no longer name is empty.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::coverage::CoverageEvent;
use crate::db_reader::DbReader;
use crate::invariants::CheckResult;
use crate::reference_model::ReferenceModel;

/// The numbers of the key of a row.
type RowKey = Vec<i64>;

/// The rows of a table by key: name, and whether the server lists them.
pub(crate) type ReferenceRows = BTreeMap<RowKey, (String, bool)>;

/// The rows of all tables by name.
pub(crate) type StoredLists = BTreeMap<&'static str, ReferenceRows>;

/// A list of the server and its table.
#[derive(Debug)]
pub(crate) struct ServerList {
    pub(crate) table: &'static str,
    path: &'static str,
    /// The properties with the key, each with its column.
    key: &'static [(&'static str, &'static str)],
    /// The property with the name, with its column.
    name: (&'static str, &'static str),
    /// Whether it is read whatever the settings say.
    pub(crate) is_always_read: bool,
}

const fn list(table: &'static str, path: &'static str) -> ServerList {
    ServerList { table, path, key: &[("id", "ID")], name: ("name", "NAME"), is_always_read: false }
}

pub(crate) static SERVER_LISTS: [ServerList; 10] = [
    ServerList { is_always_read: true, ..list("statuses", "/api/status") },
    ServerList { is_always_read: true, ..list("ticket_types", "/api/tickettype") },
    list("agents", "/api/agent"),
    list("teams", "/api/team"),
    ServerList {
        key: &[("slaid", "SLA_ID"), ("priorityid", "PRIORITY_ID")],
        ..list("priorities", "/api/priority")
    },
    list("slas", "/api/sla"),
    ServerList { name: ("value", "VALUE"), ..list("categories", "/api/category") },
    list("clients", "/api/client"),
    list("sites", "/api/site"),
    list("users", "/api/users"),
];

impl ServerList {
    /// The list of a request; `None` for all other requests, also for the one that asks which statuses are open.
    pub(crate) fn of_request(path: &str, query: &str) -> Option<&'static ServerList> {
        let path = path.to_ascii_lowercase();
        SERVER_LISTS.iter().find(|list| list.path == path).filter(|_| !query.contains("excludeclosed"))
    }

    /// Its rows in the database.
    pub(crate) fn stored(&self, db: &DbReader) -> ReferenceRows {
        let keys: Vec<_> = self.key.iter().map(|(_, column)| *column).collect();
        let sql = format!("SELECT {}, {}, PRESENT FROM {}", keys.join(", "), self.name.1, self.table);
        let rows = db.query(&sql, |row| {
            let key = (0..keys.len()).map(|column| row.get(column).expect("a number")).collect();
            let (name, present) = (keys.len(), keys.len() + 1);
            (key, (row.get(name).expect("a name"), row.get(present).expect("a truth value")))
        });
        rows.into_iter().collect()
    }

    /// The elements of a body: those of the only array of that name, or the body itself.
    fn elements<'b>(&self, body: &'b mut Json) -> Option<&'b mut Vec<Json>> {
        if body.is_array() {
            return body.as_array_mut();
        }
        let name = if body.get("results").is_some() { "results" } else { self.table };
        body.get_mut(name)?.as_array_mut()
    }

    /// Parses a response.
    pub(crate) fn parse(&'static self, query: &str, status: u16, body: &[u8]) -> ListedRows {
        let page = url::form_urlencoded::parse(query.as_bytes())
            .find(|(name, _)| name == "page_no")
            .and_then(|(_, number)| number.parse().ok());
        let mut listed = ListedRows { list: self, page, record_count: None, rows: None, status };
        let Some(mut body) = (status == 200).then(|| serde_json::from_slice::<Json>(body).ok()).flatten()
        else {
            return listed;
        };
        listed.record_count = body.get("record_count").and_then(Json::as_u64);
        let Some(elements) = self.elements(&mut body) else { return listed };
        // Of two rows with the same key the one that is not hidden counts.
        elements.sort_by_key(|row| row.get("ishidden") != Some(&Json::Bool(true)));
        let row = |row: &Json| {
            let key = self.key.iter().map(|(property, _)| whole(&row[*property]).expect("a number"));
            let name = row[self.name.0].as_str().expect("a name");
            // Names of statuses are attributes of tickets, as they are.
            let name = if self.table == "statuses" { name } else { name.trim() };
            (key.collect(), name.to_owned())
        };
        listed.rows = Some(elements.iter().map(row).collect());
        listed
    }
}

fn whole(number: &Json) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "ids are small")]
    let truncated = |number: f64| number as i64;
    number.as_i64().or_else(|| number.as_f64().map(truncated))
}

/// What is wrong with a list for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListOutage {
    /// The server refuses it.
    Forbidden,
    /// The server does not have it.
    Missing,
    /// It has no rows.
    Empty,
    /// It has a third of its rows, and says nothing about the others.
    Shrunk,
    /// A web page answers.
    WebPage,
}

impl ListOutage {
    pub(crate) const ALL: [ListOutage; 5] = [
        ListOutage::Forbidden,
        ListOutage::Missing,
        ListOutage::Empty,
        ListOutage::Shrunk,
        ListOutage::WebPage,
    ];

    /// The response in place of another one: status and body, `None` where that stays as it is.
    pub(crate) fn apply(self, list: &ServerList, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let mut json = serde_json::from_slice::<Json>(body).ok()?;
        let keep = match self {
            ListOutage::Forbidden => return Some((403, br#"{"Message":"No permission."}"#.to_vec())),
            ListOutage::Missing => return Some((404, br#"{"Message":"No such resource."}"#.to_vec())),
            ListOutage::WebPage => return Some((200, b"<html>Maintenance</html>".to_vec())),
            ListOutage::Empty => 0,
            ListOutage::Shrunk => 1,
        };
        let elements = list.elements(&mut json)?;
        let kept = keep * elements.len() / 3;
        elements.truncate(kept);
        if let Some(count) = json.get_mut("record_count") {
            *count = kept.into();
        }
        Some((200, json.to_string().into_bytes()))
    }
}

/// What a response showed of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedRows {
    list: &'static ServerList,
    /// The page of a list that is read page by page.
    page: Option<u32>,
    record_count: Option<u64>,
    /// The names by key; `None` where the response shows no list.
    rows: Option<BTreeMap<RowKey, String>>,
    status: u16,
}

/// How far a list was read page by page: the keys on the pages so far.
type SeenKeys = BTreeSet<RowKey>;

/// Follows the lists that the server showed.
#[derive(Default)]
pub(crate) struct ReferenceChecker {
    /// The lists that are being read page by page. What is not there is not known, because the database is another one.
    passes: BTreeMap<&'static str, SeenKeys>,
}

/// The facts about a run that matter here.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, none excludes another")]
pub(crate) struct ReferenceRun<'r> {
    pub(crate) run_id: i64,
    /// The tables that the settings name.
    pub(crate) selected: &'r [&'static str],
    /// The tables before the run.
    pub(crate) before: &'r StoredLists,
    /// What the client received, in order.
    pub(crate) listed: &'r [ListedRows],
    /// Whether the settings name ticket types.
    pub(crate) resolves_types: bool,
    /// Whether the client was killed or stopped, so that it may have received what it did not store.
    pub(crate) is_cut_off: bool,
    pub(crate) is_complete: bool,
    pub(crate) is_undisturbed: bool,
}

/// Reads all tables.
pub(crate) fn stored_lists(db: &DbReader) -> StoredLists {
    SERVER_LISTS.iter().map(|list| (list.table, list.stored(db))).collect()
}

impl ReferenceChecker {
    /// Forgets how far lists were read: an older copy of the database was restored.
    pub(crate) fn forget(&mut self) {
        self.passes.clear();
    }

    /// Checks the tables after a run.
    pub(crate) fn check(
        &mut self,
        db: &DbReader,
        model: &mut ReferenceModel,
        run: &ReferenceRun<'_>,
    ) -> CheckResult {
        let results = db.reference_results();
        for list in &SERVER_LISTS {
            let (table, before) = (list.table, &run.before[list.table]);
            let stored = list.stored(db);
            if !(list.is_always_read || run.selected.contains(&table)) {
                self.passes.remove(table);
                let is_emptied = stored.is_empty() && !results.contains_key(table);
                let is_as_before = !run.is_complete && stored == *before;
                if is_emptied || is_as_before {
                    continue;
                }
                return Err(format!("{table} is not read, but not empty after run {}", run.run_id));
            }
            let listed = run.listed.iter().filter(|listed| listed.list.table == table);
            // The names of the settings are resolved before anything is stored, if the stored ones do not suffice.
            let resolves = table == "ticket_types" && run.resolves_types;
            let mut rows_without_first = before.clone();
            for response in listed.clone().filter(|it| resolves && it.rows.is_some()).skip(1) {
                self.apply(response, &mut rows_without_first, model);
            }
            let mut rows = before.clone();
            let mut rows_before_last = rows.clone();
            let mut is_known = true;
            let (mut last_status, mut is_doubtful_at_end) = (None, false);
            for response in listed {
                last_status = Some(response.status);
                rows_before_last.clone_from(&rows);
                let applied = self.apply(response, &mut rows, model);
                is_known &= applied != Applied::Unknown;
                is_doubtful_at_end = applied == Applied::Doubtful;
            }
            if run.is_cut_off {
                // What came last may not have been stored. How far it was read is then told by the next page.
                self.passes.remove(table);
            }
            let may_be = |expected: &ReferenceRows| is_known && stored == *expected;
            let is_resolved = resolves && may_be(&rows_without_first);
            if !(may_be(&rows) || is_resolved || run.is_cut_off && may_be(&rows_before_last)) {
                check_unknown(is_known, before, &stored).map_err(|()| {
                    format!(
                        "{table} is not what the lists showed after run {}: {}",
                        run.run_id,
                        difference(&stored, &rows)
                    )
                })?;
            }
            if run.is_undisturbed {
                let expected: &[&str] = match last_status {
                    Some(200) if is_doubtful_at_end => &["empty", "shrunk"],
                    Some(200) => &["listed"],
                    // A firewall may answer with a web page.
                    Some(403) => &["forbidden", "unreadable"],
                    other => return Err(format!("{table} was not read in run {}: {other:?}", run.run_id)),
                };
                let result = results.get(table).map_or("never read", String::as_str);
                if !expected.contains(&result) {
                    return Err(format!("{table} is {result} after run {}, not {expected:?}", run.run_id));
                }
            }
        }
        Ok(())
    }

    /// Applies a response to the rows.
    fn apply(
        &mut self,
        response: &ListedRows,
        rows: &mut ReferenceRows,
        model: &mut ReferenceModel,
    ) -> Applied {
        let ListedRows { list, page, record_count, rows: listed, status } = response;
        let Some(listed) = listed else {
            model.coverage.record(if *status == 403 {
                CoverageEvent::ListForbidden
            } else {
                CoverageEvent::ListUnreadable
            });
            return Applied::Nothing;
        };
        let names = listed.iter().map(|(key, name)| (key.clone(), (name.clone(), true)));
        let Some(page) = page else {
            if is_doubtful(list, listed.len(), rows) {
                model.coverage.record(CoverageEvent::ListDoubtful);
                return Applied::Doubtful;
            }
            rows.extend(names);
            mark_absent(rows, |key| listed.contains_key(key), model);
            return Applied::Whole;
        };
        rows.extend(names);
        if *page == 1 {
            self.passes.insert(list.table, SeenKeys::new());
        }
        let Some(seen) = self.passes.get_mut(list.table) else { return Applied::Unknown };
        if 1 < *page {
            model.coverage.record(CoverageEvent::ListPaged);
        }
        let seen_before = seen.len();
        seen.extend(listed.keys().cloned());
        let counted = record_count.map(|count| count <= seen.len() as u64);
        let is_end = seen.len() == seen_before || counted == Some(true);
        if !is_end || counted == Some(false) {
            return Applied::Nothing;
        }
        if is_doubtful(list, seen.len(), rows) {
            model.coverage.record(CoverageEvent::ListDoubtful);
            return Applied::Doubtful;
        }
        mark_absent(rows, |key| seen.contains(key), model);
        Applied::Whole
    }
}

/// What a response comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    /// It shows no list, or not yet all of it.
    Nothing,
    /// The list is doubtful.
    Doubtful,
    /// It is the whole list, or its end.
    Whole,
    /// It is not known on which page the list began.
    Unknown,
}

/// Whether a list cannot be all of it: it is empty, or lost more than half of the rows.
fn is_doubtful(list: &ServerList, shown: usize, rows: &ReferenceRows) -> bool {
    let present = rows.values().filter(|(_, is_present)| *is_present).count();
    match shown {
        0 => 0 < present || list.is_always_read,
        shown => 2 * shown < present,
    }
}

fn mark_absent(rows: &mut ReferenceRows, is_listed: impl Fn(&RowKey) -> bool, model: &mut ReferenceModel) {
    for (_, (_, is_present)) in rows.iter_mut().filter(|(key, _)| !is_listed(key)) {
        if std::mem::take(is_present) {
            model.coverage.record(CoverageEvent::NamedRowAbsent);
        }
    }
}

/// Where it is not known how far a list was read, no row may be lost all the same.
fn check_unknown(is_known: bool, before: &ReferenceRows, stored: &ReferenceRows) -> Result<(), ()> {
    let is_kept = before.keys().all(|key| stored.contains_key(key));
    if is_known || !is_kept { Err(()) } else { Ok(()) }
}

fn difference(stored: &ReferenceRows, expected: &ReferenceRows) -> String {
    let keys: BTreeSet<_> = stored.keys().chain(expected.keys()).collect();
    let different = keys.into_iter().filter(|key| stored.get(*key) != expected.get(*key));
    let words =
        different.map(|key| format!("{key:?} is {:?}, expected {:?}", stored.get(key), expected.get(key)));
    words.take(5).collect::<Vec<_>>().join("; ")
}
