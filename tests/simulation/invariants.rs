//! Checks the invariants against the server, the reference model and the database file alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{DeletedGet, HiddenGet, Server};
use halosync::ticket::{AttributeValue, Timestamp};

use crate::change_log;
use crate::change_times::{ChangeTimes, DatedRun};
use crate::client::RunEnd;
use crate::coverage::CoverageEvent;
use crate::db_reader::{DbReader, ScanRecord, WatermarkMove};
use crate::extras::{ExtraChecker, ExtrasBefore, ExtrasRun};
use crate::fault_transport::RunTrace;
use crate::promise::{RunFacts, ShownTicket};
use crate::reference_lists::{ReferenceChecker, ReferenceRun, StoredLists};
use crate::reference_model::{ModelTicket, ReferenceModel, Seq, last_update, ticket_type};
use crate::scenario::Hazards;
use crate::support::mapping::{self, Fields, Tickets};

/// Why the watermark may move.
const REASONS: &[&str] = &[
    "accepted_shortfall",
    "clock_stepped",
    "created",
    "reset",
    "scope_changed",
    "unidentified_rows",
    "verified",
];

/// The reasons of moves that a scan proves.
const PROVED: &[&str] = &["accepted_shortfall", "unidentified_rows", "verified"];

/// `Err` describes the violated invariant.
pub(crate) type CheckResult = Result<(), String>;

/// The state at the start of a run.
pub(crate) struct Before {
    pub(crate) run_id: i64,
    pub(crate) watermark: Option<Timestamp>,
    pub(crate) seq: Seq,
    pub(crate) extras: ExtrasBefore,
    pub(crate) unlisted: BTreeSet<i64>,
    /// The reference tables.
    pub(crate) lists: StoredLists,
    /// The stored tickets, if values of rows may be rejected.
    pub(crate) tickets: Option<Tickets>,
    /// Whether a run is next that reads everything and that nothing disturbs; one that resumes an earlier scan is not.
    pub(crate) is_undisturbed_next: bool,
}

/// The first list response that a run received: the last server event before it, and the server's time on it.
#[derive(Clone, Copy)]
struct FirstList {
    seq: Seq,
    date: DateTime<Utc>,
}

/// Checks the invariants of one simulation run.
pub(crate) struct InvariantChecker {
    overlap: TimeDelta,
    hazards: Hazards,
    /// How many pages may be prefetched.
    prefetched: usize,
    /// The first list response of each run.
    first_lists: BTreeMap<i64, FirstList>,
    /// The first list response of each scan: a resumed scan began in an earlier run.
    scan_starts: BTreeMap<i64, FirstList>,
    /// The server's time on the last list response of each run, which may contain more than one scan.
    last_lists: BTreeMap<i64, DateTime<Utc>>,
    reference: ReferenceChecker,
    extras: ExtraChecker,
    change_times: ChangeTimes,
}

impl InvariantChecker {
    pub(crate) fn new(overlap: TimeDelta, hazards: Hazards, prefetched: usize) -> InvariantChecker {
        InvariantChecker {
            overlap,
            hazards,
            prefetched,
            first_lists: BTreeMap::new(),
            scan_starts: BTreeMap::new(),
            last_lists: BTreeMap::new(),
            reference: ReferenceChecker::default(),
            extras: ExtraChecker::default(),
            change_times: ChangeTimes::default(),
        }
    }

    /// Forgets what happened after the newest run and scan of a database that was restored.
    pub(crate) fn forget_newer(&mut self, db: &DbReader, model: &ReferenceModel) {
        let (run_id, scan_id) = (db.last_run(), db.scans().last().map_or(0, |scan| scan.scan_id));
        self.first_lists.retain(|id, _| *id <= run_id);
        self.last_lists.retain(|id, _| *id <= run_id);
        self.scan_starts.retain(|id, _| *id <= scan_id);
        self.reference.forget();
        self.extras.forget(db, model);
        self.change_times.forget_newer(run_id, scan_id);
    }

