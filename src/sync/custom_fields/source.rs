//! Where custom fields are read from: the list or single tickets.
//!
//! Pure. A server that knows `include_custom_fields` returns them with every row. Only where it does not, or does it
//! wrongly, is every changed ticket fetched alone (`halo-api.md` §2.6).

use serde_json::Value as Json;

use crate::store::CustomFieldsState;
use crate::ticket::{CustomField, CustomFields, Ticket};

/// Where the custom fields of tickets are read from.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldSource {
    /// Nowhere: they are not synchronized.
    NotSynced,
    /// The list, as far as is known.
    List {
        /// The fields that are requested.
        definitions: Vec<CustomField>,
        /// Whether a row without custom fields means that the ticket has no values in them.
        omitted_is_empty: bool,
    },
    /// Each ticket alone.
    SingleTicket,
}

impl FieldSource {
    /// Decides by the result so far and the known definitions.
    #[must_use]
    pub fn from_probe_result(result: Option<FieldProbeResult>, definitions: Vec<CustomField>) -> FieldSource {
        match result {
            Some(FieldProbeResult::Unreliable) => FieldSource::SingleTicket,
            result => FieldSource::List {
                omitted_is_empty: match result {
                    Some(FieldProbeResult::ListedUnlessEmpty) => true,
                    // As long as no field has become known since.
                    Some(FieldProbeResult::NoFields) => definitions.is_empty(),
                    _ => false,
                },
                definitions,
            },
        }
    }

    /// The ids of the fields that are requested from the list.
    #[must_use]
    pub fn requested_ids(&self) -> Vec<i64> {
        match self {
            FieldSource::NotSynced | FieldSource::SingleTicket => Vec::new(),
            FieldSource::List { definitions, .. } => definitions.iter().map(|field| field.id).collect(),
        }
    }

    /// The custom fields that a row of the list provides; they are taken out of the ticket.
    pub fn extract_from(&self, ticket: &mut Ticket) -> CustomFieldsState {
        let (listed, is_unreadable) = (ticket.take_custom_fields(), ticket.has_unreadable_custom_fields());
        match self {
            FieldSource::NotSynced => CustomFieldsState::NotSynced,
            FieldSource::SingleTicket => CustomFieldsState::NotProvided,
            FieldSource::List { definitions, omitted_is_empty } => match listed {
                Some(fields) => CustomFieldsState::Provided(fields.with_definitions(definitions)),
                None if is_unreadable => CustomFieldsState::Unreadable,
                None if *omitted_is_empty => CustomFieldsState::Omitted,
                None => CustomFieldsState::NotProvided,
            },
        }
    }
}

/// The result of comparing the list with single tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldProbeResult {
    /// The list returns the same, in every row.
    Listed,
    /// The list returns the same, and leaves out empty fields.
    ListedUnlessEmpty,
    /// The list returns nothing, or something else.
    Unreliable,
    /// No ticket has any custom field, with a value or without.
    NoFields,
    /// There was nothing to compare.
    Unknown,
}

impl FieldProbeResult {
    const ALL: [FieldProbeResult; 5] = [
        FieldProbeResult::Listed,
        FieldProbeResult::ListedUnlessEmpty,
        FieldProbeResult::Unreliable,
        FieldProbeResult::NoFields,
        FieldProbeResult::Unknown,
    ];

    /// Its text in `server_probes.result`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FieldProbeResult::Listed => "listed",
            FieldProbeResult::ListedUnlessEmpty => "listed_unless_empty",
            FieldProbeResult::Unreliable => "unreliable",
            FieldProbeResult::NoFields => "no_fields",
            FieldProbeResult::Unknown => "unknown",
        }
    }

    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<FieldProbeResult> {
        FieldProbeResult::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// Values longer than this, in bytes, are compared as texts.
const NORMALIZED_MAX: usize = 64 << 10;

/// What comparing the list with single tickets came to so far. Only the fields that were requested are compared. Servers
/// differ in whether they return a field without a value, so that is no difference.
#[derive(Debug)]
pub struct FieldComparison<'r> {
    requested: &'r [i64],
    /// How many tickets were compared.
    pub samples: u32,
    matched: bool,
    omitted: bool,
    differs: bool,
    /// How many of them have any custom field, with a value or without.
    with_fields: u32,
}

