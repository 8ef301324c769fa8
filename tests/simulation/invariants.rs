//! Checks the invariants against the server, the reference model and the database file alone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{DeletedGet, HiddenGet, Server};
use halosync::ticket::{AttributeValue, Timestamp};

use crate::change_log;
use crate::coverage::CoverageEvent;
use crate::db_reader::{DbReader, ScanRecord, WatermarkMove};
use crate::fault_transport::RunTrace;
use crate::reference_model::{ModelTicket, ReferenceModel, Seq, last_update, ticket_type};
use crate::support::mapping::{self, Fields};

/// Why the watermark may move.
const REASONS: &[&str] = &["created", "verified", "clock_stepped", "reset", "scope_changed"];

/// `Err` describes the violated invariant.
pub(crate) type CheckResult = Result<(), String>;

/// The state at the start of a run.
pub(crate) struct Before {
    pub(crate) run_id: i64,
    pub(crate) watermark: Option<Timestamp>,
    pub(crate) seq: Seq,
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
    /// How many pages may be prefetched.
    prefetched: usize,
    /// The first list response of each run.
    first_lists: BTreeMap<i64, FirstList>,
    /// The first list response of each scan: a resumed scan began in an earlier run.
    scan_starts: BTreeMap<i64, FirstList>,
    /// The server's time on the last list response of each run, which may contain more than one scan.
    last_lists: BTreeMap<i64, DateTime<Utc>>,
}

impl InvariantChecker {
    pub(crate) fn new(overlap: TimeDelta, prefetched: usize) -> InvariantChecker {
        InvariantChecker {
            overlap,
            prefetched,
            first_lists: BTreeMap::new(),
            scan_starts: BTreeMap::new(),
            last_lists: BTreeMap::new(),
        }
    }

