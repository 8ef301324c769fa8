//! The custom fields of one ticket: compared, merged with what is stored, and as JSON.

use serde_json::{Map, Value as Json};

use super::{CUSTOM_FIELDS_PROPERTY, CUSTOM_PREFIX, CustomField, CustomFieldMember, MEMBERS, hash};
use crate::ticket::RejectedValue;

/// Custom fields of one ticket, sorted by id, without duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomFields {
    fields: Vec<CustomField>,
    rejected_members: Vec<RejectedMember>,
    /// The first of the elements whose id cannot be told.
    rejected_element: Option<RejectedValue>,
    hash: u64,
}

/// A member of a field that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RejectedMember {
    pub(super) field_id: i64,
    /// Its position in [`MEMBERS`].
    pub(super) member: usize,
    pub(super) rejected: RejectedValue,
}

/// A field with its rejected members.
pub(super) type ParsedField = (CustomField, Vec<RejectedMember>);

impl Default for CustomFields {
    fn default() -> CustomFields {
        CustomFields::new(Vec::new(), None)
    }
}

impl From<Vec<CustomField>> for CustomFields {
    fn from(fields: Vec<CustomField>) -> CustomFields {
        CustomFields::new(fields.into_iter().map(|field| (field, Vec::new())).collect(), None)
    }
}

impl CustomFields {
    /// Keeps the last of several fields with the same id, and drops fields that have nothing but an id.
    pub(super) fn new(mut fields: Vec<ParsedField>, rejected_element: Option<RejectedValue>) -> CustomFields {
        fields.reverse();
        fields.sort_by_key(|(field, _)| field.id);
        fields.dedup_by_key(|(field, _)| field.id);
        fields.retain(|(field, rejected)| !rejected.is_empty() || !field.is_bare());
        let (fields, rejected): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
        let hash = hash(&fields);
        CustomFields {
            fields,
            rejected_members: rejected.into_iter().flatten().collect(),
            rejected_element,
            hash,
        }
    }

    /// Takes the fields apart again.
    fn into_parsed(self) -> (Vec<ParsedField>, Option<RejectedValue>) {
        let mut rejected = self.rejected_members.into_iter().peekable();
        let fields = self.fields.into_iter().map(|field| {
            let mut of_field = Vec::new();
            while let Some(member) = rejected.next_if(|it| it.field_id == field.id) {
                of_field.push(member);
            }
            (field, of_field)
        });
        (fields.collect(), self.rejected_element)
    }

    /// Returns the fields.
    #[must_use]
    pub fn fields(&self) -> &[CustomField] {
        &self.fields
    }

    /// Whether anything in them cannot be read.
    #[must_use]
    pub fn has_rejected_values(&self) -> bool {
        !self.rejected_members.is_empty() || !self.is_complete()
    }

