//! How far the lake is, for people. Pure: value in, text out.

use indicatif::HumanCount;

use crate::app::{LakeStatus, count};
use crate::cli::{format_time, printable};
use crate::config::size_to_text;

/// Formats how far the lake is, as names and values.
pub(in crate::cli) fn lake_facts(status: &LakeStatus) -> Vec<(String, String)> {
    let LakeStatus { url, server, epoch, announced, to_seq, last_seq, waiting, pushes } = status;
    let number = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let epoch = match (epoch, announced) {
        (None, _) => "none yet: nothing was shipped".to_owned(),
        (Some(epoch), true) => epoch.to_string(),
        (Some(epoch), false) => {
            format!("{epoch}; readers do not use it before its first package is there")
        }
    };
    let mut facts = vec![
        ("Lake", format!("{url}, as {server}")),
        ("Epoch", epoch),
        ("Shipped", format!("up to change {} of {}", number(*to_seq), number(*last_seq))),
    ];
    if let Some(oldest_at) = waiting.oldest_at {
        let (packages, bytes) = (count(waiting.packages, "package"), size_to_text(waiting.bytes));
        facts.push(("Waiting", format!("{packages}, {bytes}, the oldest from {}", format_time(oldest_at))));
    }
    if let Some(pushes) = pushes {
        let last = pushes.succeeded_at.map_or("none that shipped everything".to_owned(), format_time);
        facts.push(("Last push", last));
        if let Some(error) = &pushes.error {
            let (times, at) = (count(pushes.failures.into(), "time"), format_time(pushes.attempted_at));
            facts.push(("Failed", format!("{times}, last at {at}: {}", printable(error))));
        }
    }
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{LakeBacklog, LakePushes};

    #[test]
    fn facts_say_what_waits_and_why() {
        let at = |text: &str| Some(text.parse().unwrap());
        let status = LakeStatus {
            url: "s3://lake/halo".into(),
            server: "acme".into(),
            epoch: Some(3),
            announced: true,
            to_seq: 41_000,
            last_seq: 41_230,
            waiting: LakeBacklog::default(),
            pushes: Some(LakePushes {
                attempted_at: "2026-11-26T12:00:00.000Z".parse().unwrap(),
                succeeded_at: at("2026-11-26T12:00:00.000Z"),
                failures: 0,
                error: None,
            }),
        };
        let text = |status: &LakeStatus| {
            lake_facts(status).iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
        };
        assert_eq!(
            text(&status),
            "Lake: s3://lake/halo, as acme\nEpoch: 3\nShipped: up to change 41,000 of 41,230\n\
             Last push: 2026-11-26T12:00:00Z\n"
        );
        let failing = LakeStatus {
            announced: false,
            waiting: LakeBacklog { packages: 2, bytes: 5 << 20, oldest_at: at("2026-11-26T11:00:00.000Z") },
            pushes: Some(LakePushes {
                attempted_at: "2026-11-26T12:00:00.000Z".parse().unwrap(),
                succeeded_at: None,
                failures: 4,
                error: Some("the object store does not answer: connection refused".into()),
            }),
            ..status
        };
        assert_eq!(
            text(&failing),
            "Lake: s3://lake/halo, as acme\nEpoch: 3; readers do not use it before its first package is there\n\
             Shipped: up to change 41,000 of 41,230\n\
             Waiting: 2 packages, 5.0 MB, the oldest from 2026-11-26T11:00:00Z\n\
             Last push: none that shipped everything\n\
             Failed: 4 times, last at 2026-11-26T12:00:00Z: the object store does not answer: connection refused\n"
        );
    }
}
