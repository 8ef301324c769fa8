//! What a consumer has who took every package is what the copy holds, and what a snapshot holds: over random histories,
//! moments, kills and ways of writing.

use std::fs;

use fastrand::Rng;
use serde_json::{Value as Json, json};

use crate::desk::{Desk, HOSTILE, names};
use crate::readers::{assert_equal, fold, snapshot};

/// Histories, unless `HALOSYNC_EXPORTS` says how many.
const HISTORIES: u64 = 6;

const STEPS: u32 = 18;

#[test]
fn what_the_packages_come_to_is_the_copy() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let seeds = match number("HALOSYNC_EXPORTS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HALOSYNC_EXPORTS").unwrap_or(HISTORIES),
    };
    for seed in seeds {
        eprintln!("HALOSYNC_EXPORTS_SEED={seed}");
        play(seed);
    }
}

fn play(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let desk = Desk::of("", rng.bool());
    for step in 0..STEPS {
        let when = format!("seed {seed}, step {step}");
        match rng.u32(0..10) {
            0..4 => desk.apply(&(0..rng.u32(1..8)).map(|_| a_ticket(&mut rng)).collect::<Vec<_>>()),
            4..6 => {
                let ids: Vec<_> = desk.tickets().into_keys().collect();
                let gone: Vec<_> = ids.into_iter().filter(|_| rng.u32(0..4) == 0).collect();
                desk.remove(&gone);
            }
            6..9 => hand_on(&desk, &mut rng, &when),
            _ => take_snapshot(&desk, &mut rng, &when),
        }
    }
    let last = desk.last_seq().to_string();
    for consumer in ["one", "two"] {
        desk.good(&["export", "delta", "--consumer", consumer]);
        assert_equal(&fold(&desk.deltas(consumer)), &desk.tickets(), &format!("seed {seed}: {consumer}"));
        let folder = desk.deltas(consumer);
        // A history may end before anything happened.
        if last != "0" {
            desk.good(&["export", "verify", folder.to_str().unwrap(), "--expect-to", &last]);
        }
    }
    take_snapshot(&desk, &mut rng, &format!("seed {seed}"));
    if last != "0" {
        desk.good(&["export", "verify", "export", "--expect-to", &last]);
    }
}

/// Hands on to one of two consumers, is killed on the way at times, and others go on meanwhile.
fn hand_on(desk: &Desk, rng: &mut Rng, when: &str) {
    let consumer = if rng.bool() { "one" } else { "two" };
    let mut arguments = vec!["export", "delta", "--consumer", consumer];
    arguments.extend(style(rng));
    let before = desk.back_up();
    desk.good(&arguments);
    if rng.u32(0..3) == 0 {
        // Killed when the files had their names and the book was not written: as if that had never been.
        desk.restore(&before);
        let folder = desk.deltas(consumer);
        let newest = names(&folder).into_iter().rfind(|name| name.ends_with(".manifest.json"));
        if let Some(newest) = newest.filter(|_| rng.bool()) {
            // Or when the manifest had no name yet.
            fs::rename(folder.join(newest), folder.join(".halosync-kill.tmp")).unwrap();
        }
        if rng.bool() {
            desk.apply(&[a_ticket(rng)]);
        }
        desk.good(&["export", "delta", "--consumer", consumer]);
        assert_equal(&fold(&folder), &desk.tickets(), when);
    }
}

fn take_snapshot(desk: &Desk, rng: &mut Rng, when: &str) {
    let mut arguments = vec!["export", "snapshot"];
    arguments.extend(style(rng));
    let taken = desk.good(&arguments);
    let folder = taken["folder"].as_str().unwrap();
    assert_equal(&snapshot(folder.as_ref(), desk.custom_fields), &desk.tickets(), when);
}

fn style(rng: &mut Rng) -> Vec<&'static str> {
    let mut style = vec!["--format", ["csv", "jsonl", "json"][rng.usize(0..3)]];
    for (chance, option) in [(2, &["--gzip"][..]), (3, &["--excel-safe"]), (3, &["--newlines", "escape"])] {
        if rng.u32(0..chance) == 0 {
            style.extend(option);
        }
    }
    style
}

/// A ticket of twenty, with all kinds of values.
fn a_ticket(rng: &mut Rng) -> Json {
    let text = |rng: &mut Rng| HOSTILE[rng.usize(0..HOSTILE.len())];
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
fn hostile_texts_and_a_description_of_ten_megabytes_come_back_equal_from_each_format() {
    let desk = Desk::new("");
    let long = "A \"line\", and\r\nanother.\\".repeat(450_000);
    assert!(10_000_000 < long.len());
    let hostile = HOSTILE.iter().enumerate();
    let rows = hostile.map(|(place, text)| json!({ "id": place + 2, "summary": text, "details": text }));
    let first = json!({ "id": 1, "summary": "long", "details": long, "cost": 0.1 + 0.2 });
    desk.apply(&[first].into_iter().chain(rows).collect::<Vec<_>>());
    for (number, style) in [
        &["csv"][..],
        &["csv", "--gzip", "--excel-safe", "--newlines", "escape"],
        &["jsonl"],
        &["json", "--gzip"],
    ]
    .into_iter()
    .enumerate()
    {
        let consumer = format!("c{number}");
        let mut arguments = vec!["export", "delta", "--consumer", &consumer, "--format"];
        arguments.extend(style);
        desk.good(&arguments);
        assert_equal(&fold(&desk.deltas(&consumer)), &desk.tickets(), &format!("{style:?}"));
    }
}
