//! The plan of a world: everything that its seed decides before anything happens.
//!
//! Each part draws from a stream of its own, so that a change in how the agent asks does not turn every later draw into
//! another one, and a seed of the corpus keeps its meaning for as long as it can.

use std::sync::LazyLock;
use std::time::Duration;

use fastrand::Rng;
use halo_simulator::Knobs;

/// What a correct agent stands and the present one does not. A world draws it all the same and then goes without, so
/// that seeds keep their meaning when a line leaves the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hardship {
    /// Tickets leave the list while a walk reads it: the rest shifts left, and one is hidden at a page boundary.
    LeavingInMidWalk,
    /// Tickets that were away come back into the list while a walk reads it.
    ReturningInMidWalk,
    /// Tickets enter the list at its end, or of a following walk anywhere, while a walk reads it.
    EnteringInMidWalk,
    /// The server's clock steps back: versions come that are older than the stored ones.
    ClockStepsBack,
    /// A date filter that is not what it should be: exclusive, or read in another time zone.
    OtherDateFilter,
    /// `order=id` is ignored.
    OrderIgnored,
    /// The plain list leaves old closed tickets out.
    PartialPlainList,
    /// The status list is refused or unreadable for a while, and numbers stand in for names.
    StatusListFails,
}

/// What the agent cannot stand yet. To be emptied.
pub(crate) const NOT_YET: &[Hardship] = &[];

/// Names of hardships that are tried although they are not stood yet, or `all`.
static TRIED: LazyLock<String> = LazyLock::new(|| std::env::var("HALOSYNC_WORLDS_WITH").unwrap_or_default());

/// Whether worlds may have it.
pub(crate) fn stands(hardship: Hardship) -> bool {
    let tried = || *TRIED == "all" || TRIED.split(',').any(|name| name == format!("{hardship:?}"));
    !NOT_YET.contains(&hardship) || tried()
}

/// A stream of draws that belongs to one part of one world.
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

/// True so many times out of a hundred.
pub(crate) fn percent(chance: &mut Rng, share: u32) -> bool {
    chance.u32(..100) < share
}

/// A world and the agent in it, before the first request.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) tickets: u32,
    /// `name=value`, those that are not as by default.
    pub(crate) knobs: Vec<String>,
    pub(crate) page_size: u32,
    pub(crate) parallel_requests: u32,
    pub(crate) batch_rows: usize,
    pub(crate) follow_every: Duration,
    pub(crate) overlap: Duration,
    pub(crate) full_every: Option<Duration>,
    pub(crate) rate_limit: (u32, Duration),
    pub(crate) max_retries: u32,
    /// How long an answer travels, there and back, at most.
    pub(crate) latency_ms: u64,
    /// Whether people do more than work at tickets: they define fields, change types, cut permissions, restore backups,
    /// and the agent is started with other settings now and then.
    pub(crate) wide: bool,
    pub(crate) passes: Vec<PassPlan>,
}

/// What the agent is told to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopePlan {
    /// Names of the ticket types, as people write them; none is all.
    pub(crate) types: &'static [&'static str],
    pub(crate) custom_fields: bool,
}

impl ScopePlan {
    /// Everything but custom fields.
    pub(crate) const PLAIN: ScopePlan = ScopePlan { types: &[], custom_fields: false };

    fn drawn(chance: &mut Rng) -> ScopePlan {
        let types: [&[&str]; 6] =
            [&[], &[], &[], &["incident"], &["Service Request "], &["Incident", "service request"]];
        ScopePlan { types: types[chance.usize(..6)], custom_fields: percent(chance, 75) }
    }
}

/// What is to befall one pass.
#[derive(Clone, Debug)]
pub(crate) struct PassPlan {
    pub(crate) full: bool,
    pub(crate) accept_deletes: bool,
    /// What people do before it, each after so much time.
    pub(crate) before: Vec<Duration>,
    /// Chance in a hundred that people do something before an answer.
    pub(crate) bustle: u32,
    /// Chance in a hundred that a request meets a fault.
    pub(crate) faults: u32,
    pub(crate) end: End,
    /// Whether the database is closed in good order where the pass came to an end.
    pub(crate) closes: bool,
    /// By how many seconds the local clock is wrong.
    pub(crate) wall_offset: i64,
    pub(crate) scope: ScopePlan,
}

