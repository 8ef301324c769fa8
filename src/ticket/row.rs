//! Parses one JSON object, a row of the list or a single ticket, into a [`Ticket`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::attribute::{AttributeSource, STORED_COUNT, UID, ValueKind, stored_attribute, stored_attributes};
use super::conversion::{Conversion, is_ticket_id};
use super::custom_field::{self, CustomFields};
use super::json_value::{ValueSeed, convert_raw};
use super::unmapped::{FieldSearch, JsonType, UnmappedFields};
use super::value::{AttributeValue, RejectedValue};
use super::{ExtraSet, Ticket};

/// Role of a property of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Attribute(usize),
    CustomFields,
    Deleted,
    Unknown,
}

static PROPERTIES: LazyLock<HashMap<&'static str, Property>> = LazyLock::new(|| {
    let fields = stored_attributes().enumerate().filter_map(|(position, attribute)| match attribute.source {
        AttributeSource::Property(property) => Some((property, Property::Attribute(position))),
        AttributeSource::StatusName(_) => None,
    });
    fields
        .chain([
            ("deleted", Property::Deleted),
            (custom_field::CUSTOM_FIELDS_PROPERTY, Property::CustomFields),
        ])
        .collect()
});

/// Parses rows one after another.
///
/// All rows of a page have their properties in nearly the same order. The seed therefore remembers the
/// order of the previous row, and looks a name up only if it is not where it was expected.
pub(super) struct TicketSeed {
    property_order: Vec<(Box<str>, Property)>,
    /// Number of U+0000 replaced by U+FFFD so far.
    pub(super) repaired: usize,
    /// How many more elements of custom fields are read; beyond that they tell nothing.
    custom_fields_left: usize,
    /// The properties that no mapping knows; `None` where they are not looked for.
    pub(super) unmapped: Option<UnmappedFields>,
}

/// The most elements of custom fields that the rows of one response may have: a small multiple of what servers
/// send, and few enough for memory.
const CUSTOM_FIELDS_PER_RESPONSE_MAX: usize = 200_000;

/// Longer names of properties are not remembered.
const REMEMBERED_NAME_MAX: usize = 64;

impl TicketSeed {
    /// A seed for the rows of one response.
    pub(super) fn new(search: FieldSearch) -> TicketSeed {
        TicketSeed {
            property_order: Vec::new(),
            repaired: 0,
            custom_fields_left: CUSTOM_FIELDS_PER_RESPONSE_MAX,
            unmapped: (search == FieldSearch::On).then(UnmappedFields::default),
        }
    }

    fn property(&mut self, cursor: &mut usize, name: &str) -> Property {
        // Nulls are left out, which shifts the rest; so the next few positions are tried too.
        for offset in 0..4 {
            if let Some((known, property)) = self.property_order.get(*cursor + offset)
                && **known == *name
            {
                *cursor += offset + 1;
                return *property;
            }
        }
        let property = PROPERTIES.get(name).copied().unwrap_or(Property::Unknown);
        if self.property_order.len() < 1_000 && name.len() <= REMEMBERED_NAME_MAX {
            self.property_order.insert(*cursor, (name.into(), property));
            *cursor += 1;
        }
        property
    }
}

/// A ticket, or why the row is rejected.
pub(super) type RowResult = Result<ParsedRow, &'static str>;

/// A ticket, and what is still missing of it.
pub(super) struct ParsedRow {
    pub(super) ticket: Ticket,
    /// The values that only the text of the row shows ([`resolve_row`]). They are too rare to keep the text of
    /// every value.
    pub(super) unresolved: Vec<UnresolvedValue>,
}

/// A rejected value, or one that is taken verbatim.
#[derive(Clone, Copy)]
pub(super) struct UnresolvedValue {
    position: usize,
    /// Whether it is taken.
    is_taken: bool,
}