    /// Checks the state after a run, however it ended.
    pub(crate) fn check_after_run(
        &mut self,
        db: &DbReader,
        (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
        trace: &RunTrace,
        before: &Before,
        end: &RunEnd,
    ) -> CheckResult {
        let run_id = db.last_run();
        if run_id == before.run_id {
            return Ok(());
        }
        if let Some(first) = trace.first_list()
            && let Some(date) = first.received
        {
            self.first_lists.insert(run_id, FirstList { seq: first.seq, date });
        }
        let (scans, moves) = (db.scans(), db.watermark_moves());
        for scan in scans.iter().filter(|scan| scan.run_id == run_id) {
            if let Some(first) = self.first_lists.get(&run_id) {
                self.scan_starts.entry(scan.scan_id).or_insert(*first);
            }
        }
        if let Some(last) = trace.lists.iter().filter_map(|list| list.received).max() {
            self.last_lists.insert(run_id, last);
        }
        check_purged(db, model, |id| model.local_edits.contains_key(&id))?;
        let of_run: Vec<&ScanRecord> = scans.iter().filter(|scan| scan.run_id == run_id).collect();
        let settled = of_run.iter().any(|scan| scan.is_settled());
        self.check_watermark_moves(&moves, &scans, run_id)?;
        let (watermark, journaled) = (db.watermark(), moves.last().and_then(|step| step.to));
        if watermark != journaled {
            return Err(format!("the watermark is {watermark:?}, but {journaled:?} in the journal"));
        }
        let is_complete = db.is_complete(run_id);
        if settled
            && is_complete
            && let (Some(watermark), Some(first)) = (watermark, self.first_lists.get(&run_id))
            && moves.last().is_some_and(|step| step.run_id != Some(run_id))
            // A step of the clock that was answered before is answered by asking that much further back.
            && first.date < watermark.minus(self.overlap + db.clock_difference()).instant()
        {
            return Err(format!(
                "the server's time is {}, but the watermark stays at {watermark}",
                first.date
            ));
        }
        for _ in db.went_back(run_id) {
            model.coverage.record(CoverageEvent::WentBack);
        }
        let scope = db.scope();
        // What was stored before may have changed its type since; the initial load that follows brings it back.
        let scope_changed =
            moves.iter().any(|step| step.run_id == Some(run_id) && step.reason == "scope_changed");
        check_tombstones(db, (model, server, now), run_id, before.seq, &scope.0, scope_changed)?;
        let removed = db.tombstones(run_id).iter().filter(|(_, reason)| reason != "out_of_scope").count();
        if 20 < removed && !trace.accepts_deletes() && db.tickets().len() + removed < 20 * removed {
            return Err(format!("run {run_id} removed {removed} tickets at once without --accept-deletes"));
        }
        if scope.1
            && db.is_initial_load_finished()
            && let Some(id) =
                db.forgotten_custom_fields().iter().find(|id| !model.local_edits.contains_key(id))
        {
            return Err(format!("the custom fields of ticket {id} are neither known nor pending"));
        }
        if scope_changed {
            // Earlier promises were about another scope.
            for id in model.listed_ids() {
                model.update(id, |ticket| ticket.promised = false);
            }
        }

        let is_by_scan =
            |it: &WatermarkMove| it.run_id == Some(run_id) && PROVED.contains(&it.reason.as_str());
        let run = ScannedRun {
            run_id,
            scans: &of_run,
            types: &scope.0,
            is_complete,
            moved: moves.iter().any(is_by_scan),
        };
        let read = self.check_promise(db, (model, server, now), trace, before, &run)?;
        self.check_beside_tickets(db, (model, server, now), (trace, before, end), run_id, read.verified)?;
        let dated = DatedRun {
            run_id,
            clock_offset: TimeDelta::seconds(trace.scenario().clock_offset),
            scans: &scans,
            moves: &moves,
            unlisted_before: &before.unlisted,
            is_exchange_undetectable: read.is_exchange_undetectable,
            is_cached: 0 < server.knobs().detail_cache_s,
        };
        self.change_times.check(db, model, &dated)
    }

    /// Checks the reference tables and what the list carries beside the attributes.
    fn check_beside_tickets(
        &mut self,
        db: &DbReader,
        (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
        (trace, before, end): (&RunTrace, &Before, &RunEnd),
        run_id: i64,
        verified: Option<(Seq, Vec<i64>)>,
    ) -> CheckResult {
        let reference = ReferenceRun {
            run_id,
            selected: &trace.scenario().reference,
            before: &before.lists,
            listed: &trace.listed,
            resolves_types: !trace.scenario().scope.types.is_empty(),
            is_cut_off: end.is_cut_off(),
            is_complete: db.is_complete(run_id),
            is_undisturbed: before.is_undisturbed_next,
        };
        self.reference.check(db, model, &reference)?;
        let extras = ExtrasRun {
            run_id,
            before: &before.extras,
            verified,
            warnings: end.report().map_or(&[], |report| &report.warnings),
        };
        self.extras.check(db, (model, server, now), &extras)
    }

    /// Checks what the run promises, and that everything that was promised is stored.
    fn check_promise(
        &self,
        db: &DbReader,
        (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
        trace: &RunTrace,
        before: &Before,
        run: &ScannedRun<'_>,
    ) -> Result<RunRead, String> {
        let run_id = run.run_id;
        let settled: Vec<_> = run.scans.iter().filter(|scan| scan.is_settled()).collect();
        let full = settled.iter().find(|scan| scan.full);
        let promised = !settled.is_empty() || run.moved;
        let undetectable =
            trace.has_undetectable_exchange(model, full.is_some() && !db.reads_two_lists(), self.prefetched);
        if undetectable {
            model.coverage.record(CoverageEvent::UndetectableExchange);
        }
        let stored = Stored { tickets: db.tickets(), rejected: db.rejected_values() };
        let (mut shown, mut since) = (Vec::new(), 0);
        if promised || before.is_undisturbed_next {
            let first = match full {
                Some(scan) => self.scan_starts.get(&scan.scan_id),
                None => self.first_lists.get(&run_id),
            };
            let requested = run.scans.iter().filter_map(|scan| scan.updated_from).min();
            let required = before.watermark.map(|watermark| watermark.minus(self.overlap));
            let reads_all = full.is_some() || before.is_undisturbed_next;
            let lower_bound = if reads_all { None } else { requested.min(required).or(requested) };
            let list =
                ScannedList { since: first.map_or(0, |first| first.seq), lower_bound, types: run.types };
            since = list.since;
            shown = shown_tickets(&stored, model, server, now, &list);
        }
        let accept_shortfall = usize::try_from(self.hazards.accept_shortfall).expect("a small number");
        if promised {
            model.coverage.record(if full.is_some() {
                CoverageEvent::FullScanVerified
            } else {
                CoverageEvent::IncrementalScanVerified
            });
            // What a scan did not show and was allowed to miss is not known to be stored. A row is also without an id where
            // a fault hid it when it was asked for alone.
            let all_verified = settled.iter().all(|scan| scan.is_verified());
            let may_miss = if all_verified { 0 } else { db.rows_without_id().max(accept_shortfall) };
            let missed =
                shown.iter().filter(|it| it.problem.is_some() && !it.is_without_id && !it.is_unreadable);
            let may_miss = 0 < may_miss && missed.count() <= may_miss;
            for ticket in &shown {
                if !ticket.is_without_id && !ticket.is_unreadable && (ticket.problem.is_none() || !may_miss) {
                    model.update(ticket.id, |ticket| ticket.promised = true);
                    if !undetectable {
                        check_rejected_values(&stored, &model.tickets[&ticket.id], ticket.id)?;
                    }
                }
            }
        }
        let is_stored = |it: &&ShownTicket| it.problem.is_none() && !it.is_without_id && !it.is_unreadable;
        let ids = || shown.iter().filter(is_stored).map(|it| it.id).collect();
        let is_whole = full.is_some() && settled.iter().all(|scan| scan.is_verified()) && !undetectable;
        let verified = is_whole.then(|| (since, ids()));
        let facts = RunFacts {
            is_complete: run.is_complete,
            accept_shortfall,
            shown,
            is_exchange_undetectable: undetectable,
            is_undisturbed: before.is_undisturbed_next,
            beyond_list: pending_beyond_list(db, (model, server, now), run.types).len(),
        };
        let pending = db.pending_tickets();
        facts.check().map_err(|why| format!("run {run_id}: {why}; pending are {pending:?}"))?;
        if facts.is_shortfall_accepted() {
            model.coverage.record(CoverageEvent::CompleteWithShortfall);
        }
        check_last_good_values(db, &stored, model, before, run_id)?;
        check_promises(&stored, model, server, now, run_id, promised && undetectable)?;
        Ok(RunRead { verified, is_exchange_undetectable: undetectable })
    }

    fn check_watermark_moves(
        &self,
        moves: &[WatermarkMove],
        scans: &[ScanRecord],
        run_id: i64,
    ) -> CheckResult {
        let mut at: Option<Timestamp> = None;
        for step in moves {
            let WatermarkMove { from, to, reason, .. } = step;
            if *from != at {
                return Err(format!("the journal has a gap: {step:?} follows a watermark of {at:?}"));
            }
            if !REASONS.contains(&reason.as_str()) {
                return Err(format!("the watermark moved for an unknown reason: {step:?}"));
            }
            let may_fall = matches!(reason.as_str(), "clock_stepped" | "reset" | "scope_changed");
            if to < from && !may_fall {
                return Err(format!("the watermark fell: {step:?}"));
            }
            let behind = from.zip(*to).is_some_and(|(from, to)| to < from.minus(self.overlap));
            if reason == "clock_stepped" && !behind {
                return Err(format!("the watermark was set back by no more than the overlap: {step:?}"));
            }
            at = *to;
        }
        for step in moves.iter().filter(|step| step.run_id == Some(run_id)) {
            let may_prove = |scan: &&ScanRecord| scan.run_id == run_id && scan.is_settled();
            let mut proofs = scans.iter().filter(may_prove);
            let is_proved = match step.reason.as_str() {
                "verified" => proofs.any(ScanRecord::is_verified),
                // A row without an id is shown again by the next full scan, but not by the next incremental one.
                "unidentified_rows" => self.hazards.has_defects() && proofs.any(|scan| scan.full),
                "accepted_shortfall" => 0 < self.hazards.accept_shortfall && proofs.next().is_some(),
                "clock_stepped" => proofs.next().is_some(),
                _ => continue,
            };
            if !is_proved {
                return Err(format!(
                    "the watermark moved in run {run_id} without a scan that proves it: {step:?}"
                ));
            }
            let latest = self.last_lists.range(..=run_id).map(|(_, last)| *last).max();
            let latest = latest.ok_or("the watermark moved in a run that received no list")?;
            if step.to.is_some_and(|to| latest < to.instant()) {
                return Err(format!(
                    "the watermark is later than {latest}, the latest response of its run: {step:?}"
                ));
            }
        }
        check_full_scan_after_clock_step(moves, scans)
    }

    /// Checks the final state, after an undisturbed full scan.
    pub(crate) fn check_final_state(
        db: &DbReader,
        model: &mut ReferenceModel,
        server: &mut Server,
        now: DateTime<Utc>,
    ) -> CheckResult {
        let forbidden = ForbiddenTickets::of(server);
        let integrity = db.integrity();
        if integrity != "ok" {
            return Err(format!("the file is damaged: {integrity}"));
        }
        check_purged(db, model, |_| false)?;
        change_log::undo(db, &model.local_edits.keys().copied().collect())?;
        let (tickets, unlisted) = (db.tickets(), db.unlisted_tickets());
        let (types, custom_fields) = db.scope();
        let (fields, pending, none) = (db.custom_fields(), db.pending_custom_fields(), Fields::new());
        let stored = Stored { tickets: db.tickets(), rejected: db.rejected_values() };
        let mut hidden = ModelDefects::default();
        if !(custom_fields || fields.is_empty() && pending.is_empty()) {
            return Err("custom fields are stored or pending although they are not in the scope".into());
        }
        for id in model.listed_ids() {
            let row = model.expected_row(id, server, now);
            if !is_in_scope(&types, &row) {
                if tickets.contains_key(&id) && !model.tickets[&id].defects.hides_ticket() {
                    return Err(format!(
                        "ticket {id} is stored at the end, but its type is not in the scope"
                    ));
                }
                continue;
            }
            let state = &model.tickets[&id];
            hidden.without_id += usize::from(state.defects.without_id);
            if model.purged.contains(&id) {
                continue;
            }
            if state.defects.hides_ticket() {
                hidden.unreadable.extend(state.defects.unreadable.then_some(id));
                continue;
            }
            let Some(ticket) = tickets.get(&id) else {
                return Err(format!("ticket {id} is missing at the end; {state:?}"));
            };
            check_rejected_values(&stored, state, id)?;
            let mut differences = mapping::differences(ticket, &row);
            stored.retain_readable(id, &mut differences);
            if !differences.is_empty() {
                return Err(format!("ticket {id} differs at the end: {}", differences.join(", ")));
            }
            if custom_fields {
                if pending.contains(&id) {
                    return Err(format!("the custom fields of ticket {id} are still pending at the end"));
                }
                let should_be = mapping::expected_fields(&server.custom_fields(id).expect("a ticket"));
                let differences = mapping::field_differences(fields.get(&id).unwrap_or(&none), &should_be);
                if !differences.is_empty() {
                    return Err(format!("ticket {id} differs at the end: {}", differences.join(", ")));
                }
            }
        }
        hidden.beyond_list = pending_beyond_list(db, (model, server, now), &types);
        hidden.check(db, model)?;
        let is_listed =
            |id: &i64| model.tickets.get(id).is_some_and(|it| it.listed && !it.defects.hides_ticket());
        if let Some((id, status)) = unlisted.iter().find(|(id, _)| is_listed(id)) {
            return Err(format!("ticket {id} is listed, but recorded as unlisted at the end: {status}"));
        }
        for id in tickets.keys() {
            let ticket = model.tickets.get(id).cloned().unwrap_or_default();
            // The row of a merged ticket may be one of those without an id.
            let may_be_shown = ticket.merged && 0 < hidden.without_id;
            let is_refused = forbidden.contains(&ticket) || ticket.defects.hides_ticket() || may_be_shown;
            // A pending ticket is never unlisted.
            let may_stay = is_refused && (unlisted.contains_key(id) || hidden.beyond_list.contains(id));
            if !ticket.listed && !may_stay {
                return Err(format!("ticket {id} is still stored at the end, but removed: {ticket:?}"));
            }
        }
        Ok(())
    }
}

/// Checks that nothing of an erased ticket is stored, apart from what another program put back before the next full scan.
fn check_purged(db: &DbReader, model: &ReferenceModel, may_be_put_back: impl Fn(i64) -> bool) -> CheckResult {
    let purged = db.purged();
    if purged != model.purged {
        return Err(format!("erased are {purged:?}, but should be {:?}", model.purged));
    }
    match db.known_of_purged().into_iter().find(|id| !may_be_put_back(*id)) {
        Some(id) => {
            Err(format!("something of the erased ticket {id} is stored: {:?}", model.tickets.get(&id)))
        }
        None => Ok(()),
    }
}

/// Checks that after the server's clock stepped back, a full scan comes before any incremental one, unless the scan that
/// noticed the step was a full one.
fn check_full_scan_after_clock_step(moves: &[WatermarkMove], scans: &[ScanRecord]) -> CheckResult {
    let stepped = moves.iter().rev().find(|step| step.reason == "clock_stepped").and_then(|step| step.run_id);
    let Some(stepped) = stepped else { return Ok(()) };
    let is_sufficient = |scan: &ScanRecord| scan.full && scan.is_settled();
    if scans.iter().any(|scan| scan.run_id == stepped && is_sufficient(scan)) {
        return Ok(());
    }
    let since = scans.iter().skip_while(|scan| scan.run_id < stepped);
    let mut later =
        since.filter(|scan| scan.full || stepped < scan.run_id).take_while(|scan| !is_sufficient(scan));
    // A full scan that was not verified is not tried again at once; until it is, no run is complete.
    match later.next().filter(|scan| !scan.full) {
        Some(scan) => {
            Err(format!("after the server's clock stepped back, {scan:?} comes before a full scan"))
        }
        None => Ok(()),
    }
}

/// The tickets for which single-ticket requests are refused with 403.
#[derive(Clone, Copy)]
pub(crate) struct ForbiddenTickets {
    hidden: bool,
    deleted: bool,
}

impl ForbiddenTickets {
    pub(crate) fn of(server: &mut Server) -> ForbiddenTickets {
        let knobs = server.knobs();
        ForbiddenTickets {
            hidden: knobs.hidden_get == HiddenGet::Forbidden,
            deleted: knobs.deleted_get == DeletedGet::Forbidden,
        }
    }

    fn contains(self, ticket: &ModelTicket) -> bool {
        if ticket.hidden { self.hidden } else { ticket.deleted && self.deleted }
    }
}

/// Checks that no ticket was removed that was listed all the time, or that the server only refuses to show.
fn check_tombstones(
    db: &DbReader,
    (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
    run_id: i64,
    since: Seq,
    types: &[i64],
    scope_changed: bool,
) -> CheckResult {
    let forbidden = ForbiddenTickets::of(server);
    for (id, reason) in db.tombstones(run_id) {
        model.coverage.record(CoverageEvent::Tombstone);
        let ticket = model.tickets.get(&id).cloned().unwrap_or_default();
        // Whether its type is out of scope, no matter if the client may see it.
        let out_of_scope = |model: &mut ReferenceModel| {
            server.row(id, now).is_none() || !is_in_scope(types, &model.expected_row(id, server, now))
        };
        if reason == "out_of_scope" && (scope_changed || since < ticket.changed_at || out_of_scope(model)) {
            continue;
        }
        // A ticket outside the scope is rightly removed, also if an outdated answer gives another reason.
        if ticket.listed && ticket.entered_at <= since && !out_of_scope(model) {
            return Err(format!(
                "ticket {id} was removed ({reason}) in run {run_id} although it was listed all the time"
            ));
        }
        // A cached response about a ticket that was visible once is still the server's answer, but an outdated one.
        let outdated = server.knobs().detail_cache_s != 0 && reason != "vanished";
        if !ticket.listed && ticket.changed_at <= since && forbidden.contains(&ticket) && !outdated {
            return Err(format!(
                "ticket {id} was removed ({reason}) in run {run_id} although the server only refuses to show it"
            ));
        }
    }
    Ok(())
}

/// What a run came to.
struct RunRead {
    /// The last server event before the first response of its verified full scan, and the tickets that are stored as that
    /// scan showed them.
    verified: Option<(Seq, Vec<i64>)>,
    /// Whether one ticket disappeared and another one entered between the same two responses.
    is_exchange_undetectable: bool,
}

/// What a run read.
struct ScannedRun<'r> {
    run_id: i64,
    scans: &'r [&'r ScanRecord],
    /// The ticket types of its scope, none for all.
    types: &'r [i64],
    is_complete: bool,
    /// Whether it moved the watermark because of a scan.
    moved: bool,
}

/// The list that a scan asked for.
struct ScannedList<'t> {
    /// The last server event before its first response.
    since: Seq,
    /// Where an incremental scan starts.
    lower_bound: Option<Timestamp>,
    /// The ticket types, none for all.
    types: &'t [i64],
}

/// What the client has stored.
struct Stored {
    tickets: Tickets,
    /// The attributes of each ticket whose value could not be read.
    rejected: BTreeMap<i64, BTreeSet<String>>,
}

impl Stored {
    /// What is wrong with a stored ticket apart from rejected values and status names, which are read only once a day.
    fn problem(&self, id: i64, should_be: &[AttributeValue]) -> Option<String> {
        let Some(ticket) = self.tickets.get(&id) else { return Some("it is missing".into()) };
        let mut differences = mapping::differences(ticket, should_be);
        differences.retain(|difference| !difference.starts_with("STATUS is "));
        self.retain_readable(id, &mut differences);
        (!differences.is_empty()).then(|| differences.join(", "))
    }

