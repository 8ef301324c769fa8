//! Properties that the server adds to its rows, drops from them, or sends with another type: as after an update of the
//! server, or of its settings. Tickets and lists are otherwise as they were.

use crate::endpoint::ApiEndpoint;
use crate::row_defect;

/// The changes of properties, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldChanges(Vec<FieldChange>);

#[derive(Clone, Debug)]
struct FieldChange {
    endpoint: ApiEndpoint,
    name: String,
    /// The one object that has it; all of them without.
    id: Option<i64>,
    /// The value as JSON; `None` where the property is dropped.
    value: Option<String>,
}

impl FieldChanges {
    /// Adds or drops a property, in place of an earlier change of it.
    pub(crate) fn set(&mut self, endpoint: ApiEndpoint, name: &str, id: Option<i64>, value: Option<String>) {
        self.reset(endpoint, name, id);
        self.0.push(FieldChange { endpoint, name: name.to_owned(), id, value });
    }

    /// Serves a property as before.
    pub(crate) fn reset(&mut self, endpoint: ApiEndpoint, name: &str, id: Option<i64>) {
        self.0.retain(|it| (it.endpoint, it.name.as_str(), it.id) != (endpoint, name, id));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes a row of an endpoint.
    pub(crate) fn apply(&self, endpoint: ApiEndpoint, row: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let row_id = row_defect::row_id(row);
        for change in self.0.iter().filter(|it| it.endpoint == endpoint) {
            if change.id.is_none() || change.id == row_id {
                row_defect::set_property(row, &change.name, change.value.as_deref());
            }
        }
    }

    /// Changes the elements of a bare array.
    pub(crate) fn apply_to_array(&self, endpoint: ApiEndpoint, array: &mut Vec<u8>) {
        if self.0.iter().any(|it| it.endpoint == endpoint) {
            row_defect::alter_elements(array, |row| self.apply(endpoint, row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_added_dropped_and_retyped() {
        let mut changes = FieldChanges::default();
        let served = |changes: &FieldChanges| {
            let mut array = br#"[{"id":1,"cost":1.5,"read":true},{"id":2,"cost":0}]"#.to_vec();
            changes.apply_to_array(ApiEndpoint::List, &mut array);
            String::from_utf8(array).expect("UTF-8")
        };
        changes.set(ApiEndpoint::Agent, "cost", None, None);
        let before = served(&changes);
        changes.set(ApiEndpoint::List, "cost", None, Some("\"free\"".into()));
        changes.set(ApiEndpoint::List, "read", None, None);
        changes.set(ApiEndpoint::List, "a \"b\"", Some(2), Some("{}".into()));
        let after = r#"[{"id":1,"cost":"free"},{"id":2,"cost":"free","a \"b\"":{}}]"#;
        assert_eq!(served(&changes), after);
        changes.set(ApiEndpoint::List, "cost", None, None);
        assert_eq!(served(&changes), r#"[{"id":1},{"id":2,"a \"b\"":{}}]"#);
        for (name, id) in [("cost", None), ("read", None), ("a \"b\"", Some(2))] {
            changes.reset(ApiEndpoint::List, name, id);
        }
        assert_eq!(served(&changes), before);
    }
}
