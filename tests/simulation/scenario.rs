//! The scenario of a simulation run: everything that its seed decides before anything happens.
//!
//! Each part draws from a random stream of its own, so that a change in how the client sends requests does not change
//! every later draw, and a seed of the corpus keeps its meaning for as long as possible.

use std::sync::LazyLock;
use std::time::Duration;

use fastrand::Rng;
use halo_simulator::Knobs;

/// A condition that a correct client handles and the present one may not. Scenarios draw it in any case and then leave it
/// out, so that seeds keep their meaning when an entry leaves [`UNSUPPORTED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Tickets disappear from the list during a scan: the rest shifts left, and one is hidden at a page boundary.
    TicketsDisappearDuringScan,
    /// Tickets that had disappeared come back into the list during a scan.
    TicketsReturnDuringScan,
    /// Tickets enter the list during a scan: at its end, or in an incremental scan anywhere.
    TicketsEnterDuringScan,
    /// The server's clock steps back, and versions arrive that are older than the stored ones.
    ClockStepsBack,
    /// The date filter deviates: it is exclusive, or read in another time zone.
    DateFilterDeviates,
    /// `order=id` is ignored.
    OrderIgnored,
    /// The plain list leaves old closed tickets out.
    PartialPlainList,
    /// The status list is refused or unreadable for a while, and numbers stand in for names.
    StatusListFails,
    /// Rows cannot be parsed for good, among them all rows of one page: then no response for that page can be parsed.
    UnreadablePageStays,
    /// The server is restored from a backup while custom fields are fetched ticket by ticket: the row may be the one that is
    /// stored, and its custom fields of a later version.
    FetchedFieldsGoBack,
    /// The list changes while a page is read in parts, because one of its rows cannot be parsed.
    ListChangesBetweenParts,
    /// Rows have no id while `order=id` is ignored: a second read may not show them again.
    RowsWithoutIdOutOfOrder,
    /// Rows cannot be parsed while the plain list leaves old closed tickets out.
    UnreadableRowsOfPartialList,
}

/// The conditions that the client cannot handle yet. Meant to be empty.
pub(crate) const UNSUPPORTED: &[Condition] = &[];

/// Names of unsupported conditions that are enabled all the same, or `all`.
static ENABLED_BY_NAME: LazyLock<String> =
    LazyLock::new(|| std::env::var("HALOSYNC_SIMULATION_WITH").unwrap_or_default());

/// Whether scenarios may contain the condition.
pub(crate) fn is_enabled(condition: Condition) -> bool {
    let by_name = || {
        *ENABLED_BY_NAME == "all" || ENABLED_BY_NAME.split(',').any(|name| name == format!("{condition:?}"))
    };
    !UNSUPPORTED.contains(&condition) || by_name()
}

/// A random stream that belongs to one part of one simulation run.
pub(crate) fn stream(seed: u64, part: u64, number: u64) -> Rng {
    let mut mixed = seed;
    for word in [part, number] {
        mixed = (mixed ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
    }
    Rng::with_seed(mixed)
}

/// Draws true with a probability of `share` percent.
pub(crate) fn percent(rng: &mut Rng, share: u32) -> bool {
    rng.u32(..100) < share
}

/// The server and the client before the first request.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) tickets: u32,
    /// `name=value`, those that differ from the default.
    pub(crate) knobs: Vec<String>,
    pub(crate) page_size: u32,
    pub(crate) parallel_requests: u32,
    pub(crate) batch_rows: usize,
    pub(crate) incremental_every: Duration,
    pub(crate) overlap: Duration,
    pub(crate) full_every: Option<Duration>,
    pub(crate) rate_limit: (u32, Duration),
    pub(crate) max_retries: u32,
    /// The longest round-trip time of a request.
    pub(crate) latency_ms: u64,
    /// Whether people do more than work on tickets: they define fields, change types, cut permissions and restore backups,
    /// and the client is started with other settings now and then.
    pub(crate) admin_activity: bool,
    pub(crate) hazards: Hazards,
    pub(crate) names: NameScenario,
    pub(crate) runs: Vec<RunScenario>,
}