impl<'de> DeserializeSeed<'de> for &mut TicketSeed {
    type Value = RowResult;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RowResult, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut TicketSeed {
    type Value = RowResult;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a ticket")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<RowResult, A::Error> {
        let mut values: Vec<_> = std::iter::repeat_with(|| AttributeValue::Null).take(STORED_COUNT).collect();
        let mut shown_extras = ExtraSet::default();
        let mut unresolved: Vec<UnresolvedValue> = Vec::new();
        let mut deleted = false;
        let (mut custom_fields, mut custom_fields_unreadable) = (None, false);
        let mut cursor = 0;
        while let Some(name) = row.next_key::<PropertyName<'de>>()? {
            match self.property(&mut cursor, &name.0) {
                Property::Attribute(position) => {
                    let kind = stored_attribute(position).kind;
                    let value = row.next_value_seed(ValueSeed { kind, repaired: &mut self.repaired })?;
                    shown_extras.insert(position);
                    // Of a repeated property the last value counts, as in `serde_json` maps.
                    if !unresolved.is_empty() {
                        unresolved.retain(|it| it.position != position);
                    }
                    values[position] = match value {
                        Conversion::Taken(value) => value,
                        Conversion::Verbatim | Conversion::Rejected(_) => {
                            let is_taken = value == Conversion::Verbatim;
                            unresolved.push(UnresolvedValue { position, is_taken });
                            AttributeValue::Null
                        }
                    };
                }
                Property::Deleted => {
                    let seed = ValueSeed { kind: ValueKind::Boolean, repaired: &mut self.repaired };
                    deleted = row.next_value_seed(seed)? == Conversion::Taken(AttributeValue::Integer(1));
                }
                Property::CustomFields => {
                    let raw = row.next_value::<&'de RawValue>()?;
                    custom_fields =
                        CustomFields::parse(raw, &mut self.repaired, &mut self.custom_fields_left);
                    custom_fields_unreadable = custom_fields.is_none();
                }
                Property::Unknown => match &mut self.unmapped {
                    None => {
                        row.next_value::<IgnoredAny>()?;
                    }
                    Some(unmapped) => {
                        let raw = row.next_value::<&'de RawValue>()?;
                        unmapped.add(&name.0, JsonType::of(raw.get()));
                    }
                },
            }
        }
        let AttributeValue::Integer(id) = values[UID] else { return Ok(Err(NO_USABLE_ID)) };
        if !is_ticket_id(id) {
            return Ok(Err(NO_USABLE_ID));
        }
        let ticket = Ticket {
            id,
            values: values.into(),
            shown_extras,
            rejected_values: Vec::new(),
            deleted,
            custom_fields,
            custom_fields_unreadable,
        };
        Ok(Ok(ParsedRow { ticket, unresolved }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<RowResult, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_unit<E>(self) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_bool<E>(self, _: bool) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_i64<E>(self, _: i64) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_u64<E>(self, _: u64) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_f64<E>(self, _: f64) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }

    fn visit_str<E>(self, _: &str) -> Result<RowResult, E> {
        Ok(Err(NOT_A_TICKET))
    }
}

const NO_USABLE_ID: &str = "no usable id";
const NOT_A_TICKET: &str = "not a ticket";

/// Fills in the values of a ticket that only the text of its row shows.
pub(super) fn resolve_row(
    text: &str,
    ticket: &mut Ticket,
    unresolved: &[UnresolvedValue],
    repaired: &mut usize,
) -> serde_json::Result<()> {
    let mut found = vec![None; unresolved.len()];
    serde_json::Deserializer::from_str(text)
        .deserialize_map(RawValuesVisitor { unresolved, found: &mut found })?;
    for (UnresolvedValue { position, is_taken }, raw) in unresolved.iter().zip(found) {
        let raw = raw.map_or("", RawValue::get);
        match convert_raw(stored_attribute(*position).kind, raw, repaired) {
            Ok(value) if *is_taken => ticket.values[*position] = value,
            Err(rejected) if !is_taken => ticket.rejected_values.push((*position, rejected)),
            // Both times the same rules look at the same text.
            _ => ticket.rejected_values.push((*position, RejectedValue::new("not understood", raw))),
        }
    }
    ticket.rejected_values.sort_by_key(|(position, _)| *position);
    Ok(())
}

/// Finds the texts of some properties of a row.
struct RawValuesVisitor<'a, 'de> {
    unresolved: &'a [UnresolvedValue],
    /// The texts, in the order of `unresolved`.
    found: &'a mut [Option<&'de RawValue>],
}

impl<'de> Visitor<'de> for RawValuesVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a ticket")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        while let Some(name) = row.next_key::<PropertyName<'de>>()? {
            let place = match PROPERTIES.get(&*name.0) {
                Some(Property::Attribute(position)) => {
                    self.unresolved.iter().position(|it| it.position == *position)
                }
                _ => None,
            };
            match place {
                Some(place) => self.found[place] = Some(row.next_value::<&'de RawValue>()?),
                None => {
                    row.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Name of a property, borrowed unless it contains escapes.
struct PropertyName<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for PropertyName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PropertyNameVisitor;
        impl<'de> Visitor<'de> for PropertyNameVisitor {
            type Value = PropertyName<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a property name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<PropertyName<'de>, E> {
                Ok(PropertyName(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<PropertyName<'de>, E> {
                Ok(PropertyName(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(PropertyNameVisitor)
    }
}