/// How a pass is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Itself,
    /// Killed when this request leaves.
    KilledAtRequest(u32),
    /// Killed when this request was answered by the server, before the answer is seen.
    KilledAtAnswer(u32),
    /// Killed after so many milliseconds.
    KilledAfter(u64),
    /// Asked to stop after so many milliseconds.
    StoppedAfter(u64),
}

/// Knobs that a copy converges under, with the settings to be drawn from. The first ones are turned often.
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

/// The same, each with what it takes.
const HARD_KNOBS: &[(Hardship, u32, &[&str])] = &[
    (Hardship::OtherDateFilter, 10, &["date_filter=exclusive"]),
    (
        Hardship::OtherDateFilter,
        10,
        &["date_filter_shift=60", "date_filter_shift=-60", "date_filter_shift=600"],
    ),
    (Hardship::OrderIgnored, 5, &["order_by_id=ignored"]),
    (Hardship::PartialPlainList, 5, &["plain_list=open_and_recent"]),
];

/// The same, of custom fields.
const FIELD_KNOBS: &[(u32, &[&str])] = &[
    (30, &["include_custom_fields=ignored"]),
    (15, &["field_info=off"]),
    (20, &["unfilled_fields=left_out"]),
    (10, &["listed_fields=display"]),
    (20, &["detail_cache_s=60", "detail_cache_s=7200"]),
];

impl Plan {
    pub(crate) fn of(seed: u64) -> Plan {
        let mut chance = stream(seed, 1, 0);
        let page_size = chance.u32(1..=14);
        let pages = [1, 2, 2, 3, 5, 8][chance.usize(..6)];
        let tickets = (page_size * pages + chance.u32(..page_size)).clamp(5, 90);
        let batch_rows = chance.usize(1..=30);
        let follow_every = Duration::from_secs([1, 5, 60, 300][chance.usize(..4)]);
        let overlap = Duration::from_secs([60, 600, 600, 3_600][chance.usize(..4)]);
        let parallel_requests = chance.u32(1..=6);
        let full_every = [None, Some(6), Some(24), Some(24)][chance.usize(..4)].map(Duration::from_hours);
        let minutes = |minutes| Duration::from_mins(minutes);
        let generous = percent(&mut chance, 85);
        let rate_limit = if generous { (30_000, minutes(5)) } else { (chance.u32(8..80), minutes(1)) };
        let clock_wrong_days = if percent(&mut chance, 50) { 0 } else { chance.i64(1..20) };
        let max_retries = chance.u32(1..=5);
        let latency_ms = [20, 200, 400, 3_000][chance.usize(..4)];
        let passes = chance.u64(2..6);
        let wide = percent(&mut stream(seed, 5, 0), 60);
        let knobs = knobs(seed, overlap, page_size, wide);
        let mut passes: Vec<_> =
            (0..passes).map(|number| PassPlan::of(seed, number, clock_wrong_days)).collect();
        if wide {
            // Without the list of types no name can be made out.
            let nameless = knobs.iter().any(|knob| knob == "reference_needs_all=on");
            let mut chance = stream(seed, 5, 1);
            let mut scope = ScopePlan::drawn(&mut chance);
            for pass in &mut passes {
                if percent(&mut chance, 15) {
                    scope = ScopePlan::drawn(&mut chance);
                }
                pass.scope = if nameless { ScopePlan { types: &[], ..scope } } else { scope };
            }
        }
        Plan {
            seed,
            tickets,
            knobs,
            page_size,
            parallel_requests,
            batch_rows,
            follow_every,
            overlap,
            full_every,
            rate_limit,
            max_retries,
            latency_ms,
            wide,
            passes,
        }
    }

