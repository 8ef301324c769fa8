//! Checks JSON output against a schema of `docs/`.

use std::fs;

use serde_json::{Value as Json, json};

/// A schema.
pub(crate) struct Schema(jsonschema::Validator);

impl Schema {
    /// The schema of a command's output.
    pub(crate) fn of(command: &str) -> Schema {
        let text = fs::read_to_string(format!("docs/{command}.schema.json")).expect("a schema");
        Schema(jsonschema::draft202012::new(&serde_json::from_str(&text).expect("JSON")).expect("a schema"))
    }

    /// Asserts that an output matches the schema.
    pub(crate) fn assert_valid(&self, output: &Json) {
        let wrong: Vec<_> = self.0.iter_errors(output).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {output:#}");
    }

    /// Asserts that the schema requires every member of an output and allows no other, in every object.
    pub(crate) fn assert_is_exact(&self, output: &Json) {
        for pointer in objects(output, "") {
            let object = output.pointer(&pointer).and_then(Json::as_object).expect("an object");
            for member in object.keys() {
                let mut less = object.clone();
                less.remove(member);
                let mut other = object.clone();
                other.insert(member.clone(), json!({ "another": ["kind"] }));
                assert!(!self.allows(output, &pointer, less), "{pointer}/{member} may be left out");
                assert!(!self.allows(output, &pointer, other), "{pointer}/{member} may be anything");
            }
            let mut more = object.clone();
            more.insert("colour".into(), json!("blue"));
            assert!(!self.allows(output, &pointer, more), "{pointer} may have more members");
        }
    }

    /// Whether the schema allows the output with another object at this pointer.
    fn allows(&self, output: &Json, pointer: &str, object: serde_json::Map<String, Json>) -> bool {
        let mut changed = output.clone();
        *changed.pointer_mut(pointer).expect("a pointer") = Json::Object(object);
        self.0.is_valid(&changed)
    }
}

/// The JSON pointers of all objects; of an array only of the first element.
fn objects(value: &Json, pointer: &str) -> Vec<String> {
    match value {
        Json::Object(members) => std::iter::once(pointer.to_owned())
            .chain(members.iter().flat_map(|(name, member)| objects(member, &format!("{pointer}/{name}"))))
            .collect(),
        Json::Array(items) => items.first().map_or(Vec::new(), |item| objects(item, &format!("{pointer}/0"))),
        _ => Vec::new(),
    }
}
