//! The document of `status --json`.

use serde::Serialize;

use crate::app::{
    Assessment, HealthLevel, HealthReason, LakeStatus, LastRun, LastScan, ReaderProcess, ReferenceList,
    ServerProbe, StatusReport, UnlistedStatus, UnmappedField,
};
use crate::sync::RunOutcome;
use crate::ticket::Timestamp;
use crate::watermark::{is_near_overlap, proposed_overlap};

/// The report of `docs/status.schema.json`.
#[derive(Serialize)]
pub(super) struct StatusJson<'a> {
    database: String,
    health: HealthLevel,
    reasons: Vec<HealthReason>,
    fresh: bool,
    service_pid: Option<u32>,
    database_bytes: u64,
    wal_bytes: u64,
    free_disk_bytes: Option<u64>,
    database_ok: Option<bool>,
    readers: &'a [ReaderProcess],
    state: &'static str,
    server: Option<&'a str>,
    covered_until: Option<Timestamp>,
    covered_age_seconds: Option<i64>,
    newest_seen: Option<Timestamp>,
    last_complete_at: Option<Timestamp>,
    last_complete_age_seconds: Option<i64>,
    last_full_at: Option<Timestamp>,
    last_full_outcome: Option<&'static str>,
    last_scan: Option<&'a LastScan>,
    interrupted_scan: Option<InterruptedScanJson>,
    tickets: u64,
    last_seq: i64,
    pending_tickets: u64,
    pending_fetches: u64,
    pending_custom_fields: u64,
    unreadable: u64,
    unlisted_tickets: u64,
    unlisted: Vec<UnlistedJson>,
    delete_guard: Option<DeleteGuardJson>,
    erased_tickets: u64,
    has_privacy_traces: bool,
    rejects: u64,
    rejected_rows: u64,
    accepted: u64,
    unmapped_fields: &'a [UnmappedField],
    lateness: Option<LatenessJson>,
    probes: &'a [ServerProbe],
    reference_lists: Vec<ReferenceListJson<'a>>,
    consumers: Vec<ConsumerPositionJson<'a>>,
    lake: Option<&'a LakeStatus>,
    runs: &'a [LastRun],
}

#[derive(Serialize)]
struct ReferenceListJson<'a> {
    table: &'static str,
    #[serde(flatten)]
    list: &'a ReferenceList,
}

#[derive(Serialize)]
struct LatenessJson {
    seconds: f64,
    measured_at: Timestamp,
    overlap_seconds: i64,
    proposed_overlap_seconds: i64,
    near_overlap: bool,
}

#[derive(Serialize)]
struct InterruptedScanJson {
    started_at: Timestamp,
    received: u64,
    record_count: Option<u64>,
}

#[derive(Serialize)]
struct UnlistedJson {
    status: UnlistedStatus,
    tickets: u64,
}

#[derive(Serialize)]
struct DeleteGuardJson {
    removals: u64,
    allowed: u64,
}

#[derive(Serialize)]
struct ConsumerPositionJson<'a> {
    name: &'a str,
    exported_seq: i64,
    acked_seq: i64,
    waiting: i64,
}

impl<'a> StatusJson<'a> {
    pub(super) fn new(status: &'a StatusReport, reasons: Vec<HealthReason>, fresh: bool) -> StatusJson<'a> {
        let assessment = Assessment { reasons };
        let health = &status.health;
        let watermark = health.watermark.as_ref();
        let full = health.last_full_scan.as_ref();
        let interrupted = health.interrupted_scan.as_ref();
        let covered_until = watermark.and_then(|mark| mark.covered_until);
        let age_seconds =
            |at: Option<Timestamp>| at.map(|at| (status.now.instant() - at.instant()).num_seconds());
        let consumers = status.consumers.iter().map(|(name, position, waiting)| ConsumerPositionJson {
            name,
            exported_seq: position.exported_seq,
            acked_seq: position.acked_seq,
            waiting: *waiting,
        });
        let unlisted = health.unlisted_by_status.iter();
        StatusJson {
            database: status.database.display().to_string(),
            health: assessment.level(),
            reasons: assessment.reasons,
            fresh,
            service_pid: status.holders.writer,
            database_bytes: status.database_bytes,
            wal_bytes: status.wal_bytes,
            free_disk_bytes: status.free_disk_bytes,
            database_ok: status.inspection.as_ref().map(|it| !it.is_damaged),
            readers: &status.holders.readers,
            state: watermark.map_or("empty", |mark| mark.state.as_str()),
            server: watermark.map(|mark| mark.scope.server.as_str()),
            covered_until,
            covered_age_seconds: age_seconds(covered_until),
            newest_seen: watermark.and_then(|mark| mark.newest_seen),
            last_complete_at: health.last_complete_at,
            last_complete_age_seconds: age_seconds(health.last_complete_at),
            last_full_at: full.map(|scan| scan.ended_at),
            last_full_outcome: full.map(|scan| scan.outcome.as_str()),
            last_scan: health.last_scan.as_ref(),
            interrupted_scan: interrupted.map(|it| InterruptedScanJson {
                started_at: it.started_at,
                received: it.received(),
                record_count: health.interrupted_scan_count,
            }),
            tickets: health.tickets,
            last_seq: health.last_seq,
            pending_tickets: health.pending_tickets.count,
            pending_fetches: health.pending_fetches,
            pending_custom_fields: health.pending_custom_fields(),
            unreadable: health.unreadable,
            unlisted_tickets: health.unlisted_tickets,
            unlisted: unlisted
                .map(|(status, tickets)| UnlistedJson { status: *status, tickets: *tickets })
                .collect(),
            delete_guard: match status.delete_guard {
                Some(RunOutcome::DeleteGuard { removals, allowed }) => {
                    Some(DeleteGuardJson { removals, allowed })
                }
                _ => None,
            },
            erased_tickets: health.erased_tickets,
            has_privacy_traces: health.has_privacy_traces,
            rejects: health.rejects,
            rejected_rows: health.rejected_rows,
            accepted: status.accepted_lacks(),
            unmapped_fields: &status.unmapped_fields,
            lateness: status.lateness.map(|late| LatenessJson {
                seconds: late.late_by.as_seconds_f64(),
                measured_at: late.measured_at,
                overlap_seconds: status.overlap.num_seconds(),
                proposed_overlap_seconds: proposed_overlap(late.late_by).num_seconds(),
                near_overlap: is_near_overlap(late.late_by, status.overlap),
            }),
            probes: &health.probes,
            reference_lists: health
                .reference_lists
                .iter()
                .map(|(table, list)| ReferenceListJson { table: table.name, list })
                .collect(),
            consumers: consumers.collect(),
            lake: status.lake.as_ref(),
            runs: &health.runs,
        }
    }
}