    /// The knobs, turned.
    pub(crate) fn turned(&self) -> Knobs {
        let mut knobs = Knobs::default();
        for knob in &self.knobs {
            knobs.set(knob).expect("a knob");
        }
        knobs
    }
}

fn knobs(seed: u64, overlap: Duration, page_size: u32, wide: bool) -> Vec<String> {
    let mut chance = stream(seed, 2, 0);
    // Packing takes more time than all the rest and is tried elsewhere.
    let mut knobs = vec!["gzip=off".to_owned(), "details_bytes=40".to_owned()];
    for (share, settings) in KNOBS {
        let setting = settings[chance.usize(..settings.len())];
        if percent(&mut chance, *share) {
            knobs.push(setting.to_owned());
        }
    }
    for (hardship, share, settings) in HARD_KNOBS {
        let setting = settings[chance.usize(..settings.len())];
        if percent(&mut chance, *share) && stands(*hardship) {
            knobs.push(setting.to_owned());
        }
    }
    let delay_ms_max = u64::try_from(overlap.as_millis()).expect("an overlap") / 4;
    let delay_ms = [0, 400, chance.u64(..=delay_ms_max)][chance.usize(..3)];
    knobs.push(format!("commit_delay_ms={delay_ms}"));
    let cap = chance.u32(1..=page_size);
    if percent(&mut chance, 15) && page_size <= 2 * cap {
        knobs.push(format!("page_cap={cap}"));
    }
    let mut chance = stream(seed, 6, 0);
    for (share, settings) in FIELD_KNOBS.iter().filter(|_| wide) {
        let setting = settings[chance.usize(..settings.len())];
        // Without a stamp an answer from a cache cannot be told from a present one.
        let told_apart =
            !setting.starts_with("detail_cache") || knobs.iter().all(|it| !it.starts_with("undated"));
        if percent(&mut chance, *share) && told_apart {
            knobs.push(setting.to_owned());
        }
    }
    knobs
}

impl PassPlan {
    fn of(seed: u64, number: u64, clock_wrong_days: i64) -> PassPlan {
        let mut chance = stream(seed, 3, number);
        let pauses = if number == 0 { 0 } else { chance.u32(..6) };
        let pause = |chance: &mut Rng| {
            let seconds_max = [1, 20, 60, 600, 3_600, 90_000][chance.usize(..6)];
            Duration::from_millis(chance.u64(..seconds_max * 1_000))
        };
        let before = (0..pauses).map(|_| pause(&mut chance)).collect();
        let bustle = [0, 5, 15, 40][chance.usize(..4)];
        let faults = [0, 0, 3, 8, 20][chance.usize(..5)];
        // About six requests come before a first walk, and one before a later one.
        let calls_max = [5, 10, 14, 30][chance.usize(..4)];
        let after_ms_max = [500, 5_000, 60_000][chance.usize(..3)];
        let (calls, after_ms) = (chance.u32(3..=calls_max), chance.u64(..after_ms_max));
        let end = match chance.u32(..100) {
            0..15 => End::KilledAtRequest(calls),
            15..30 => End::KilledAtAnswer(calls),
            30..40 => End::KilledAfter(after_ms),
            40..46 => End::StoppedAfter(after_ms),
            _ => End::Itself,
        };
        let wrong = 86_400 * clock_wrong_days;
        PassPlan {
            full: percent(&mut chance, 25),
            accept_deletes: percent(&mut chance, 10),
            before,
            bustle,
            faults,
            end,
            closes: percent(&mut chance, 30),
            wall_offset: if wrong == 0 { 0 } else { chance.i64(-wrong..wrong) },
            scope: ScopePlan::PLAIN,
        }
    }
}

impl PassPlan {
    /// Nothing befalls it.
    pub(crate) fn quiet(scope: ScopePlan) -> PassPlan {
        PassPlan {
            full: true,
            accept_deletes: true,
            before: Vec::new(),
            bustle: 0,
            faults: 0,
            end: End::Itself,
            closes: true,
            wall_offset: 0,
            scope,
        }
    }
}