    /// Leaves out the differences of rejected values.
    fn retain_readable(&self, id: i64, differences: &mut Vec<String>) {
        let Some(rejected) = self.rejected.get(&id) else { return };
        differences
            .retain(|it| it.split_once(" is ").is_none_or(|(attribute, _)| !rejected.contains(attribute)));
    }
}

/// The tickets that stood in the list all the while, in one version and with the same defects.
fn shown_tickets(
    stored: &Stored,
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    list: &ScannedList<'_>,
) -> Vec<ShownTicket> {
    // A cached response does not confirm that a ticket went back, until the cache expires.
    let cached = 0 < server.knobs().detail_cache_s;
    let mut all = Vec::new();
    for id in model.listed_ids() {
        let ticket = &model.tickets[&id];
        let stands_since = ticket.changed_at.max(ticket.entered_at).max(ticket.defects_changed_at);
        let edited_at = model.local_edits.get(&id).copied();
        // What another program changed is repaired by full scans.
        let may_be_edited = edited_at.is_some_and(|at| list.since < at || list.lower_bound.is_some());
        if list.since < stands_since || may_be_edited {
            continue;
        }
        let (is_without_id, is_unreadable) = (ticket.defects.without_id, ticket.defects.unreadable);
        // An erased ticket counts as received and is not missing; a row without an id is that of some ticket.
        if model.purged.contains(&id) && !is_without_id {
            continue;
        }
        let ticket_is_hidden = ticket.defects.hides_ticket();
        let row = model.expected_row(id, server, now);
        let forward = !model.went_back(id);
        let is_shown = match list.lower_bound {
            None => forward || !cached || ticket_is_hidden,
            Some(lower_bound) => forward && last_update(&row).is_some_and(|updated| lower_bound <= updated),
        };
        if is_shown && is_in_scope(list.types, &row) {
            let problem = stored.problem(id, &row);
            all.push(ShownTicket { id, problem, is_without_id, is_unreadable });
        }
    }
    all
}

/// Checks that exactly those values of a ticket are rejected that cannot be read.
fn check_rejected_values(stored: &Stored, ticket: &ModelTicket, id: i64) -> CheckResult {
    let none = BTreeSet::new();
    let rejected = stored.rejected.get(&id).unwrap_or(&none);
    if rejected.iter().map(String::as_str).eq(ticket.defects.rejected.iter().copied()) {
        return Ok(());
    }
    Err(format!("of ticket {id} {rejected:?} are rejected, but {ticket:?}"))
}

/// Checks that a value that cannot be read leaves the last good one, and that no other value is rejected.
fn check_last_good_values(
    db: &DbReader,
    stored: &Stored,
    model: &ReferenceModel,
    before: &Before,
    run_id: i64,
) -> CheckResult {
    let position = |name: &str| mapping::columns().position(|column| column == name).expect("an attribute");
    let removed: BTreeSet<_> = db.tombstones(run_id).into_iter().map(|(id, _)| id).collect();
    for (id, attributes) in &stored.rejected {
        let ticket = model.tickets.get(id).cloned().unwrap_or_default();
        for attribute in attributes {
            if !ticket.ever_rejected.contains(attribute.as_str()) {
                return Err(format!("{attribute} of ticket {id} is rejected, but could always be read"));
            }
            let cannot_be_read = ticket.defects.rejected.contains(attribute.as_str());
            let changed_at = ticket.changed_at.max(ticket.defects_changed_at);
            let (Some(tickets), Some(now)) = (&before.tickets, stored.tickets.get(id)) else { continue };
            // Where anything changed during the run, it may have been read before.
            let is_edited = model.local_edits.contains_key(id);
            if !cannot_be_read || before.seq < changed_at || removed.contains(id) || is_edited {
                continue;
            }
            let column = position(attribute);
            let last_good = tickets.get(id).map_or(&AttributeValue::Null, |row| &row[column]);
            if now[column] != *last_good {
                return Err(format!(
                    "{attribute} of ticket {id} cannot be read, but is {:?} after run {run_id}; the last good value is \
                     {last_good:?}",
                    now[column]
                ));
            }
        }
    }
    Ok(())
}

/// The pending tickets that are not in the list of the scope, but that the server may still have, as far as it shows.
fn pending_beyond_list(
    db: &DbReader,
    (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
    types: &[i64],
) -> Vec<i64> {
    let forbidden = ForbiddenTickets::of(server);
    let mut pending = db.pending_tickets();
    pending.retain(|id| {
        let ticket = model.tickets.get(id).cloned().unwrap_or_default();
        if !ticket.listed {
            return forbidden.contains(&ticket) || ticket.defects.hides_ticket();
        }
        ticket.defects.hides_ticket() && !is_in_scope(types, &model.expected_row(*id, server, now))
    });
    pending
}

/// The listed tickets that cannot be stored at the end.
#[derive(Default)]
struct ModelDefects {
    without_id: usize,
    unreadable: BTreeSet<i64>,
    /// Pending tickets that are not in the list.
    beyond_list: Vec<i64>,
}

impl ModelDefects {
    /// Checks that the database has all of them, and nothing else, as pending tickets and rejected rows.
    fn check(&self, db: &DbReader, model: &ReferenceModel) -> CheckResult {
        let rows = db.rows_without_id();
        if rows != self.without_id {
            return Err(format!(
                "{rows} rows without an id are recorded at the end, but {} are listed",
                self.without_id
            ));
        }
        let pending: BTreeSet<_> = db.pending_tickets().into_iter().collect();
        if let Some(id) = self.unreadable.difference(&pending).next() {
            return Err(format!("ticket {id} cannot be read, but is not pending at the end"));
        }
        let mut others = pending.difference(&self.unreadable).filter(|id| !self.beyond_list.contains(id));
        if let Some(id) = others.next() {
            let ticket = model.tickets.get(id);
            return Err(format!("ticket {id} is still pending at the end: {ticket:?}"));
        }
        Ok(())
    }
}

/// Whether the ticket type of a row is in the scope; no types means all.
fn is_in_scope(types: &[i64], row: &[AttributeValue]) -> bool {
    types.is_empty() || ticket_type(row).is_some_and(|it| types.contains(&it))
}

/// Checks that every promised version is stored.
fn check_promises(
    stored: &Stored,
    model: &mut ReferenceModel,
    server: &Server,
    now: DateTime<Utc>,
    run_id: i64,
    excused: bool,
) -> CheckResult {
    for id in model.listed_ids() {
        if !model.tickets[&id].promised {
            continue;
        }
        let row = model.expected_row(id, server, now);
        let Some(problem) = stored.problem(id, &row) else { continue };
        if excused {
            model.coverage.record(CoverageEvent::MissedTicketExcused);
            model.update(id, |ticket| ticket.promised = false);
            continue;
        }
        let ticket = &model.tickets[&id];
        return Err(format!(
            "ticket {id} is promised after run {run_id}, but {problem} (last update {}, {ticket:?})",
            last_update(&row).map_or("none".into(), |updated| updated.to_string())
        ));
    }
    Ok(())
}
