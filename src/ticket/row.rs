//! One row of the list, or one single ticket: a JSON object to a [`Ticket`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;

use super::Ticket;
use super::attribute::{ATTRIBUTES, COUNT, Source, UID};
use super::field::{self, CustomFields};
use super::value::{Oddity, Reading, Value};

/// What a property of a row is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    Attribute(usize),
    CustomFields,
    Deleted,
    Unknown,
}

static PROPERTIES: LazyLock<HashMap<&'static str, Property>> = LazyLock::new(|| {
    let fields = ATTRIBUTES.iter().enumerate().filter_map(|(position, attribute)| match attribute.source {
        Source::Field(property) => Some((property, Property::Attribute(position))),
        Source::StatusNamedBy(_) => None,
    });
    fields.chain([("deleted", Property::Deleted), (field::PROPERTY, Property::CustomFields)]).collect()
});

/// Reads rows one after another.
///
/// All rows of a page spell their properties in nearly the same order, so it remembers where the row
/// before had which property and looks a name up only where it is not there again.
#[derive(Default)]
pub(super) struct Row {
    order: Vec<(Box<str>, Property)>,
    /// How many U+0000 in the texts of the rows so far became U+FFFD.
    pub(super) repaired: usize,
}

impl Row {
    fn property(&mut self, place: &mut usize, name: &str) -> Property {
        // An absent null shifts the rest by one, so the next few places are tried too.
        for ahead in 0..4 {
            if let Some((known, property)) = self.order.get(*place + ahead)
                && **known == *name
            {
                *place += ahead + 1;
                return *property;
            }
        }
        let property = PROPERTIES.get(name).copied().unwrap_or(Property::Unknown);
        if self.order.len() < 1_000 {
            self.order.insert(*place, (name.into(), property));
        }
        *place += 1;
        property
    }
}

/// A ticket, or why the row is none.
pub(super) type Read = Result<Ticket, Oddity>;

impl<'de> DeserializeSeed<'de> for Row {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_any(&mut self)
    }
}

impl<'de> DeserializeSeed<'de> for &mut Row {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Row {
    type Value = Read;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a ticket")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut row: A) -> Result<Read, A::Error> {
        let mut values = vec![Value::Null; COUNT];
        let mut oddities = Vec::new();
        let mut deleted = false;
        let (mut custom_fields, mut fields_unclear) = (None, false);
        let mut place = 0;
        while let Some(name) = row.next_key::<Name<'de>>()? {
            match self.property(&mut place, &name.0) {
                Property::Attribute(position) => {
                    let mut oddity = None;
                    let kind = ATTRIBUTES[position].kind;
                    let reading = Reading { kind, oddity: &mut oddity, repaired: &mut self.repaired };
                    values[position] = row.next_value_seed(reading)?;
                    oddities.extend(oddity.map(|oddity| (position, oddity)));
                }
                Property::Deleted => deleted = row.next_value::<serde_json::Value>()? == true,
                Property::CustomFields => {
                    let raw = row.next_value::<&'de RawValue>()?;
                    custom_fields = CustomFields::read(raw, &mut self.repaired);
                    // Null is left out elsewhere; anything else that is no list is not understood.
                    fields_unclear = custom_fields.is_none() && raw.get() != "null";
                }
                Property::Unknown => {
                    row.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Value::Integer(id) = values[UID] else {
            return Ok(Err(Oddity::new("no usable id", "")));
        };
        // A repeated property counts once, as its last value does (`serde_json` maps do the same).
        oddities.reverse();
        oddities.sort_by_key(|(position, _)| *position);
        oddities.dedup_by_key(|(position, _)| *position);
        oddities.retain(|(position, _)| values[*position] == Value::Null);
        Ok(Ok(Ticket { id, values: values.into(), oddities, deleted, custom_fields, fields_unclear }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Read, A::Error> {
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(no_ticket()))
    }

    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Read, E> {
        Ok(Err(no_ticket()))
    }
}

fn no_ticket() -> Oddity {
    Oddity::new("not a ticket", "")
}

/// The name of a property, borrowed where the document spells it without escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a property name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}
