//! `ticket_extra`: what list rows carry beside the attributes, which a column profile of the server decides.
//!
//! - After a verified full scan, what the list carries is stored as the server has it, also that there is none any more.
//! - What the list does not carry stays as it was carried last; that a profile changed is no change of any ticket.
//! - That the list no longer carries an extra is warned of once.
//!
//! One thing cannot be known: where an extra is gone from a row, and the list was not known to carry it when that version
//! was received, it may as well be the profile that no longer shows it. Then the last value stays until the ticket changes
//! again ([`ExtraChecker::stale`]).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use halo_simulator::{RowExtras, Server};
use halosync::ticket::AttributeValue;

use crate::coverage::CoverageEvent;
use crate::db_reader::DbReader;
use crate::invariants::CheckResult;
use crate::reference_model::{ReferenceModel, Seq};
use crate::support::mapping::{self, Tickets};

/// The number of extras.
const COUNT: usize = 4;

/// When a ticket was last modified, and its status: two versions that agree in both are the same.
type Version = (Option<String>, Option<i64>);

/// What was stored before a run.
pub(crate) struct ExtrasBefore {
    seq: Seq,
    extras: Tickets,
    versions: BTreeMap<i64, Version>,
    carried: BTreeSet<String>,
}

impl ExtrasBefore {
    pub(crate) fn read(db: &DbReader, seq: Seq) -> ExtrasBefore {
        ExtrasBefore { seq, extras: db.extras(), versions: db.versions(), carried: db.carried_extras() }
    }
}

/// The facts about a run that matter here.
pub(crate) struct ExtrasRun<'r> {
    pub(crate) run_id: i64,
    pub(crate) before: &'r ExtrasBefore,
    /// The last server event before the first response of its verified full scan, and the tickets that are stored as that
    /// scan showed them.
    pub(crate) verified: Option<(Seq, Vec<i64>)>,
    pub(crate) warnings: &'r [String],
}

/// Follows what is stored of the extras.
#[derive(Default)]
pub(crate) struct ExtraChecker {
    /// The values that the server no longer has and that the client cannot know to be gone, with when that was found.
    stale: BTreeMap<(i64, usize), Seq>,
}

impl ExtraChecker {
    /// Forgets what is known about a database that was replaced by an older copy: its values may be as old.
    pub(crate) fn forget(&mut self, db: &DbReader, model: &ReferenceModel) {
        let all = db.extras().into_keys().flat_map(|id| (0..COUNT).map(move |index| (id, index)));
        self.stale = all.map(|key| (key, model.seq)).collect();
    }

    /// Checks what is stored after a run.
    pub(crate) fn check(
        &mut self,
        db: &DbReader,
        (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
        run: &ExtrasRun<'_>,
    ) -> CheckResult {
        let ExtrasRun { run_id, before, verified, warnings } = run;
        let (profile, changed_at) = (carried_by(server.knobs().row_extras), model.profile_changed_at);
        let (stored, carried) = (db.extras(), db.carried_extras());
        let names: Vec<_> = mapping::extra_columns().collect();
        let none = vec![AttributeValue::Null; COUNT];
        for (id, values) in &stored {
            if !model.tickets.get(id).is_some_and(|ticket| ticket.listed) {
                continue;
            }
            let truth = model.expected_extras(*id, server, now);
            for (index, name) in names.iter().enumerate() {
                let is_known = profile[index]
                    && before.carried.contains(*name)
                    && carried.contains(*name)
                    && changed_at <= before.seq;
                if values[index] == AttributeValue::Null {
                    self.stale.remove(&(*id, index));
                } else if truth[index] == AttributeValue::Null && !is_known {
                    self.stale.insert((*id, index), model.seq);
                }
            }
        }
        if let Some((since, ids)) = verified.as_ref().filter(|(since, _)| changed_at <= *since) {
            for id in ids {
                let truth = model.expected_extras(*id, server, now);
                let values = stored.get(id).unwrap_or(&none);
                for index in (0..COUNT).filter(|index| profile[*index]) {
                    if values[index] == truth[index] {
                        continue;
                    }
                    let changed_at = model.tickets[id].changed_at;
                    let is_stale = self.stale.get(&(*id, index)).is_some_and(|at| changed_at <= *at);
                    if truth[index] == AttributeValue::Null && is_stale {
                        model.coverage.record(CoverageEvent::StaleExtra);
                        continue;
                    }
                    return Err(format!(
                        "{} of ticket {id} is {:?} after run {run_id} although a full scan from #{since} on showed {:?}; {:?}",
                        names[index], values[index], truth[index], model.tickets[id]
                    ));
                }
            }
        }
        check_not_carried(db, model, run, &stored, profile)?;
        let hidden: Vec<_> = warnings.iter().filter(|warning| warning.contains("ticket_extra")).collect();
        if 1 < hidden.len() {
            return Err(format!("run {run_id} warns more than once of a column profile: {hidden:?}"));
        }
        if let [warning] = hidden[..] {
            model.coverage.record(CoverageEvent::ExtraHidden);
            let in_warning = names.iter().filter(|name| warning.contains(**name));
            for name in in_warning {
                if changed_at <= before.seq && !before.carried.contains(*name) {
                    return Err(format!("run {run_id} warns again that {name} is no longer carried"));
                }
            }
        }
        Ok(())
    }
}

/// Checks that what the list did not carry during a run stays as it was. Until a full scan has shown that it is carried no
/// longer, another version without it means that there is none.
fn check_not_carried(
    db: &DbReader,
    model: &ReferenceModel,
    run: &ExtrasRun<'_>,
    stored: &Tickets,
    profile: [bool; COUNT],
) -> CheckResult {
    let ExtrasRun { run_id, before, .. } = run;
    if before.seq < model.profile_changed_at {
        return Ok(());
    }
    let removed: BTreeSet<_> = db.tombstones(*run_id).into_iter().map(|(id, _)| id).collect();
    let none = vec![AttributeValue::Null; COUNT];
    let names: Vec<_> = mapping::extra_columns().collect();
    for (id, version) in db.versions() {
        let Some(version_before) = before.versions.get(&id) else { continue };
        if removed.contains(&id) || model.local_edits.contains_key(&id) {
            continue;
        }
        let [was, is] = [&before.extras, stored].map(|extras| extras.get(&id).unwrap_or(&none));
        for index in (0..COUNT).filter(|index| !profile[*index]) {
            let may_be_gone = is[index] == AttributeValue::Null
                && *version_before != version
                && before.carried.contains(names[index]);
            if was[index] != is[index] && !may_be_gone {
                return Err(format!(
                    "{} of ticket {id} was {:?} and is {:?} after run {run_id}, but the list does not carry it",
                    names[index], was[index], is[index]
                ));
            }
        }
    }
    let is_of_profile = |name: &String| {
        let index = names.iter().position(|it| name.strip_prefix("EXTRA.") == Some(*it));
        index.is_some_and(|index| !profile[index])
    };
    let mut records = db.dated_records(run_id - 1).into_iter();
    let only_profile = records.find(|record| {
        let is_plain = record.op == "u" && record.reason.is_none();
        is_plain && record.run_id == *run_id && record.changed.iter().all(is_of_profile)
    });
    match only_profile {
        Some(record) => {
            Err(format!("a change of the column profile is recorded as one of a ticket: {record:?}"))
        }
        None => Ok(()),
    }
}

fn carried_by(profile: RowExtras) -> [bool; COUNT] {
    let RowExtras { dateclosed, responsedate, dateassigned, parent_id } = profile;
    [dateclosed, responsedate, dateassigned, parent_id]
}
