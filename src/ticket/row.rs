//! Parses one JSON object, a row of the list or a single ticket, into a [`Ticket`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Ticket;
use super::attribute::{ATTRIBUTE_COUNT, ATTRIBUTES, AttributeSource, UID};
use super::custom_field::{self, CustomFields};
use super::value::{AttributeValue, RejectedValue, ValueSeed};

/// Role of a property of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Attribute(usize),
    CustomFields,
    Deleted,
    Unknown,
}

static PROPERTIES: LazyLock<HashMap<&'static str, Property>> = LazyLock::new(|| {
    let fields = ATTRIBUTES.iter().enumerate().filter_map(|(position, attribute)| match attribute.source {
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
#[derive(Default)]
pub(super) struct TicketSeed {
    property_order: Vec<(Box<str>, Property)>,
    /// Number of U+0000 replaced by U+FFFD so far.
    pub(super) repaired: usize,
}

impl TicketSeed {
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
        if self.property_order.len() < 1_000 {
            self.property_order.insert(*cursor, (name.into(), property));
        }
        *cursor += 1;
        property
    }
}

/// A ticket, or why the row is rejected.
pub(super) type RowResult = Result<Ticket, RejectedValue>;

impl<'de> DeserializeSeed<'de> for TicketSeed {
    type Value = RowResult;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<RowResult, D::Error> {
        deserializer.deserialize_any(&mut self)
    }
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
        let mut values = vec![AttributeValue::Null; ATTRIBUTE_COUNT];
        let mut rejected_values = Vec::new();
        let mut deleted = false;
        let (mut custom_fields, mut custom_fields_unreadable) = (None, false);
        let mut cursor = 0;
        while let Some(name) = row.next_key::<PropertyName<'de>>()? {
            match self.property(&mut cursor, &name.0) {
                Property::Attribute(position) => {
                    let mut rejected = None;
                    let kind = ATTRIBUTES[position].kind;
                    let seed = ValueSeed { kind, rejected: &mut rejected, repaired: &mut self.repaired };
                    values[position] = row.next_value_seed(seed)?;
                    rejected_values.extend(rejected.map(|rejected| (position, rejected)));
                }
                Property::Deleted => deleted = row.next_value::<serde_json::Value>()? == true,
                Property::CustomFields => {
                    let raw = row.next_value::<&'de RawValue>()?;
                    custom_fields = CustomFields::parse(raw, &mut self.repaired);
                    // Null means the same as absent; anything else that is not an array is unreadable.
                    custom_fields_unreadable = custom_fields.is_none() && raw.get() != "null";
                }
                Property::Unknown => {
                    row.next_value::<IgnoredAny>()?;
                }
            }
        }
        let AttributeValue::Integer(id) = values[UID] else {
            return Ok(Err(RejectedValue::new("no usable id", "")));
        };
        // Of a repeated property the last value counts, as in `serde_json` maps.
        rejected_values.reverse();
        rejected_values.sort_by_key(|(position, _)| *position);
        rejected_values.dedup_by_key(|(position, _)| *position);
        rejected_values.retain(|(position, _)| values[*position] == AttributeValue::Null);
        Ok(Ok(Ticket {
            id,
            values: values.into(),
            rejected_values,
            deleted,
            custom_fields,
            custom_fields_unreadable,
        }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<RowResult, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(not_a_ticket()))
    }

    fn visit_unit<E>(self) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }

    fn visit_str<E>(self, _: &str) -> Result<RowResult, E> {
        Ok(Err(not_a_ticket()))
    }
}

fn not_a_ticket() -> RejectedValue {
    RejectedValue::new("not a ticket", "")
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
