use serde_json::Map;
use serde_json::value::RawValue;

use super::element::ELEMENTS_MAX;
use super::*;

fn parse(json: &str) -> CustomFields {
    let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
    CustomFields::parse(&raw, &mut 0, &mut ELEMENTS_MAX.clone()).unwrap()
}

#[test]
fn custom_field_value_may_be_any_json_and_only_null_is_none() {
    for (json, value) in [
        (r#""0.00020384""#, Some("0.00020384")),
        (r#""""#, Some("")),
        (r#""a\u0000b""#, Some("a\u{FFFD}b")),
        (r#""\ud800!""#, Some("\u{FFFD}!")),
        ("8", Some("8")),
        ("27.0", Some("27.0")),
        ("true", Some("true")),
        ("null", None),
        ("[ 1, 2 ]", Some("[1,2]")),
        (r#"[ {"b": 1.0, "a": "x \" y\\"} ]"#, Some(r#"[{"b":1.0,"a":"x \" y\\"}]"#)),
    ] {
        let fields = parse(&format!(r#"[{{"value": {json}, "id": 7, "name": "CFx"}}]"#));
        assert_eq!(fields.get(7).unwrap().value.as_deref(), value, "{json}");
    }
}

#[test]
fn custom_field_parsing_ignores_order_and_extra_members() {
    let one = parse(
        r#"[{"id": 2, "label": "L", "value": "b", "usage": 1}, {"id": 1.0, "name": "CFa", "value": "a"}]"#,
    );
    let other = parse(r#"[{"name": "CFa", "value": "a", "id": 1}, {"value": "b", "id": 2, "label": "L"}]"#);
    assert_eq!(one, other);
    assert_eq!(one.hash(), other.hash());
}

#[test]
fn too_many_elements_tell_nothing() {
    let list = |count: usize| {
        let elements: Vec<_> = (0..count).map(|id| format!(r#"{{"id":{id},"value":1}}"#)).collect();
        serde_json::from_str::<Box<RawValue>>(&format!("[{}]", elements.join(","))).unwrap()
    };
    let mut left = 3 * ELEMENTS_MAX / 2;
    assert_eq!(
        CustomFields::parse(&list(ELEMENTS_MAX), &mut 0, &mut left).unwrap().fields().len(),
        ELEMENTS_MAX
    );
    assert_eq!(CustomFields::parse(&list(ELEMENTS_MAX), &mut 0, &mut left), None, "of all rows together");
    assert_eq!(left, 0);
    assert_eq!(CustomFields::parse(&list(ELEMENTS_MAX + 1), &mut 0, &mut ELEMENTS_MAX.clone()), None);
}

#[test]
fn field_definitions_of_other_entities_are_skipped() {
    let ids: Vec<_> = [
        r#"{"id": 1, "name": "CFa", "label": "A", "type": 2, "usage": 1}"#,
        r#"{"id": 2, "name": "CFb", "usage": 3}"#,
        r#"{"id": "3", "name": "CFc"}"#,
        r#"{"name": "CFd"}"#,
        "7",
    ]
    .map(|json| parse_definition(json).map(|definition| definition.map(|it| it.id)))
    .into_iter()
    .map(Result::ok)
    .collect();
    assert_eq!(ids, [Some(Some(1)), Some(None), Some(Some(3)), None, None]);
}

#[test]
fn element_without_a_readable_id_makes_the_set_incomplete() {
    let fields =
        parse(r#"[7, null, {"name": "CFa"}, {"id": "3", "value": 1}, {"id": 3.0, "value": 2}, {"id": 4}]"#);
    assert!(!fields.is_complete());
    let rejected: Vec<_> =
        fields.rejected_values().into_iter().map(|(name, value)| (name, value.raw.clone())).collect();
    assert_eq!(rejected, [("customfields".to_owned(), "7".to_owned())]);
    assert_eq!(fields.fields().len(), 1, "a repeated field is kept once");
    assert_eq!(fields.get(3).unwrap().value.as_deref(), Some("2"), "the last element wins");

    let stored = parse(r#"[{"id": 3, "value": 9}, {"id": 101, "value": "precious"}]"#);
    let merged = fields.with_last_good(&stored);
    assert_eq!(merged.get(101).unwrap().value.as_deref(), Some("precious"), "nothing is removed");
    assert_eq!(merged.get(3).unwrap().value.as_deref(), Some("2"), "what it shows is taken");
    assert!(!merged.is_complete());
}

#[test]
fn member_that_cannot_be_read_keeps_its_stored_value() {
    let stored =
        parse(r#"[{"id": 1, "name": "CFa", "label": "A", "type": 2, "value": "x", "display": "X"}]"#);
    let fields = parse(
        r#"[{"id": 1, "name": {}, "label": 1.50, "type": "two", "value": {"a": 1}, "display": []},
            {"id": 2, "name": []}, {"id": 2, "name": "CFb"}]"#,
    );
    let names: Vec<_> = fields.rejected_values().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["CUSTOM.1.NAME", "CUSTOM.1.TYPE", "CUSTOM.1.DISPLAY"]);
    assert!(fields.is_complete());
    let merged = fields.with_last_good(&stored);
    let expected = CustomField {
        id: 1,
        name: Some("CFa".into()),
        label: Some("1.50".into()),
        kind: Some(2),
        value: Some(r#"{"a":1}"#.into()),
        display: Some("X".into()),
    };
    assert_eq!(merged.get(1), Some(&expected));
    assert_eq!(merged.rejected_values().len(), 3, "what is rejected stays so");
}

#[test]
fn hash_is_that_of_the_fields_as_stored() {
    let stored = parse(r#"[{"id": 1, "type": 2, "value": "x"}]"#);
    assert_eq!(
        parse(r#"[{"id": 1, "type": "two", "value": "x"}]"#).with_last_good(&stored).hash(),
        stored.hash()
    );
}

#[test]
fn custom_field_diff_has_old_and_new_of_each_changed_member() {
    let old = parse(
        r#"[{"id": 1, "name": "CFa", "value": "x", "display": "X"}, {"id": 2, "value": null, "label": "L"}]"#,
    );
    let new = parse(
        r#"[{"id": 1, "name": "CFa", "value": "y", "display": "X"}, {"id": 30, "type": 2, "value": 5}]"#,
    );
    let mut changed = Map::new();
    new.diff_from(&old, &mut changed);
    let expected = serde_json::json!({
        "CUSTOM.1": ["x", "y"], "CUSTOM.2.LABEL": ["L", null], "CUSTOM.30": [null, "5"], "CUSTOM.30.TYPE": [null, 2],
    });
    assert_eq!(Json::Object(changed), expected);
}
