use rstest::rstest;

use super::*;
use crate::ticket::parse::parse_ticket;
use crate::ticket::{ATTRIBUTES, ValueKind, attribute};

fn rules(exclude: &[&str], hash: &[&str]) -> PrivacyRules {
    let columns = |names: &[&str], rule| {
        let column = |name: &&str| (ProtectedColumn::named(name).expect(name), rule);
        names.iter().map(column).collect::<Vec<_>>()
    };
    let declared = [columns(exclude, PrivacyRule::Exclude), columns(hash, PrivacyRule::Hash)].concat();
    PrivacyRules::new(&declared, Some(HashKey::new(b"key")))
}

fn names(rules: &PrivacyRules, rule: PrivacyRule) -> Vec<String> {
    rules.columns().filter(|it| it.1 == rule).map(|(column, _)| column.to_string()).collect()
}

/// RFC 4231, test case 2, and what others compute: `printf %s text | openssl dgst -sha256 -hmac key`.
#[test]
fn hashes_are_hmac_sha256() {
    let hash = HashKey::new(b"Jefe").hash("what do ya want for nothing?");
    assert_eq!(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let long = HashKey::new(&[0xaa; 131]).hash("Test Using Larger Than Block-Size Key - Hash Key First");
    assert_eq!(long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    assert_ne!(HashKey::new(b"one").id(), HashKey::new(b"other").id());
    assert_eq!(format!("{:?}", HashKey::new(b"key")), "HashKey(…)");
}

#[test]
fn every_column_has_the_name_that_finds_it() {
    let names: Vec<_> = ProtectedColumn::names().collect();
    for name in names.iter().map(String::as_str).chain(["CUSTOM.7", "CUSTOM.-7"]) {
        assert_eq!(ProtectedColumn::named(name).map(|it| it.to_string()).as_deref(), Some(name));
    }
    for name in [
        "",
        "name",
        "EXTRA.",
        "EXTRA.NAME",
        "CUSTOM.",
        "CUSTOM.07",
        "CUSTOM.x",
        "agents",
        "agents.",
        "x.NAME",
    ] {
        assert_eq!(ProtectedColumn::named(name), None, "{name}");
    }
    for name in SAME_TEXT.iter().flat_map(|same| same.columns.iter().chain(same.repeated_in)) {
        let column = ProtectedColumn::named(name).expect(name);
        assert_eq!(column.check(PrivacyRule::Hash), Ok(()), "{name}");
    }
}

#[rstest]
#[case("UID")]
#[case("GUID")]
#[case("SOURCE_LAST_MODIFIED")]
#[case("TICKET_TYPE_ID")]
#[case("STATUS_ID")]
#[case("MERGED_INTO_ID")]
#[case("agents.ID")]
#[case("priorities.SLA_ID")]
#[case("statuses.CLOSED")]
fn what_halosync_needs_cannot_be_held_back(#[case] name: &str) {
    let column = ProtectedColumn::named(name).unwrap();
    for rule in [PrivacyRule::Exclude, PrivacyRule::Hash] {
        assert_eq!(
            column.check(rule),
            Err(format!("names `{name}`, which cannot be held back: halosync needs it"))
        );
    }
}

#[test]
fn only_texts_can_be_hashed() {
    for attribute in attribute::stored_attributes() {
        let column = ProtectedColumn::named(attribute.name).unwrap();
        let can_be_excluded = column.check(PrivacyRule::Exclude).is_ok();
        let is_text = attribute.kind == ValueKind::Text;
        let can_be_hashed = column.check(PrivacyRule::Hash).is_ok();
        assert_eq!(can_be_hashed, can_be_excluded && is_text, "{}", attribute.name);
    }
    assert!(ProtectedColumn::named("users.CLIENT_ID").unwrap().check(PrivacyRule::Hash).is_err());
}

/// Counter-example B8: hashing `CLIENT_NAME` but not `clients.NAME` undoes itself by one join.
#[test]
fn rule_for_a_name_holds_wherever_the_name_is() {
    let of = |exclude: &[&str], hash: &[&str]| {
        let rules = rules(exclude, hash);
        (names(&rules, PrivacyRule::Exclude), names(&rules, PrivacyRule::Hash))
    };
    let client =
        ["CLIENT_NAME", "OPP_COMPANY_NAME", "clients.NAME", "sites.CLIENT_NAME", "users.CLIENT_NAME"];
    let client = client.map(str::to_owned);
    assert_eq!(of(&[], &["CLIENT_NAME"]), (vec![], client.to_vec()));
    assert_eq!(of(&["clients.NAME"], &[]), (client.to_vec(), vec![]));
    assert_eq!(of(&["NAME"], &[]).0, ["ID_SUMMARY", "NAME"]);
    assert_eq!(of(&["USER_ID", "CUSTOM.7", "agents.NAME"], &[]).0, ["USER_ID", "CUSTOM.7", "agents.NAME"]);
    assert_eq!(of(&["REPORTED_BY"], &[]).0, ["REPORTED_BY"], "it repeats names among other texts");
    assert_eq!(of(&["users.EMAIL"], &[]).0, ["EMAIL_TO_LIST", "REPORTED_BY", "USER_EMAIL", "users.EMAIL"]);
    let (excluded, hashed) = of(&["users.NAME"], &["USER_NAME"]);
    assert_eq!(excluded, ["REPORTED_BY", "users.NAME"], "the stricter rule is extended");
    assert_eq!(hashed, ["USER_NAME"], "declared rules win");
    let (excluded, hashed) = of(&["CATEGORY_1"], &["CATEGORY_2"]);
    let category = ["CATEGORY_1", "CATEGORY_1_DISPLAY", "categories.VALUE", "categories.NAME"];
    assert_eq!(excluded, category, "the stricter of two extended rules wins");
    assert_eq!(hashed, ["CATEGORY_2", "CATEGORY_2_DISPLAY"]);
}

#[test]
fn values_of_a_ticket_are_held_back_and_equal_ones_stay_equal() {
    let json = r#"{"id": 7, "summary": "Ann", "details": "Ann", "user_name": "Ann", "userdef1": "", "user_email": ["Ann"],
        "client_name": {"x": "Ann"}, "dateassigned": "2026-01-02T03:04:05Z",
        "customfields": [{"id": 1, "name": "CFa", "value": "Ann", "display": "Ann"}, {"id": 2, "value": "Ann"},
                         {"id": 3, "value": "Ann", "name": []}, {"id": "?", "value": "Ann"}]}"#;
    let rules = rules(
        &["DESCRIPTION", "CLIENT_NAME", "EXTRA.ASSIGNED_AT", "CUSTOM.2"],
        &["USER_NAME", "USER_DEF_1", "USER_EMAIL", "CUSTOM.1"],
    );
    let mut ticket = parse_ticket(json.as_bytes()).unwrap();
    rules.apply_to_ticket(&mut ticket);
    let value = |name: &str| {
        let position = attribute::stored_attributes().position(|it| it.name == name).unwrap();
        ticket.stored_values()[position].clone()
    };
    let hash = HashKey::new(b"key").hash("Ann");
    assert_eq!(value("NAME"), AttributeValue::Text("Ann".into()), "it has no rule");
    assert_eq!(value("USER_NAME"), AttributeValue::Text(hash.clone()));
    assert_eq!(value("USER_DEF_1"), AttributeValue::Text(String::new()), "an empty text says nothing");
    for name in ["DESCRIPTION", "CLIENT_NAME", "EXTRA.ASSIGNED_AT"] {
        assert_eq!(value(name), AttributeValue::Null, "{name}");
    }
    let rejected: Vec<_> =
        ticket.rejected_values().iter().map(|(position, it)| (*position, &*it.raw)).collect();
    let email = ATTRIBUTES.iter().position(|it| it.name == "USER_EMAIL").unwrap();
    assert_eq!(rejected, [(email, "")], "a reject of what is left out is none, and no reject has a text");
    let fields = ticket.custom_fields().unwrap();
    let shown: Vec<_> =
        fields.fields().iter().map(|it| (it.id, it.value.as_deref(), it.display.as_deref())).collect();
    assert_eq!(shown, [(1, Some(&*hash), Some(&*hash)), (3, Some("Ann"), None)]);
    assert!(fields.rejected_values().iter().all(|(_, it)| it.raw.is_empty()));
    assert_eq!(fields.rejected_values().len(), 2);
}

#[test]
fn change_records_are_held_back_member_by_member() {
    let rules = rules(&["DESCRIPTION", "EXTRA.PARENT_ID", "CUSTOM.7"], &["USER_NAME", "CUSTOM.8"]);
    let hash = |text: &str| HashKey::new(b"key").hash(text);
    let changed = r#"{"CUSTOM.7":["a","b"],"CUSTOM.7.DISPLAY":["a","b"],"CUSTOM.8":["a",null],"CUSTOM.8.DISPLAY":[null,"b"],"CUSTOM.8.LABEL":["a","b"],"DESCRIPTION":["a","b"],"EXTRA.PARENT_ID":[1,2],"TEAM":["a","b"],"USER_NAME":["a","b"]}"#;
    let (a, b) = (hash("a"), hash("b"));
    let expected = format!(
        r#"{{"CUSTOM.8":["{a}",null],"CUSTOM.8.DISPLAY":[null,"{b}"],"CUSTOM.8.LABEL":["a","b"],"TEAM":["a","b"],"USER_NAME":["{a}","{b}"]}}"#
    );
    assert_eq!(rules.apply_to_changed(changed).unwrap(), expected);
    let row = r#"{"COST":1.5,"DESCRIPTION":"a","UID":7,"USER_NAME":"a","_custom_fields":[{"FIELD_ID":7,"VALUE":"a"},{"DISPLAY":"b","FIELD_ID":8,"NAME":"a","VALUE":"a"}],"_extra":{"ASSIGNED_AT":null,"PARENT_ID":3}}"#;
    let expected = format!(
        r#"{{"COST":1.5,"UID":7,"USER_NAME":"{a}","_custom_fields":[{{"DISPLAY":"{b}","FIELD_ID":8,"NAME":"a","VALUE":"{a}"}}],"_extra":{{"ASSIGNED_AT":null}}}}"#
    );
    assert_eq!(rules.apply_to_last_row(row).unwrap(), expected);
    assert!(rules.apply_to_changed("[]").is_err());
}

#[test]
fn difference_tells_what_can_be_done_here_and_what_needs_the_server() {
    let wanted = rules(&["DESCRIPTION", "COST"], &["USER_NAME", "TEAM"]);
    let recorded = |rules: &PrivacyRules| -> Vec<RecordedRule> {
        let key_id = |rule| rules.key_id().filter(|_| rule == PrivacyRule::Hash);
        rules.columns().map(|(column, rule)| RecordedRule { column, rule, key_id: key_id(rule) }).collect()
    };
    let difference = PrivacyDifference::between(&[], &wanted);
    assert_eq!(difference.new.columns().count(), wanted.columns().count());
    assert!(difference.outdated.is_empty());
    assert!(PrivacyDifference::between(&recorded(&wanted), &wanted).is_empty());

    let summary = |before: &PrivacyRules, after: &PrivacyRules| {
        let PrivacyDifference { new, outdated, .. } = PrivacyDifference::between(&recorded(before), after);
        let new: Vec<_> = new.columns().map(|(it, rule)| format!("{it} {}", rule.as_str())).collect();
        (new.join(" "), outdated.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    let of = |exclude: &[&str], hash: &[&str]| rules(exclude, hash);
    let cases = [
        (of(&["COST"], &[]), of(&[], &[]), ("", "COST")),
        (of(&[], &["REPORTED_BY"]), of(&["REPORTED_BY"], &[]), ("REPORTED_BY exclude", "")),
        (of(&["REPORTED_BY"], &[]), of(&[], &["REPORTED_BY"]), ("", "REPORTED_BY")),
        (of(&["COST"], &[]), of(&["COST"], &["REPORTED_BY"]), ("REPORTED_BY hash", "")),
    ];
    for (before, after, (new, outdated)) in cases {
        assert_eq!(summary(&before, &after), (new.to_owned(), outdated.to_owned()));
    }
    let mut other_key = of(&["COST"], &["REPORTED_BY"]);
    other_key.key = Some(HashKey::new(b"other"));
    assert_eq!(summary(&of(&["COST"], &["REPORTED_BY"]), &other_key), (String::new(), "REPORTED_BY".into()));
}

#[test]
fn columns_that_share_a_rule_are_documented() {
    let page = include_str!("../../docs/privacy.md");
    let list = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    for same in SAME_TEXT.iter().filter(|same| !same.columns[0].to_uppercase().starts_with("CATEGOR")) {
        let row = format!("| {} | {} |\n", list(same.columns), list(same.repeated_in));
        assert!(page.contains(&row.replace("|  |", "| |")), "{row}");
    }
    assert!(page.contains(
        "| `CATEGORY_1` and `CATEGORY_1_DISPLAY`, and so on | `categories.VALUE`, `categories.NAME` |\n"
    ));
}
