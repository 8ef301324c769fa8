//! Properties of the server's answers that no mapping knows: their names and JSON types, never a value.

use std::collections::BTreeMap;

use strum::{EnumString, IntoStaticStr};

/// The most names that are kept of one response; what is beyond is dropped.
const NAMES_MAX: usize = 500;

/// As many bytes of a name as received are kept: more than of a clean one, so that a secret in it is recognized.
const RECEIVED_NAME_MAX: usize = 256;

/// The longest clean name, in characters.
const NAME_MAX: usize = 64;

/// Whether a response is searched for unmapped fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldSearch {
    /// It costs nothing.
    #[default]
    Off,
    /// The names and types of all properties are looked at.
    On,
}

/// The type of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum JsonType {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array of anything.
    Array,
    /// An object of anything.
    Object,
}

impl JsonType {
    const ALL: [JsonType; 6] = [
        JsonType::Null,
        JsonType::Boolean,
        JsonType::Number,
        JsonType::String,
        JsonType::Array,
        JsonType::Object,
    ];

    /// Returns the type of a valid JSON text without whitespace before it.
    pub(crate) fn of(json: &str) -> JsonType {
        match json.as_bytes().first() {
            Some(b'n') => JsonType::Null,
            Some(b't' | b'f') => JsonType::Boolean,
            Some(b'"') => JsonType::String,
            Some(b'[') => JsonType::Array,
            Some(b'{') => JsonType::Object,
            _ => JsonType::Number,
        }
    }

    /// Returns its word in `unmapped_fields.json_type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// The names of properties that no mapping knows, each with the types of its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmappedFields {
    /// A bit for each type.
    types: BTreeMap<Box<str>, u8>,
}

impl UnmappedFields {
    /// Adds a property as received.
    pub fn add(&mut self, name: &str, json_type: JsonType) {
        self.add_types(&name[..name.floor_char_boundary(RECEIVED_NAME_MAX)], json_type.bit());
    }

    fn add_types(&mut self, name: &str, types: u8) {
        if let Some(known) = self.types.get_mut(name) {
            *known |= types;
        } else if self.types.len() < NAMES_MAX {
            self.types.insert(name.into(), types);
        }
    }

    /// Adds those of another response.
    pub fn merge(&mut self, other: &UnmappedFields) {
        for (name, types) in &other.types {
            self.add_types(name, *types);
        }
    }

    /// Returns them with clean names, each cut off after 64 characters: names are text of the server, too.
    #[must_use]
    pub fn cleaned(&self, clean: impl Fn(&str) -> String) -> UnmappedFields {
        let mut cleaned = UnmappedFields::default();
        for (name, types) in &self.types {
            let name: String = clean(name).chars().take(NAME_MAX).collect();
            cleaned.add_types(&name, *types);
        }
        cleaned
    }

    /// Returns the names with their types. Null is a type only where no other was seen.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<JsonType>)> {
        self.types.iter().map(|(name, bits)| {
            let others = bits & !JsonType::Null.bit();
            let bits = if others == 0 { *bits } else { others };
            let types = JsonType::ALL.into_iter().filter(|it| bits & it.bit() != 0);
            (&**name, types.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_type_only_where_no_other_was_seen() {
        let mut fields = UnmappedFields::default();
        for (name, json) in [
            ("a", "null"),
            ("b", "null"),
            ("b", "\"x\""),
            ("c", "-1.5"),
            ("c", "[1]"),
            ("d", "{}"),
            ("d", "null"),
            ("e", "false"),
        ] {
            fields.add(name, JsonType::of(json));
        }
        let found: Vec<_> = fields.iter().collect();
        let expected = [
            ("a", vec![JsonType::Null]),
            ("b", vec![JsonType::String]),
            ("c", vec![JsonType::Number, JsonType::Array]),
            ("d", vec![JsonType::Object]),
            ("e", vec![JsonType::Boolean]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn number_and_length_of_names_are_bounded() {
        let mut fields = UnmappedFields::default();
        for number in 0..10_000 {
            fields.add(&format!("field{number:05}"), JsonType::Null);
        }
        fields.add(&"é".repeat(100_000), JsonType::Null);
        fields.add("field00007", JsonType::Number);
        assert_eq!(fields.iter().count(), NAMES_MAX);
        assert_eq!(fields.iter().nth(7), Some(("field00007", vec![JsonType::Number])));
        let mut long = UnmappedFields::default();
        long.add(&"é".repeat(100_000), JsonType::Null);
        assert!(long.iter().all(|(name, _)| name.len() <= RECEIVED_NAME_MAX));
        let cleaned = long.cleaned(|name| name.replace('é', "ü"));
        assert_eq!(cleaned.iter().next().unwrap().0, "ü".repeat(NAME_MAX));
    }
}
