//! A consumer that applied every package has the tickets of the database, and so has a snapshot: after random changes,
//! kills and formats.

use fastrand::Rng;
use serde_json::{Value as Json, json};

use crate::export_env::{ExportEnv, HOSTILE_TEXTS};
use crate::readers::{assert_equal, fold, snapshot};
use crate::support::env_number;

/// The number of random histories, unless `HALOSYNC_EXPORTS` sets it.
const HISTORIES: u64 = 6;

const STEPS: u32 = 18;

const FORMATS: &[&str] =
    if cfg!(feature = "lake") { &["csv", "jsonl", "json", "parquet"] } else { &["csv", "jsonl", "json"] };

#[test]
fn applied_packages_equal_the_database() {
    let seeds = match env_number("HALOSYNC_EXPORTS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..env_number("HALOSYNC_EXPORTS").unwrap_or(HISTORIES),
    };
    for seed in seeds {
        eprintln!("HALOSYNC_EXPORTS_SEED={seed}");
        run_history(seed);
    }
}

fn run_history(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let env = ExportEnv::with_custom_fields("", rng.bool());
    for step in 0..STEPS {
        let context = format!("seed {seed}, step {step}");
        match rng.u32(0..10) {
            0..4 => env.store_rows(&(0..rng.u32(1..8)).map(|_| random_ticket(&mut rng)).collect::<Vec<_>>()),
            4..6 => {
                let ids: Vec<_> = env.tickets().into_keys().collect();
                let gone: Vec<_> = ids.into_iter().filter(|_| rng.u32(0..4) == 0).collect();
                env.remove_tickets(&gone);
            }
            6..9 => export_delta(&env, &mut rng, &context),
            _ => take_snapshot(&env, &mut rng, &context),
        }
    }
    let last = env.last_seq().to_string();
    for consumer in ["one", "two"] {
        env.run_ok(&["export", "delta", "--consumer", consumer]);
        assert_equal(&fold(&env.deltas(consumer)), &env.tickets(), &format!("seed {seed}: {consumer}"));
        let folder = env.deltas(consumer);
        // A history may end without a change.
        if last != "0" {
            env.run_ok(&["export", "verify", folder.to_str().unwrap(), "--expect-to", &last]);
        }
    }
    take_snapshot(&env, &mut rng, &format!("seed {seed}"));
    if last != "0" {
        env.run_ok(&["export", "verify", "export", "--expect-to", &last]);
    }
}

/// Exports for one of two consumers; at times an older copy of the database is restored afterwards, and exports again.
fn export_delta(env: &ExportEnv, rng: &mut Rng, context: &str) {
    let consumer = if rng.bool() { "one" } else { "two" };
    let mut arguments = vec!["export", "delta", "--consumer", consumer];
    arguments.extend(random_options(rng));
    let before = env.back_up_database();
    env.run_ok(&arguments);
    if rng.u32(0..3) == 0 {
        // The files are newer than the database then.
        env.restore_database(&before);
        if rng.bool() {
            env.store_rows(&[random_ticket(rng)]);
        }
        env.run_ok(&["export", "delta", "--consumer", consumer]);
        assert_equal(&fold(&env.deltas(consumer)), &env.tickets(), context);
    }
}

fn take_snapshot(env: &ExportEnv, rng: &mut Rng, context: &str) {
    let mut arguments = vec!["export", "snapshot"];
    arguments.extend(random_options(rng));
    let taken = env.run_ok(&arguments);
    let folder = taken["folder"].as_str().unwrap();
    assert_equal(&snapshot(folder.as_ref(), env.custom_fields), &env.tickets(), context);
}

fn random_options(rng: &mut Rng) -> Vec<&'static str> {
    let format = FORMATS[rng.usize(0..FORMATS.len())];
    let mut options = vec!["--format", format];
    let of_csv = [(3, &["--excel"][..]), (3, &["--newlines", "escape"]), (6, &["--newlines", "keep"])];
    let of_csv = of_csv.into_iter().filter(|_| format == "csv");
    let gzip = [(2, &["--gzip"][..])].into_iter().filter(|_| format != "parquet");
    for (one_in, option) in of_csv.chain(gzip) {
        if rng.u32(0..one_in) == 0 && !options.contains(&option[0]) {
            options.extend(option);
        }
    }
    options
}

/// One of twenty tickets, with random values of all kinds.
fn random_ticket(rng: &mut Rng) -> Json {
    let text = |rng: &mut Rng| HOSTILE_TEXTS[rng.usize(0..HOSTILE_TEXTS.len())];
    let reals = [0.1, -2.5e-8, 1e16, 1.5e300, 3.0, f64::MIN_POSITIVE, -123_456.789];
    let mut row = json!({
        "id": rng.i64(1..=20),
        "summary": text(rng),
        "details": format!("{}{}", text(rng), text(rng).repeat(rng.usize(0..3))),
        "status_id": rng.u32(1..5),
        "cost": reals[rng.usize(0..reals.len())],
        "ticketage": f64::from(rng.u32(0..1000)) / 7.0,
        "flagged": rng.bool(),
        "last_update": format!("2026-11-22T11:{:02}:00", rng.u32(0..60)),
    });
    let value = |rng: &mut Rng| {
        [json!(text(rng)), json!(rng.i64(0..3)), json!([1, "x"]), Json::Null][rng.usize(0..4)].clone()
    };
    let mut fields = Vec::new();
    for id in 120..120 + rng.i64(0..4) {
        let (label, value, display) = (text(rng), value(rng), text(rng));
        fields.push(json!({
            "id": id, "name": "CFa", "label": label, "type": 2, "value": value, "display": display,
        }));
    }
    row["customfields"] = fields.into();
    if rng.bool() {
        row["category_1"] = Json::Null;
    } else {
        row["category_1"] = text(rng).into();
    }
    row
}

#[test]
fn hostile_and_long_texts_round_trip_in_every_format() {
    let env = ExportEnv::new("");
    let long = "A \"line\", and\r\nanother.\\".repeat(450_000);
    assert!(10_000_000 < long.len());
    let hostile = HOSTILE_TEXTS.iter().enumerate();
    let rows =
        hostile.map(|(position, text)| json!({ "id": position + 2, "summary": text, "details": text }));
    let first = json!({ "id": 1, "summary": "long", "details": long, "cost": 0.1 + 0.2 });
    env.store_rows(&[first].into_iter().chain(rows).collect::<Vec<_>>());
    for (number, style) in
        [&["csv"][..], &["csv", "--gzip", "--excel"], &["jsonl"], &["json", "--gzip"], &["parquet"]]
            .into_iter()
            .filter(|style| FORMATS.contains(&style[0]))
            .enumerate()
    {
        let consumer = format!("c{number}");
        let mut arguments = vec!["export", "delta", "--consumer", &consumer, "--format"];
        arguments.extend(style);
        env.run_ok(&arguments);
        assert_equal(&fold(&env.deltas(&consumer)), &env.tickets(), &format!("{style:?}"));
    }
}