impl FieldComparison<'_> {
    /// Nothing is compared yet.
    #[must_use]
    pub fn new(requested: &[i64]) -> FieldComparison<'_> {
        FieldComparison {
            requested,
            samples: 0,
            matched: false,
            omitted: false,
            differs: false,
            with_fields: 0,
        }
    }

    /// Compares the custom fields of one ticket in the list, if the list returned them, with those of the same version in
    /// the response for this ticket alone.
    pub fn add(&mut self, listed: Option<&CustomFields>, single: &CustomFields) {
        self.samples += 1;
        self.with_fields +=
            u32::from([listed, Some(single)].into_iter().flatten().any(|it| !it.fields().is_empty()));
        let is_compared = |field: &&CustomField| field.has_value() && self.requested.contains(&field.id);
        let single: Vec<_> = single.fields().iter().filter(is_compared).collect();
        let listed = listed.map(|it| it.fields().iter().filter(is_compared).collect::<Vec<_>>());
        match listed {
            Some(listed) if have_same_values(&listed, &single) => self.matched |= !single.is_empty(),
            None if single.is_empty() => self.omitted = true,
            Some(_) | None => self.differs = true,
        }
    }

    /// Returns what all samples together show.
    #[must_use]
    pub fn result(&self) -> FieldProbeResult {
        match (self.matched, self.omitted) {
            _ if self.differs => FieldProbeResult::Unreliable,
            (true, false) => FieldProbeResult::Listed,
            (true, true) => FieldProbeResult::ListedUnlessEmpty,
            (false, _) if self.requested.is_empty() && self.samples != 0 && self.with_fields == 0 => {
                FieldProbeResult::NoFields
            }
            (false, _) => FieldProbeResult::Unknown,
        }
    }
}

/// What follows from a comparison for the stored tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldFollowUp {
    /// Nothing.
    None,
    /// The list was wrong: the custom fields of every ticket become pending.
    EnqueueAll,
    /// What the list did not return is empty.
    TreatOmittedAsEmpty,
}

/// Concludes from a comparison: the result that holds from here on, and what follows. `list_trusted` says whether the scan
/// before it relied on the list: only then do the pending fetches come from rows without custom fields.
#[must_use]
pub fn conclude_probe(
    previous: Option<FieldProbeResult>,
    found: FieldProbeResult,
    list_trusted: bool,
) -> (FieldProbeResult, FieldFollowUp) {
    match found {
        // A comparison that proves nothing leaves the earlier result in force.
        FieldProbeResult::Unknown => (previous.unwrap_or(found), FieldFollowUp::None),
        // Rows of an earlier, interrupted scan may have wrong custom fields from the list: all are fetched again.
        FieldProbeResult::Unreliable if previous != Some(found) => (found, FieldFollowUp::EnqueueAll),
        FieldProbeResult::ListedUnlessEmpty | FieldProbeResult::NoFields if list_trusted => {
            (found, FieldFollowUp::TreatOmittedAsEmpty)
        }
        found => (found, FieldFollowUp::None),
    }
}

fn have_same_values(listed: &[&CustomField], single: &[&CustomField]) -> bool {
    listed.len() == single.len()
        && listed.iter().zip(single).all(|(listed, single)| {
            listed.id == single.id && is_same_value(listed.value.as_deref(), single.value.as_deref())
        })
}

