//! What programs that read the outputs rely on: the schemas in `docs/`.

use std::fs;

use serde_json::{Value as Json, json};

fn schema(of: &str) -> jsonschema::Validator {
    let text = fs::read_to_string(format!("docs/{of}.schema.json")).expect("a schema");
    jsonschema::validator_for(&serde_json::from_str(&text).expect("JSON")).expect("a schema")
}

/// Asserts that an output is as the schema says.
pub(crate) fn assert_holds(of: &str, output: &Json) {
    let problems: Vec<_> = schema(of).iter_errors(output).map(|it| it.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?} in {output:#}");
}

/// Asserts that the schema wants every member of an output, and knows neither another nor another kind.
pub(crate) fn assert_closed(of: &str, output: &Json) {
    let schema = schema(of);
    for member in output.as_object().expect("an object").keys() {
        let mut less = output.clone();
        less.as_object_mut().expect("an object").remove(member);
        assert!(!schema.is_valid(&less), "{member} may be left out");
        let mut other = output.clone();
        other[member] = json!({ "another": ["kind"] });
        assert!(!schema.is_valid(&other), "{member} may be anything");
    }
    let mut more = output.clone();
    more["colour"] = json!("blue");
    assert!(!schema.is_valid(&more), "there may be more");
}