/// The reference tables of a simulation run.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameScenario {
    /// Those of `[halo] reference` in the first run; none in many simulation runs, so that they stay as short as they were.
    tables: Vec<&'static str>,
    /// Whether the client asks for the scope that customers need.
    pub(crate) may_read_customers: bool,
    /// Whether people change reference objects and lists fail for a while.
    pub(crate) activity: bool,
    /// Whether column profiles change.
    pub(crate) profiles_change: bool,
}

const DEFAULT_TABLES: [&str; 4] = ["agents", "teams", "priorities", "slas"];
const OTHER_TABLES: [&str; 4] = ["categories", "clients", "sites", "users"];

impl NameScenario {
    fn from_seed(seed: u64) -> NameScenario {
        let mut rng = stream(seed, 8_000, 0);
        let tables = draw_tables(&mut rng);
        let mut drawn = |share| percent(&mut rng, share);
        NameScenario {
            tables,
            may_read_customers: drawn(80),
            activity: drawn(80),
            profiles_change: drawn(50),
        }
    }
}

fn draw_tables(rng: &mut Rng) -> Vec<&'static str> {
    let all = DEFAULT_TABLES.iter().chain(&OTHER_TABLES).copied();
    match rng.u32(..10) {
        0..4 => Vec::new(),
        4..6 => DEFAULT_TABLES.to_vec(),
        6..8 => all.collect(),
        _ => all.filter(|_| rng.bool()).collect(),
    }
}

/// What goes wrong with single rows and with the local database. Most simulation runs have none of it, so that rows that
/// keep a run from being complete do not hide what else can go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a hazard of its own, none excludes another")]
pub(crate) struct Hazards {
    /// Values of rows have a type that cannot be read.
    pub(crate) rejected_values: bool,
    /// Rows have no usable id.
    pub(crate) rows_without_id: bool,
    /// Rows cannot be parsed, but their id can be told.
    pub(crate) unreadable_rows: bool,
    /// Defects of rows are never repaired.
    pub(crate) keeps_defects: bool,
    /// How many missing tickets the client accepts.
    pub(crate) accept_shortfall: u64,
    /// Other programs edit rows of the local database, and rows are lost.
    pub(crate) local_edits: bool,
    /// Older copies of the local database, and older backups of the server, are restored.
    pub(crate) restored_backups: bool,
    /// Tickets are erased in the local database, and some of that is undone.
    pub(crate) purges: bool,
}

impl Hazards {
    fn from_seed(seed: u64, knobs: &[String]) -> Hazards {
        let mut rng = stream(seed, 7_000, 0);
        let mut drawn = |share| percent(&mut rng, share);
        let mut hazards = Hazards {
            rejected_values: drawn(14),
            rows_without_id: drawn(10),
            unreadable_rows: drawn(12),
            keeps_defects: drawn(25),
            accept_shortfall: 0,
            local_edits: drawn(14),
            restored_backups: drawn(10),
            purges: percent(&mut stream(seed, 9_000, 0), 12),
        };
        let has = |setting: &str| knobs.iter().any(|knob| knob == setting);
        hazards.rows_without_id &=
            !has("order_by_id=ignored") || is_enabled(Condition::RowsWithoutIdOutOfOrder);
        hazards.unreadable_rows &=
            !has("plain_list=open_and_recent") || is_enabled(Condition::UnreadableRowsOfPartialList);
        hazards.keeps_defects &= !hazards.unreadable_rows || is_enabled(Condition::UnreadablePageStays);
        let accepts = drawn(if hazards.has_defects() { 20 } else { 4 });
        hazards.accept_shortfall = if accepts { rng.u64(1..=3) } else { 0 };
        hazards
    }

    /// Whether rows have defects.
    pub(crate) fn has_defects(self) -> bool {
        self.rejected_values || self.rows_without_id || self.unreadable_rows
    }
}

/// The scope that the client is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeChoice {
    /// Names of the ticket types, as people write them; empty for all.
    pub(crate) types: &'static [&'static str],
    pub(crate) custom_fields: bool,
}

impl ScopeChoice {
    /// All tickets, without custom fields.
    pub(crate) const PLAIN: ScopeChoice = ScopeChoice { types: &[], custom_fields: false };

    fn drawn(rng: &mut Rng) -> ScopeChoice {
        let types: [&[&str]; 6] =
            [&[], &[], &[], &["incident"], &["Service Request "], &["Incident", "service request"]];
        ScopeChoice { types: types[rng.usize(..6)], custom_fields: percent(rng, 75) }
    }
}