/// Whether two values are the same without regard to the order of their members. Of long ones the texts are compared: as
/// trees they would take many times their memory.
fn is_same_value(one: Option<&str>, other: Option<&str>) -> bool {
    let normalize = |value: Option<&str>| value.and_then(|it| serde_json::from_str::<Json>(it).ok());
    one == other
        || [one, other].iter().flatten().all(|it| it.len() <= NORMALIZED_MAX)
            && normalize(one).is_some_and(|it| normalize(other) == Some(it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::parse;

    fn fields(values: &[(i64, &str)]) -> CustomFields {
        let field = |(id, value): &(i64, &str)| CustomField {
            id: *id,
            value: Some((*value).to_owned()),
            ..CustomField::default()
        };
        values.iter().map(field).collect::<Vec<_>>().into()
    }

    #[test]
    fn list_is_trusted_only_where_it_matches_single_tickets() {
        use FieldProbeResult::{Listed, ListedUnlessEmpty, Unknown, Unreliable};
        let full = fields(&[(1, "x"), (2, "7")]);
        let sample =
            |listed: Option<&[(i64, &str)]>, single: &[(i64, &str)]| (listed.map(fields), fields(single));
        let compare = |samples: &[(Option<CustomFields>, CustomFields)], requested: &[i64]| {
            let mut compared = FieldComparison::new(requested);
            for (listed, single) in samples {
                compared.add(listed.as_ref(), single);
            }
            compared.result()
        };
        let (members, reordered) = (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1}"#);
        let long = |value: &str| format!(r#"["{}",{value}]"#, "x".repeat(NORMALIZED_MAX));
        for (name, samples, result) in [
            ("nothing to compare", vec![], Unknown),
            ("the same", vec![(Some(full.clone()), full.clone())], Listed),
            ("the parameter is not known", vec![(None, full.clone())], Unreliable),
            ("another order", vec![sample(Some(&[(1, members)]), &[(1, reordered)])], Listed),
            (
                "a long value in the same order",
                vec![sample(Some(&[(1, &long(members))]), &[(1, &long(members))])],
                Listed,
            ),
            (
                "a long value in another order",
                vec![sample(Some(&[(1, &long(members))]), &[(1, &long(reordered))])],
                Unreliable,
            ),
            ("another value", vec![sample(Some(&[(1, "y")]), &[(1, "x")])], Unreliable),
            ("a value is missing", vec![sample(Some(&[(1, "x")]), &[(1, "x"), (2, "7")])], Unreliable),
            ("an empty one is left out", vec![sample(Some(&[(1, "x")]), &[(1, "x"), (2, "")])], Listed),
            (
                "a field that was not asked for",
                vec![sample(Some(&[(1, "x")]), &[(1, "x"), (9, "z")])],
                Listed,
            ),
            ("only empty ones", vec![sample(Some(&[]), &[(1, "")]), sample(None, &[])], Unknown),
            (
                "nothing for a ticket that has none",
                vec![sample(Some(&[(1, "x")]), &[(1, "x")]), sample(None, &[(1, "")])],
                ListedUnlessEmpty,
            ),
            (
                "right once and wrong once",
                vec![sample(Some(&[(1, "x")]), &[(1, "x")]), sample(None, &[(1, "x")])],
                Unreliable,
            ),
        ] {
            assert_eq!(compare(&samples, &[1, 2]), result, "{name}");
        }
        let (none, unknown) = (sample(None, &[]), sample(None, &[(1, "x")]));
        assert_eq!(compare(std::slice::from_ref(&none), &[]), FieldProbeResult::NoFields);
        assert_eq!(compare(&[none, unknown], &[]), Unknown, "a field that nobody knew of");
    }

    #[test]
    fn inconclusive_probe_changes_nothing_and_keeps_other_pending_fetches() {
        use FieldProbeResult::{Listed, ListedUnlessEmpty, NoFields, Unknown, Unreliable};
        for (previous, found, list_trusted, expected) in [
            (None, Unknown, true, (Unknown, FieldFollowUp::None)),
            (Some(Unreliable), Unknown, false, (Unreliable, FieldFollowUp::None)),
            (Some(ListedUnlessEmpty), Unknown, true, (ListedUnlessEmpty, FieldFollowUp::None)),
            (None, Unreliable, true, (Unreliable, FieldFollowUp::EnqueueAll)),
            (Some(Listed), Unreliable, true, (Unreliable, FieldFollowUp::EnqueueAll)),
            (None, Unreliable, false, (Unreliable, FieldFollowUp::EnqueueAll)),
            (Some(Unreliable), Unreliable, false, (Unreliable, FieldFollowUp::None)),
            (None, ListedUnlessEmpty, true, (ListedUnlessEmpty, FieldFollowUp::TreatOmittedAsEmpty)),
            (Some(Unreliable), ListedUnlessEmpty, false, (ListedUnlessEmpty, FieldFollowUp::None)),
            (None, NoFields, true, (NoFields, FieldFollowUp::TreatOmittedAsEmpty)),
            (Some(Unreliable), Listed, false, (Listed, FieldFollowUp::None)),
        ] {
            assert_eq!(
                conclude_probe(previous, found, list_trusted),
                expected,
                "{previous:?}, then {found:?}, list trusted: {list_trusted}"
            );
        }
        for (result, word) in [
            (Listed, "listed"),
            (ListedUnlessEmpty, "listed_unless_empty"),
            (Unreliable, "unreliable"),
            (NoFields, "no_fields"),
            (Unknown, "unknown"),
        ] {
            assert_eq!((result.as_str(), FieldProbeResult::parse(word)), (word, Some(result)));
        }
    }

    #[test]
    fn custom_fields_of_a_row_follow_the_field_source() {
        let definitions = vec![CustomField { id: 1, name: Some("CFa".into()), ..CustomField::default() }];
        let list =
            |omitted_is_empty| FieldSource::List { definitions: definitions.clone(), omitted_is_empty };
        let row = |json: &str| parse::parse_ticket(json.as_bytes()).unwrap();
        let with = r#"{"id": 7, "customfields": [{"id": 1, "value": "x"}]}"#;
        let without = r#"{"id": 7}"#;
        let known = CustomField {
            id: 1,
            value: Some("x".into()),
            name: Some("CFa".into()),
            ..CustomField::default()
        };
        for (source, json, expected) in [
            (FieldSource::NotSynced, with, CustomFieldsState::NotSynced),
            (FieldSource::SingleTicket, with, CustomFieldsState::NotProvided),
            (list(false), with, CustomFieldsState::Provided(vec![known].into())),
            (list(false), without, CustomFieldsState::NotProvided),
            (list(true), r#"{"id": 7, "customfields": "none"}"#, CustomFieldsState::Unreadable),
            (list(true), r#"{"id": 7, "customfields": null}"#, CustomFieldsState::Unreadable),
            (list(true), without, CustomFieldsState::Omitted),
            (FieldSource::from_probe_result(None, vec![]), without, CustomFieldsState::NotProvided),
            (
                FieldSource::from_probe_result(Some(FieldProbeResult::NoFields), vec![]),
                without,
                CustomFieldsState::Omitted,
            ),
            (
                FieldSource::from_probe_result(Some(FieldProbeResult::NoFields), definitions.clone()),
                without,
                CustomFieldsState::NotProvided,
            ),
        ] {
            let mut ticket = row(json);
            assert_eq!(source.extract_from(&mut ticket), expected, "{source:?} {json}");
            assert_eq!(ticket.custom_fields(), None, "custom fields are taken out of the ticket");
        }
    }
}