    /// Checks the state after a run, however it ended.
    pub(crate) fn check_after_run(
        &mut self,
        db: &DbReader,
        (model, server, now): (&mut ReferenceModel, &mut Server, DateTime<Utc>),
        trace: &RunTrace,
        before: &Before,
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
        let of_run: Vec<&ScanRecord> = scans.iter().filter(|scan| scan.run_id == run_id).collect();
        let full = of_run.iter().any(|scan| scan.full && scan.is_verified());
        let verified = full || of_run.iter().any(|scan| !scan.full && scan.is_verified());
        self.check_watermark_moves(&moves, &scans, run_id)?;
        let (watermark, journaled) = (db.watermark(), moves.last().and_then(|step| step.to));
        if watermark != journaled {
            return Err(format!("the watermark is {watermark:?}, but {journaled:?} in the journal"));
        }
        if verified
            && db.is_complete(run_id)
            && let (Some(watermark), Some(first)) = (watermark, self.first_lists.get(&run_id))
            && moves.last().is_some_and(|step| step.run_id != Some(run_id))
            && first.date < watermark.minus(self.overlap).instant()
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
            && let Some(id) = db.forgotten_custom_fields().first()
        {
            return Err(format!("the custom fields of ticket {id} are neither known nor pending"));
        }
        if scope_changed {
            // Earlier promises were about another scope.
            for id in model.listed_ids() {
                model.update(id, |ticket| ticket.promised = false);
            }
        }

        let promised =
            verified || moves.iter().any(|it| it.run_id == Some(run_id) && it.reason == "verified");
        let undetectable =
            trace.has_undetectable_exchange(model, full && !db.reads_two_lists(), self.prefetched);
        if undetectable {
            model.coverage.record(CoverageEvent::UndetectableExchange);
        }
        if promised {
            model.coverage.record(if full {
                CoverageEvent::FullScanVerified
            } else {
                CoverageEvent::IncrementalScanVerified
            });
            let start_of = |scan: &&ScanRecord| self.scan_starts.get(&scan.scan_id);
            let first = if full {
                of_run.iter().find(|scan| scan.full && scan.is_verified()).and_then(start_of)
            } else {
                self.first_lists.get(&run_id)
            };
            let requested = of_run.iter().filter_map(|scan| scan.updated_from).min();
            let required = before.watermark.map(|watermark| watermark.minus(self.overlap));
            let lower_bound = if full { None } else { requested.min(required).or(requested) };
            record_promises(model, server, now, first.map_or(0, |first| first.seq), lower_bound, &scope.0);
        }
        check_promises(db, model, server, now, run_id, promised && undetectable)
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
            if !matches!(step.reason.as_str(), "verified" | "clock_stepped") {
                continue;
            }
            if !scans.iter().any(|scan| scan.run_id == run_id && scan.is_verified()) {
                return Err(format!("the watermark moved in run {run_id} without a verified scan: {step:?}"));
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
        server: &Server,
        now: DateTime<Utc>,
        forbidden: ForbiddenTickets,
    ) -> CheckResult {
        let integrity = db.integrity();
        if integrity != "ok" {
            return Err(format!("the file is damaged: {integrity}"));
        }
        change_log::undo(db)?;
        let (tickets, unlisted) = (db.tickets(), db.unlisted_tickets());
        let (types, custom_fields) = db.scope();
        let (fields, pending, none) = (db.custom_fields(), db.pending_fetches(), Fields::new());
        if !(custom_fields || fields.is_empty() && pending.is_empty()) {
            return Err("custom fields are stored or pending although they are not in the scope".into());
        }
        for id in model.listed_ids() {
            let row = model.expected_row(id, server, now);
            if !is_in_scope(&types, &row) {
                if tickets.contains_key(&id) {
                    return Err(format!(
                        "ticket {id} is stored at the end, but its type is not in the scope"
                    ));
                }
                continue;
            }
            let Some(ticket) = tickets.get(&id) else {
                return Err(format!("ticket {id} is missing at the end; {:?}", model.tickets[&id]));
            };
            let differences = mapping::differences(ticket, &row);
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
        let is_listed = |id: &i64| model.tickets.get(id).is_some_and(|ticket| ticket.listed);
        if let Some((id, status)) = unlisted.iter().find(|(id, _)| is_listed(id)) {
            return Err(format!("ticket {id} is listed, but recorded as unlisted at the end: {status}"));
        }
        for id in tickets.keys() {
            let ticket = model.tickets.get(id).cloned().unwrap_or_default();
            let may_stay = forbidden.contains(&ticket) && unlisted.contains_key(id);
            if !ticket.listed && !may_stay {
                return Err(format!("ticket {id} is still stored at the end, but removed: {ticket:?}"));
            }
        }
        Ok(())
    }
}

/// Checks that after the server's clock stepped back, a full scan comes before any incremental one, unless the scan that
/// noticed the step was a full one.
fn check_full_scan_after_clock_step(moves: &[WatermarkMove], scans: &[ScanRecord]) -> CheckResult {
    let stepped = moves.iter().rev().find(|step| step.reason == "clock_stepped").and_then(|step| step.run_id);
    let Some(stepped) = stepped else { return Ok(()) };
    let is_sufficient = |scan: &ScanRecord| scan.full && scan.is_verified();
    if scans.iter().any(|scan| scan.run_id == stepped && is_sufficient(scan)) {
        return Ok(());
    }
    let mut later = scans.iter().filter(|scan| stepped < scan.run_id).take_while(|scan| !is_sufficient(scan));
    match later.find(|scan| !scan.full) {
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
        if ticket.listed && ticket.entered_at <= since {
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

/// Records what a verified scan promises: every version that was in its list from the first response on is stored.
fn record_promises(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    since: Seq,
    lower_bound: Option<Timestamp>,
    types: &[i64],
) {
    // A cached response does not confirm that a ticket went back, until the cache expires.
    let cached = 0 < server.knobs().detail_cache_s;
    for id in model.listed_ids() {
        let ticket = &model.tickets[&id];
        if ticket.promised || since < ticket.changed_at.max(ticket.entered_at) {
            continue;
        }
        let row = model.expected_row(id, server, now);
        let forward = !model.went_back(id);
        let shown = match lower_bound {
            None => forward || !cached,
            Some(lower_bound) => forward && last_update(&row).is_some_and(|updated| lower_bound <= updated),
        };
        let promised = shown && is_in_scope(types, &row);
        model.update(id, |ticket| ticket.promised = promised);
    }
}

/// Whether the ticket type of a row is in the scope; no types means all.
fn is_in_scope(types: &[i64], row: &[AttributeValue]) -> bool {
    types.is_empty() || ticket_type(row).is_some_and(|it| types.contains(&it))
}

/// Checks that every promised version is stored.
fn check_promises(
    db: &DbReader,
    model: &mut ReferenceModel,
    server: &Server,
    now: DateTime<Utc>,
    run_id: i64,
    excused: bool,
) -> CheckResult {
    let tickets = db.tickets();
    for id in model.listed_ids() {
        if !model.tickets[&id].promised {
            continue;
        }
        let row = model.expected_row(id, server, now);
        let problem = match tickets.get(&id) {
            None => "it is missing".to_owned(),
            Some(ticket) => match differences(ticket, &row).as_slice() {
                [] => continue,
                all => all.join(", "),
            },
        };
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

/// The differences but those of status names, which are read only once a day.
fn differences(is: &[AttributeValue], should_be: &[AttributeValue]) -> Vec<String> {
    let mut all = mapping::differences(is, should_be);
    all.retain(|difference| !difference.starts_with("STATUS is "));
    all
}
