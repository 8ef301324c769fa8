//! Custom fields at the price of the list: whether the list tells them, and what a row tells.
//!
//! Pure. A server that knows `include_custom_fields` shows them with every row; only where it does not, or
//! does it wrongly, is every changed ticket asked for alone (`halo-api.md` §2.6).

use serde_json::Value as Json;

use crate::store::Told;
use crate::ticket::{CustomField, CustomFields, Ticket};

/// Where the custom fields of a ticket are told.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldSource {
    /// Nowhere: they are not copied.
    Off,
    /// In the list, as far as is known.
    List {
        /// Those that are asked for.
        definitions: Vec<CustomField>,
        /// Whether a row without any is one of a ticket that has none.
        unlisted_is_empty: bool,
    },
    /// In the ticket alone.
    Ticket,
}

impl FieldSource {
    /// Decides by the verdict so far and the definitions that are known.
    #[must_use]
    pub fn by(verdict: Option<FieldVerdict>, definitions: Vec<CustomField>) -> FieldSource {
        match verdict {
            Some(FieldVerdict::Wrong) => FieldSource::Ticket,
            verdict => FieldSource::List {
                unlisted_is_empty: match verdict {
                    Some(FieldVerdict::ListedUnlessEmpty) => true,
                    // As long as no field is known after all.
                    Some(FieldVerdict::NoFields) => definitions.is_empty(),
                    _ => false,
                },
                definitions,
            },
        }
    }

    /// The numbers of the fields that the list is asked for.
    #[must_use]
    pub fn asked(&self) -> Vec<i64> {
        match self {
            FieldSource::Off | FieldSource::Ticket => Vec::new(),
            FieldSource::List { definitions, .. } => definitions.iter().map(|field| field.id).collect(),
        }
    }

    /// What a row of the list tells; its custom fields are taken out of it.
    pub fn told(&self, ticket: &mut Ticket) -> Told {
        let (shown, unclear) = (ticket.take_custom_fields(), ticket.has_unclear_fields());
        match self {
            FieldSource::Off => Told::Off,
            FieldSource::Ticket => Told::Unknown,
            FieldSource::List { definitions, unlisted_is_empty } => match shown {
                Some(fields) => Told::Known(fields.named_by(definitions)),
                None if *unlisted_is_empty && !unclear => Told::Known(CustomFields::default()),
                None => Told::Unknown,
            },
        }
    }
}

/// What a comparison of the list with single tickets came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldVerdict {
    /// The list tells the same, in every row.
    Listed,
    /// It tells the same, and leaves out what is empty.
    ListedUnlessEmpty,
    /// It tells nothing, or something else.
    Wrong,
    /// No ticket has any custom field, filled or not.
    NoFields,
    /// There was nothing to compare.
    Unknown,
}

impl FieldVerdict {
    const ALL: [FieldVerdict; 5] = [
        FieldVerdict::Listed,
        FieldVerdict::ListedUnlessEmpty,
        FieldVerdict::Wrong,
        FieldVerdict::NoFields,
        FieldVerdict::Unknown,
    ];

    /// Its word in `calibrations.verdict`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            FieldVerdict::Listed => "listed",
            FieldVerdict::ListedUnlessEmpty => "listed_unless_empty",
            FieldVerdict::Wrong => "one_by_one",
            FieldVerdict::NoFields => "none",
            FieldVerdict::Unknown => "unknown",
        }
    }

    /// From its word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<FieldVerdict> {
        FieldVerdict::ALL.into_iter().find(|it| it.word() == word)
    }
}

/// One ticket by the list and by itself, in the same version.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What the list told; `None` where it told nothing.
    pub listed: Option<CustomFields>,
    /// What the ticket itself told.
    pub alone: CustomFields,
}

/// Compares by the values of the fields that were asked for. Servers differ in whether they name a field
/// that holds nothing, so that is no difference.
#[must_use]
pub fn compare(samples: &[Sample], asked: &[i64]) -> FieldVerdict {
    let filled = |fields: &CustomFields| -> Vec<(i64, Option<Json>)> {
        let fields = fields.fields().iter().filter(|it| it.is_filled() && asked.contains(&it.id));
        fields.map(|field| (field.id, field.value.as_deref().map(meaning))).collect()
    };
    let (mut shown, mut unlisted) = (false, false);
    for Sample { listed, alone } in samples {
        let alone = filled(alone);
        match listed.as_ref().map(filled) {
            Some(listed) if listed == alone => shown |= !alone.is_empty(),
            None if alone.is_empty() => unlisted = true,
            Some(_) | None => return FieldVerdict::Wrong,
        }
    }
    let has_fields = |sample: &Sample| {
        !sample.alone.fields().is_empty() || sample.listed.as_ref().is_some_and(|it| !it.fields().is_empty())
    };
    match (shown, unlisted) {
        (true, false) => FieldVerdict::Listed,
        (true, true) => FieldVerdict::ListedUnlessEmpty,
        (false, _) if asked.is_empty() && !samples.is_empty() && !samples.iter().any(has_fields) => {
            FieldVerdict::NoFields
        }
        (false, _) => FieldVerdict::Unknown,
    }
}

/// What follows from a comparison for the tickets that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Nothing.
    None,
    /// What the list told was not right: every ticket owes its custom fields.
    OweAll,
    /// What the list did not tell is empty.
    TakeUnlistedAsEmpty,
}

