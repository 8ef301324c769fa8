//! Fixture texts, prepared for rows.

use crate::fixtures;
use crate::json;

/// The fixture texts, escaped once, because a page contains about 2,000 of them.
#[derive(Clone, Debug)]
pub(crate) struct Phrases {
    pub(crate) summaries: Vec<String>,
    pub(crate) hostile_summaries: Vec<String>,
    pub(crate) sentences: Vec<String>,
}

impl Phrases {
    pub(crate) fn new() -> Phrases {
        let escaped = |texts: &[&str]| texts.iter().map(|text| json::escaped(text)).collect();
        // Each sentence includes its separator from the next: usually a space, sometimes a line break.
        let ends = [" ", " ", " ", "\\r\\n", " ", "\\r\\n\\r\\n"];
        let sentences = fixtures::SENTENCES.iter().zip(ends.iter().cycle());
        Phrases {
            summaries: escaped(&fixtures::SUMMARIES),
            hostile_summaries: escaped(&fixtures::HOSTILE_SUMMARIES),
            sentences: sentences.map(|(text, end)| json::escaped(text) + end).collect(),
        }
    }
}