/// What happens before and during one run.
#[derive(Clone, Debug)]
pub(crate) struct RunScenario {
    pub(crate) full: bool,
    pub(crate) accept_deletes: bool,
    /// The pauses before the run; after each of them something changes on the server.
    pub(crate) pauses_before: Vec<Duration>,
    /// Probability, in percent, that something changes on the server before a response.
    pub(crate) activity: u32,
    /// Probability, in percent, that a request meets a fault.
    pub(crate) faults: u32,
    pub(crate) end: PlannedEnd,
    /// Whether the database is closed properly after a run that ended by itself.
    pub(crate) closes_store: bool,
    /// The error of the local clock, in seconds.
    pub(crate) clock_offset: i64,
    pub(crate) scope: ScopeChoice,
    /// The tables of `[halo] reference`.
    pub(crate) reference: Vec<&'static str>,
    /// Killed at this request for a reference list, if it has so many.
    pub(crate) killed_at_list: Option<u32>,
}

/// How a run is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlannedEnd {
    /// By itself.
    Itself,
    /// Killed when this request is sent.
    KilledAtRequest(u32),
    /// Killed after the server has answered this request, before the client receives the response.
    KilledAtResponse(u32),
    /// Killed after so many milliseconds.
    KilledAfter(u64),
    /// Asked to stop after so many milliseconds.
    StoppedAfter(u64),
}

/// Knobs under which the local copy converges: how often each is turned, in percent, and the settings to draw from.
const KNOBS: &[(u32, &[&str])] = &[
    (50, &["deleted_get=403", "deleted_get=200"]),
    (50, &["merged_listed=off"]),
    (40, &["delete_stamps=on"]),
    (30, &["hidden_get=404"]),
    (30, &["merge_stamps=off"]),
    (30, &["sla_stamps=on"]),
    (25, &["deleted_listed=never", "deleted_listed=also"]),
    (25, &["page_past_end=last"]),
    (20, &["date_precision=second"]),
    (20, &["undated=60", "undated=300"]),
    (20, &["token_seconds=30", "token_seconds=120"]),
    (15, &["envelope=bare", "envelope=full"]),
    (15, &["retry_after=seconds", "retry_after=date"]),
    (12, &["new_token_kills_old=on"]),
    (10, &["rate_limit=20", "rate_limit=60"]),
    (10, &["expires_in=text", "expires_in=missing", "expires_in=zero"]),
    (10, &["row_shape=2024"]),
    (10, &["clock_zero=04:00:00"]),
    (10, &["category_display=on"]),
    (10, &["error_body=empty", "error_body=html", "error_body=string", "error_body=exception"]),
    (8, &["authinfo=off"]),
    (8, &["scope_read_tickets=off"]),
    (8, &["reference_needs_all=on"]),
    (6, &["date_filter=ignored"]),
    (5, &["excludeclosed=ignored"]),
    (3, &["date_header=off"]),
];

/// Further knobs, each with the condition that it needs.
const CONDITIONAL_KNOBS: &[(Condition, u32, &[&str])] = &[
    (Condition::DateFilterDeviates, 10, &["date_filter=exclusive"]),
    (
        Condition::DateFilterDeviates,
        10,
        &["date_filter_shift=60", "date_filter_shift=-60", "date_filter_shift=600"],
    ),
    (Condition::OrderIgnored, 5, &["order_by_id=ignored"]),
    (Condition::PartialPlainList, 5, &["plain_list=open_and_recent"]),
];

/// Further knobs that concern custom fields.
const CUSTOM_FIELD_KNOBS: &[(u32, &[&str])] = &[
    (30, &["include_custom_fields=ignored"]),
    (15, &["field_info=off"]),
    (20, &["unfilled_fields=left_out"]),
    (10, &["listed_fields=display"]),
    (20, &["detail_cache_s=60", "detail_cache_s=7200"]),
];