/// Concludes from a comparison: the verdict that stands from here on, and what follows. `believed` says
/// whether the walk before it believed the list: only then do the debts that are there come from rows that
/// told nothing.
#[must_use]
pub fn conclude(
    was: Option<FieldVerdict>,
    found: FieldVerdict,
    believed: bool,
) -> (FieldVerdict, Consequence) {
    match found {
        // What proves nothing does not unsettle what was proven.
        FieldVerdict::Unknown => (was.unwrap_or(found), Consequence::None),
        // An earlier walk, which was interrupted, may have believed it.
        FieldVerdict::Wrong if was != Some(found) => (found, Consequence::OweAll),
        FieldVerdict::ListedUnlessEmpty | FieldVerdict::NoFields if believed => {
            (found, Consequence::TakeUnlistedAsEmpty)
        }
        found => (found, Consequence::None),
    }
}

/// A value without the order in which its members are written.
fn meaning(value: &str) -> Json {
    serde_json::from_str(value).unwrap_or_else(|_| value.into())
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
    fn the_list_is_believed_only_where_it_tells_what_the_tickets_tell() {
        use FieldVerdict::{Listed, ListedUnlessEmpty, Unknown, Wrong};
        let full = fields(&[(1, "x"), (2, "7")]);
        let sample = |listed: Option<&[(i64, &str)]>, alone: &[(i64, &str)]| Sample {
            listed: listed.map(fields),
            alone: fields(alone),
        };
        for (name, samples, verdict) in [
            ("nothing to compare", vec![], Unknown),
            ("the same", vec![Sample { listed: Some(full.clone()), alone: full.clone() }], Listed),
            ("the parameter is not known", vec![Sample { listed: None, alone: full.clone() }], Wrong),
            ("another value", vec![sample(Some(&[(1, "y")]), &[(1, "x")])], Wrong),
            ("a value is missing", vec![sample(Some(&[(1, "x")]), &[(1, "x"), (2, "7")])], Wrong),
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
                Wrong,
            ),
        ] {
            assert_eq!(compare(&samples, &[1, 2]), verdict, "{name}");
        }
        let (none, unknown) = (sample(None, &[]), sample(None, &[(1, "x")]));
        assert_eq!(compare(std::slice::from_ref(&none), &[]), FieldVerdict::NoFields);
        assert_eq!(compare(&[none, unknown], &[]), Unknown, "a field that nobody knew of");
    }

    #[test]
    fn a_comparison_that_proves_nothing_changes_nothing_and_debts_of_another_source_stay() {
        use FieldVerdict::{Listed, ListedUnlessEmpty, NoFields, Unknown, Wrong};
        for (was, found, believed, then) in [
            (None, Unknown, true, (Unknown, Consequence::None)),
            (Some(Wrong), Unknown, false, (Wrong, Consequence::None)),
            (Some(ListedUnlessEmpty), Unknown, true, (ListedUnlessEmpty, Consequence::None)),
            (None, Wrong, true, (Wrong, Consequence::OweAll)),
            (Some(Listed), Wrong, true, (Wrong, Consequence::OweAll)),
            (None, Wrong, false, (Wrong, Consequence::OweAll)),
            (Some(Wrong), Wrong, false, (Wrong, Consequence::None)),
            (None, ListedUnlessEmpty, true, (ListedUnlessEmpty, Consequence::TakeUnlistedAsEmpty)),
            (Some(Wrong), ListedUnlessEmpty, false, (ListedUnlessEmpty, Consequence::None)),
            (None, NoFields, true, (NoFields, Consequence::TakeUnlistedAsEmpty)),
            (Some(Wrong), Listed, false, (Listed, Consequence::None)),
        ] {
            assert_eq!(conclude(was, found, believed), then, "{was:?}, then {found:?}, believed: {believed}");
        }
        for verdict in [Listed, ListedUnlessEmpty, Wrong, NoFields, Unknown] {
            assert_eq!(FieldVerdict::from_word(verdict.word()), Some(verdict));
        }
    }

    #[test]
    fn a_row_tells_what_its_source_lets_it_tell() {
        let definitions = vec![CustomField { id: 1, name: Some("CFa".into()), ..CustomField::default() }];
        let list =
            |unlisted_is_empty| FieldSource::List { definitions: definitions.clone(), unlisted_is_empty };
        let row = |json: &str| parse::single(json.as_bytes()).unwrap();
        let with = r#"{"id": 7, "customfields": [{"id": 1, "value": "x"}]}"#;
        let without = r#"{"id": 7}"#;
        let known = CustomField {
            id: 1,
            value: Some("x".into()),
            name: Some("CFa".into()),
            ..CustomField::default()
        };
        for (source, json, told) in [
            (FieldSource::Off, with, Told::Off),
            (FieldSource::Ticket, with, Told::Unknown),
            (list(false), with, Told::Known(vec![known].into())),
            (list(false), without, Told::Unknown),
            (list(true), r#"{"id": 7, "customfields": "none"}"#, Told::Unknown),
            (list(true), without, Told::Known(CustomFields::default())),
            (FieldSource::by(None, vec![]), without, Told::Unknown),
            (
                FieldSource::by(Some(FieldVerdict::NoFields), vec![]),
                without,
                Told::Known(CustomFields::default()),
            ),
            (FieldSource::by(Some(FieldVerdict::NoFields), definitions.clone()), without, Told::Unknown),
        ] {
            let mut ticket = row(json);
            assert_eq!(source.told(&mut ticket), told, "{source:?} {json}");
            assert_eq!(ticket.custom_fields(), None, "they are told once");
        }
    }
}