    /// Whether they are all custom fields of the ticket: the id of every element can be told.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.rejected_element.is_none()
    }

    /// Returns the rejected values, each with its name in change records: `CUSTOM.<FIELD_ID>.<MEMBER>`, or
    /// `customfields` for the elements whose id cannot be told, of which only the first is kept.
    #[must_use]
    pub fn rejected_values(&self) -> Vec<(String, &RejectedValue)> {
        let members = self
            .rejected_members
            .iter()
            .map(|it| (format!("{CUSTOM_PREFIX}{}{}", it.field_id, MEMBERS[it.member].suffix), &it.rejected));
        let element = self.rejected_element.iter().map(|it| (CUSTOM_FIELDS_PROPERTY.to_owned(), it));
        members.chain(element).collect()
    }

    /// Returns the fields with what is stored instead of what cannot be read: of a rejected member its stored value,
    /// and with an element whose id cannot be told, every stored field that the response does not show.
    #[must_use]
    pub fn with_last_good(&self, stored: &CustomFields) -> CustomFields {
        let (mut fields, rejected_element) = self.clone().into_parsed();
        for (field, rejected) in &mut fields {
            if let Some(stored) = stored.get(field.id) {
                for it in rejected {
                    (MEMBERS[it.member].keep)(field, stored);
                }
            }
        }
        if rejected_element.is_some() {
            let kept = stored.fields.iter().filter(|field| self.get(field.id).is_none());
            fields.extend(kept.map(|field| (field.clone(), Vec::new())));
        }
        let mut merged = CustomFields::new(fields, rejected_element);
        // A field of which nothing could ever be read.
        merged.fields.retain(|field| !field.is_bare());
        merged.hash = hash(&merged.fields);
        merged
    }

    /// Changes each field, and keeps those for which `change` returns true. The texts of rejected values are dropped.
    pub(crate) fn retain_with(&mut self, mut change: impl FnMut(&mut CustomField) -> bool) {
        let (mut fields, mut rejected_element) = std::mem::take(self).into_parsed();
        fields.retain_mut(|(field, rejected)| {
            for it in rejected {
                it.rejected.raw.clear();
            }
            change(field)
        });
        if let Some(element) = &mut rejected_element {
            element.raw.clear();
        }
        *self = CustomFields::new(fields, rejected_element);
    }

    /// Returns a hash of the fields, stable across releases (XXH3).
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns a field by its id.
    #[must_use]
    pub fn get(&self, id: i64) -> Option<&CustomField> {
        self.fields.binary_search_by_key(&id, |field| field.id).ok().map(|position| &self.fields[position])
    }

    /// Fills in names, labels and types that the response left out from the field definitions.
    #[must_use]
    pub fn with_definitions(mut self, definitions: &[CustomField]) -> CustomFields {
        let incomplete =
            |field: &CustomField| field.name.is_none() || field.label.is_none() || field.kind.is_none();
        if !self.fields.iter().any(incomplete) {
            return self;
        }
        for field in &mut self.fields {
            if let Some(known) = definitions.iter().find(|known| known.id == field.id) {
                field.name = field.name.take().or_else(|| known.name.clone());
                field.label = field.label.take().or_else(|| known.label.clone());
                field.kind = field.kind.or(known.kind);
            }
        }
        self.hash = hash(&self.fields);
        self
    }

    /// Merges the fields with those of another response for the same ticket.
    #[must_use]
    pub fn merged_with(self, other: CustomFields) -> CustomFields {
        let (mut fields, element) = self.into_parsed();
        let (more, other_element) = other.into_parsed();
        fields.extend(more);
        CustomFields::new(fields, element.or(other_element))
    }

    /// Returns a JSON array, one object for each field with its columns in `custom_fields`, as in
    /// `changes.last_row` and in exports. A table keyed by field ids would be another type for every server.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let object = |field: &CustomField| {
            let id = ("FIELD_ID".to_owned(), Json::from(field.id));
            let members = MEMBERS.iter().map(|member| (member.column.to_owned(), (member.read)(field)));
            Json::Object([id].into_iter().chain(members).collect())
        };
        Json::Array(self.fields.iter().map(object).collect())
    }

    /// Adds the differences from `old` to `changed`, the content of `changes.changed`:
    /// `CUSTOM.<FIELD_ID>` → `[old, new]`, and likewise `CUSTOM.<FIELD_ID>.DISPLAY`, `.NAME`, `.LABEL` and
    /// `.TYPE`, so that the record undoes the change exactly.
    pub(in crate::ticket) fn diff_from(&self, old: &CustomFields, changed: &mut Map<String, Json>) {
        let absent = CustomField::default();
        let mut ids: Vec<i64> = old.fields.iter().chain(&self.fields).map(|field| field.id).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let (before, after) = (old.get(id).unwrap_or(&absent), self.get(id).unwrap_or(&absent));
            for CustomFieldMember { suffix, read, .. } in &MEMBERS {
                let (before, after) = (read(before), read(after));
                if before != after {
                    changed.insert(format!("{CUSTOM_PREFIX}{id}{suffix}"), Json::Array(vec![before, after]));
                }
            }
        }
    }
}