/// Further knobs that concern reference tables.
const REFERENCE_KNOBS: &[(u32, &[&str])] = &[
    (30, &["lost_agents=100", "lost_agents=1000"]),
    (40, &["slas=3", "slas=5"]),
    (40, &["agent_list=results", "agent_list=bare"]),
    (25, &["reference_ids=double"]),
    (25, &["sidecar_arrays=on"]),
    (30, &["disabled_listed=always", "disabled_listed=never"]),
    (60, &["reference_page_cap=50"]),
    (30, &["priority_names=same"]),
    (30, &["priority_twice=on"]),
    (15, &["customers_scope=off"]),
    (30, &["more_clients=60"]),
];

/// Further knobs that concern what list rows carry beside the attributes.
const EXTRA_KNOBS: &[(u32, &[&str])] = &[
    (
        60,
        &["row_extras=all", "row_extras=none", "row_extras=dateclosed", "row_extras=dateassigned+parent_id"],
    ),
    (30, &["unset_extras=sentinel"]),
];

impl Scenario {
    pub(crate) fn from_seed(seed: u64) -> Scenario {
        let mut rng = stream(seed, 1, 0);
        let page_size = rng.u32(1..=14);
        let pages = [1, 2, 2, 3, 5, 8][rng.usize(..6)];
        let tickets = (page_size * pages + rng.u32(..page_size)).clamp(5, 90);
        let batch_rows = rng.usize(1..=30);
        let incremental_every = Duration::from_secs([1, 5, 60, 300][rng.usize(..4)]);
        let overlap = Duration::from_secs([60, 600, 600, 3_600][rng.usize(..4)]);
        let parallel_requests = rng.u32(1..=6);
        let full_every = [None, Some(6), Some(24), Some(24)][rng.usize(..4)].map(Duration::from_hours);
        let minutes = |minutes| Duration::from_mins(minutes);
        let generous = percent(&mut rng, 85);
        let rate_limit = if generous { (30_000, minutes(5)) } else { (rng.u32(8..80), minutes(1)) };
        let clock_error_days = if percent(&mut rng, 50) { 0 } else { rng.i64(1..20) };
        let max_retries = rng.u32(1..=5);
        let latency_ms = [20, 200, 400, 3_000][rng.usize(..4)];
        let run_count = rng.u64(2..6);
        let admin_activity = percent(&mut stream(seed, 5, 0), 60);
        let mut knobs = draw_knobs(seed, overlap, page_size, admin_activity);
        let names = NameScenario::from_seed(seed);
        let mut names_rng = stream(seed, 8_000, 1);
        let of_names = REFERENCE_KNOBS.iter().filter(|_| !names.tables.is_empty());
        for (share, settings) in EXTRA_KNOBS.iter().chain(of_names) {
            let setting = settings[names_rng.usize(..settings.len())];
            if percent(&mut names_rng, *share) {
                knobs.push(setting.to_owned());
            }
        }
        let mut runs: Vec<_> =
            (0..run_count).map(|number| RunScenario::from_seed(seed, number, clock_error_days)).collect();
        if admin_activity {
            // Without the list of ticket types their names cannot be resolved.
            let no_names = knobs.iter().any(|knob| knob == "reference_needs_all=on");
            let mut rng = stream(seed, 5, 1);
            let mut scope = ScopeChoice::drawn(&mut rng);
            for run in &mut runs {
                if percent(&mut rng, 15) {
                    scope = ScopeChoice::drawn(&mut rng);
                }
                run.scope = if no_names { ScopeChoice { types: &[], ..scope } } else { scope };
            }
        }
        let mut tables = names.tables.clone();
        for run in runs.iter_mut().filter(|_| !names.tables.is_empty()) {
            if percent(&mut names_rng, 12) {
                tables = draw_tables(&mut names_rng);
            }
            run.reference.clone_from(&tables);
            if percent(&mut names_rng, 8) {
                run.killed_at_list = Some(names_rng.u32(1..=8));
            }
        }
        let hazards = Hazards::from_seed(seed, &knobs);
        Scenario {
            seed,
            tickets,
            knobs,
            page_size,
            parallel_requests,
            batch_rows,
            incremental_every,
            overlap,
            full_every,
            rate_limit,
            max_retries,
            latency_ms,
            admin_activity,
            hazards,
            names,
            runs,
        }
    }

    /// Parses the drawn knobs.
    pub(crate) fn parsed_knobs(&self) -> Knobs {
        let mut knobs = Knobs::default();
        for knob in &self.knobs {
            knobs.set(knob).expect("a knob");
        }
        knobs
    }
}

