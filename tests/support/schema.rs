//! What programs that read an output rely on: a JSON schema of `docs/`.

use std::fs;

use serde_json::{Value as Json, json};

/// A schema.
pub(crate) struct Schema(jsonschema::Validator);

impl Schema {
    /// The one of a command.
    pub(crate) fn of(command: &str) -> Schema {
        let text = fs::read_to_string(format!("docs/{command}.schema.json")).expect("a schema");
        Schema(jsonschema::draft202012::new(&serde_json::from_str(&text).expect("JSON")).expect("a schema"))
    }

    /// What was told is as it says.
    pub(crate) fn holds(&self, told: &Json) {
        let wrong: Vec<_> = self.0.iter_errors(told).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {told:#}");
    }

    /// It wants every member of what was told, and knows no other, down to the last object.
    pub(crate) fn is_closed_around(&self, told: &Json) {
        for place in objects(told, "") {
            let object = told.pointer(&place).and_then(Json::as_object).expect("an object");
            for member in object.keys() {
                let mut less = object.clone();
                less.remove(member);
                let mut other = object.clone();
                other.insert(member.clone(), json!({ "another": ["kind"] }));
                assert!(!self.allows(told, &place, less), "{place}/{member} may be left out");
                assert!(!self.allows(told, &place, other), "{place}/{member} may be anything");
            }
            let mut more = object.clone();
            more.insert("colour".into(), json!("blue"));
            assert!(!self.allows(told, &place, more), "{place} may have more members");
        }
    }

    /// Whether it takes the same with another object in one place.
    fn allows(&self, told: &Json, place: &str, object: serde_json::Map<String, Json>) -> bool {
        let mut changed = told.clone();
        *changed.pointer_mut(place).expect("a place") = Json::Object(object);
        self.0.is_valid(&changed)
    }
}

/// Where there are objects, as JSON pointers; of a list the first.
fn objects(value: &Json, place: &str) -> Vec<String> {
    match value {
        Json::Object(members) => std::iter::once(place.to_owned())
            .chain(members.iter().flat_map(|(name, member)| objects(member, &format!("{place}/{name}"))))
            .collect(),
        Json::Array(items) => items.first().map_or(Vec::new(), |item| objects(item, &format!("{place}/0"))),
        _ => Vec::new(),
    }
}