fn draw_knobs(seed: u64, overlap: Duration, page_size: u32, admin_activity: bool) -> Vec<String> {
    let mut rng = stream(seed, 2, 0);
    // Compression takes more time than all the rest and is tested elsewhere.
    let mut knobs = vec!["gzip=off".to_owned(), "details_bytes=40".to_owned()];
    for (share, settings) in KNOBS {
        let setting = settings[rng.usize(..settings.len())];
        if percent(&mut rng, *share) {
            knobs.push(setting.to_owned());
        }
    }
    for (condition, share, settings) in CONDITIONAL_KNOBS {
        let setting = settings[rng.usize(..settings.len())];
        if percent(&mut rng, *share) && is_enabled(*condition) {
            knobs.push(setting.to_owned());
        }
    }
    let delay_ms_max = u64::try_from(overlap.as_millis()).expect("an overlap") / 4;
    let delay_ms = [0, 400, rng.u64(..=delay_ms_max)][rng.usize(..3)];
    knobs.push(format!("commit_delay_ms={delay_ms}"));
    let cap = rng.u32(1..=page_size);
    if percent(&mut rng, 15) && page_size <= 2 * cap {
        knobs.push(format!("page_cap={cap}"));
    }
    let mut rng = stream(seed, 6, 0);
    for (share, settings) in CUSTOM_FIELD_KNOBS.iter().filter(|_| admin_activity) {
        let setting = settings[rng.usize(..settings.len())];
        // Without a timestamp a cached response cannot be distinguished from a fresh one.
        let distinguishable =
            !setting.starts_with("detail_cache") || knobs.iter().all(|it| !it.starts_with("undated"));
        if percent(&mut rng, *share) && distinguishable {
            knobs.push(setting.to_owned());
        }
    }
    knobs
}

impl RunScenario {
    fn from_seed(seed: u64, number: u64, clock_error_days: i64) -> RunScenario {
        let mut rng = stream(seed, 3, number);
        let pauses = if number == 0 { 0 } else { rng.u32(..6) };
        let pause = |rng: &mut Rng| {
            let seconds_max = [1, 20, 60, 600, 3_600, 90_000][rng.usize(..6)];
            Duration::from_millis(rng.u64(..seconds_max * 1_000))
        };
        let pauses_before = (0..pauses).map(|_| pause(&mut rng)).collect();
        let activity = [0, 5, 15, 40][rng.usize(..4)];
        let faults = [0, 0, 3, 8, 20][rng.usize(..5)];
        // About six requests precede the first scan, and one precedes a later one.
        let requests_max = [5, 10, 14, 30][rng.usize(..4)];
        let after_ms_max = [500, 5_000, 60_000][rng.usize(..3)];
        let (request, after_ms) = (rng.u32(3..=requests_max), rng.u64(..after_ms_max));
        let end = match rng.u32(..100) {
            0..15 => PlannedEnd::KilledAtRequest(request),
            15..30 => PlannedEnd::KilledAtResponse(request),
            30..40 => PlannedEnd::KilledAfter(after_ms),
            40..46 => PlannedEnd::StoppedAfter(after_ms),
            _ => PlannedEnd::Itself,
        };
        let offset_max = 86_400 * clock_error_days;
        RunScenario {
            full: percent(&mut rng, 25),
            accept_deletes: percent(&mut rng, 10),
            pauses_before,
            activity,
            faults,
            end,
            closes_store: percent(&mut rng, 30),
            clock_offset: if offset_max == 0 { 0 } else { rng.i64(-offset_max..offset_max) },
            scope: ScopeChoice::PLAIN,
            reference: Vec::new(),
            killed_at_list: None,
        }
    }
}

impl RunScenario {
    /// A full run without any disturbance.
    pub(crate) fn undisturbed(scope: ScopeChoice, reference: &[&'static str]) -> RunScenario {
        RunScenario {
            full: true,
            accept_deletes: true,
            pauses_before: Vec::new(),
            activity: 0,
            faults: 0,
            end: PlannedEnd::Itself,
            closes_store: true,
            clock_offset: 0,
            scope,
            reference: reference.to_vec(),
            killed_at_list: None,
        }
    }
}
