//! Readers of exported files, written from `docs/loading.md` and sharing no code with the writers.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use halosync::ticket::AttributeValue;
use serde_json::Value as Json;

use crate::export_env::StoredTickets;
use crate::support::file_names;

/// A value as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field {
    /// In CSV: NULL or a text.
    Csv(Option<String>),
    /// In JSON.
    Json(Json),
}

/// A row, its columns in the order of their names, the only order that JSON objects have.
pub(crate) type Row = Vec<(String, Field)>;

/// The value of a Parquet file as JSON has it.
#[cfg(feature = "lake")]
fn parquet_value(field: parquet::record::Field) -> Json {
    use parquet::record::Field;
    match field {
        Field::Null => Json::Null,
        Field::Bool(truth) => truth.into(),
        Field::Long(number) => number.into(),
        Field::Double(number) => number.into(),
        Field::Str(text) => text.into(),
        Field::TimestampMicros(at) => {
            let at = chrono::DateTime::from_timestamp_micros(at).unwrap();
            at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true).into()
        }
        other => panic!("the value {other}"),
    }
}

/// The rows of a Parquet file, which the library reads that also wrote them; `parquet_files` has another reader.
#[cfg(feature = "lake")]
fn parquet_rows(path: &Path) -> Vec<Row> {
    let reader = parquet::file::reader::SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = reader.into_iter().map(|row| {
        let columns = row.unwrap().into_columns().into_iter();
        let mut row: Row = columns.map(|(name, field)| (name, Field::Json(parquet_value(field)))).collect();
        row.sort_by(|left, right| left.0.cmp(&right.0));
        row
    });
    rows.collect()
}

/// The rows of a file in the format that its manifest states.
pub(crate) fn rows(folder: &Path, manifest: &Json, file: &Json) -> Vec<Row> {
    let path = folder.join(file["name"].as_str().unwrap());
    #[cfg(feature = "lake")]
    if file["format"] == "parquet" {
        assert_eq!(file["compression"], "none");
        let rows = parquet_rows(&path);
        assert_eq!(file["rows"], rows.len(), "{}", path.display());
        return rows;
    }
    let mut bytes = fs::read(&path).unwrap();
    if file["compression"] == "gzip" {
        let mut unpacked = Vec::new();
        MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        bytes = unpacked;
    }
    let text = String::from_utf8(bytes).unwrap();
    let rows = match file["format"].as_str().unwrap() {
        "csv" => csv_rows(&text, &manifest["options"]),
        "jsonl" => text.lines().map(|line| object(line.parse().unwrap())).collect(),
        "json" => {
            let Json::Array(rows) = text.parse().unwrap() else { panic!("no array in {}", path.display()) };
            rows.into_iter().map(object).collect()
        }
        other => panic!("the format {other}"),
    };
    assert_eq!(file["rows"], rows.len(), "{}", path.display());
    rows
}

fn object(row: Json) -> Row {
    let Json::Object(row) = row else { panic!("{row} is no object") };
    row.into_iter().map(|(name, value)| (name, Field::Json(value))).collect()
}

fn csv_rows(text: &str, options: &Json) -> Vec<Row> {
    let without_mark = text.strip_prefix('\u{FEFF}');
    assert_eq!(without_mark.is_some(), options["excel"] == true, "the byte order mark");
    let text = without_mark.unwrap_or(text);
    let records = fields(text);
    // Another parser, which does not distinguish NULL from an empty text, must agree.
    let by_crate = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).into_records();
    let by_crate: Vec<Vec<String>> =
        by_crate.map(|row| row.unwrap().iter().map(ToOwned::to_owned).collect()).collect();
    let by_test: Vec<Vec<String>> = records
        .iter()
        .map(|row| row.iter().map(|field| field.clone().unwrap_or_default()).collect())
        .collect();
    assert_eq!(by_test, by_crate, "two parsers read different things");
    let (header, records) = records.split_first().unwrap();
    let named = records.iter().map(|record| {
        assert_eq!(record.len(), header.len());
        let exact = record.iter().map(|field| field.as_ref().map(|field| exact(field, options)));
        header.iter().map(|name| name.clone().unwrap()).zip(exact.map(Field::Csv)).collect()
    });
    let mut rows: Vec<Row> = named.collect();
    for row in &mut rows {
        row.sort_by(|left, right| left.0.cmp(&right.0));
    }
    rows
}

/// Parses RFC 4180; an empty field without quotes is NULL.
fn fields(text: &str) -> Vec<Vec<Option<String>>> {
    let mut records = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut record = Vec::new();
        loop {
            let field;
            (field, rest) = field_of(rest);
            record.push(field);
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        rest = rest.strip_prefix("\r\n").expect("the end of a record");
        records.push(record);
    }
    records
}

fn field_of(text: &str) -> (Option<String>, &str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\r']).expect("the end of a field");
        return ((end != 0).then(|| text[..end].to_owned()), &text[end..]);
    };
    let mut field = String::new();
    loop {
        let quote = rest.find('"').expect("a closing quote");
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return (Some(field), rest),
        }
    }
}

/// Undoes the options: the original text of a field.
fn exact(field: &str, options: &Json) -> String {
    let mut text = field.to_owned();
    if options["newlines"] == "escape" {
        assert!(!text.contains(['\r', '\n']), "a line break that was to be escaped");
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(it) = rest.next() {
            let escaped = it == '\\';
            let it = if escaped { rest.next().unwrap() } else { it };
            plain.push(match it {
                'r' if escaped => '\r',
                'n' if escaped => '\n',
                it => it,
            });
        }
        text = plain;
    }
    if options["excel"] == true { without_apostrophes(&text) } else { text }
}

/// Removes the apostrophes that `--excel` adds: one at the start of the text or behind a separator, apart from blanks.
fn without_apostrophes(text: &str) -> String {
    let is_separator = |it: char| ",;|\t\r\n\u{B}\u{C}\u{85}\u{2028}\u{2029}".contains(it);
    let is_skipped = |it: char| {
        let is_format = ('\u{200B}'..='\u{200F}').contains(&it)
            || ('\u{202A}'..='\u{202E}').contains(&it)
            || ('\u{2060}'..='\u{206F}').contains(&it);
        it == '"' || it.is_whitespace() || it.is_control() || is_format || "\u{AD}\u{FEFF}".contains(it)
    };
    let mut plain = String::new();
    let mut at_start = true;
    for it in text.chars() {
        if at_start && it == '\'' {
            at_start = false;
        } else {
            plain.push(it);
            at_start = is_separator(it) || (at_start && is_skipped(it));
        }
    }
    plain
}

/// Whether a field holds what the database does.
pub(crate) fn is(field: &Field, value: &AttributeValue) -> bool {
    match (field, value) {
        (Field::Csv(None) | Field::Json(Json::Null), AttributeValue::Null) => true,
        (Field::Csv(Some(text)), AttributeValue::Integer(number)) => *text == number.to_string(),
        (Field::Csv(Some(text)), AttributeValue::Real(number)) => {
            text.parse::<f64>().is_ok_and(|read| read.to_bits() == number.to_bits())
        }
        (Field::Csv(Some(text)), AttributeValue::Text(expected)) => text == expected,
        (Field::Json(Json::Bool(truth)), AttributeValue::Integer(number)) => i64::from(*truth) == *number,
        (Field::Json(json), AttributeValue::Integer(number)) => json.as_i64() == Some(*number),
        (Field::Json(json), AttributeValue::Real(number)) => {
            json.is_f64() && json.as_f64().is_some_and(|read| read.to_bits() == number.to_bits())
        }
        (Field::Json(Json::Array(fields)), AttributeValue::Text(expected)) => {
            expected.parse::<Json>().is_ok_and(|expected| expected.as_array() == Some(fields))
        }
        (Field::Json(json @ Json::Object(_)), AttributeValue::Text(expected)) => {
            expected.parse::<Json>().is_ok_and(|expected| expected == *json)
        }
        (Field::Json(json), AttributeValue::Text(expected)) => json.as_str() == Some(expected),
        _ => false,
    }
}

pub(crate) fn integer(row: &Row, column: &str) -> i64 {
    match row.iter().find(|(name, _)| name == column).map(|(_, field)| field) {
        Some(Field::Csv(Some(text))) => text.parse().unwrap(),
        Some(Field::Json(json)) => json.as_i64().unwrap(),
        other => panic!("{column}: {other:?}"),
    }
}

fn text_of(row: &Row, column: &str) -> String {
    match row.iter().find(|(name, _)| name == column).map(|(_, field)| field) {
        Some(Field::Csv(Some(text))) => text.clone(),
        Some(Field::Json(Json::String(text))) => text.clone(),
        other => panic!("{column}: {other:?}"),
    }
}

/// Applies every package of a folder in order; returns the tickets by id. Asserts that each row agrees with its operation
/// and each manifest with its rows.
pub(crate) fn fold(folder: &Path) -> BTreeMap<i64, Vec<Field>> {
    let mut have: BTreeMap<i64, Vec<Field>> = BTreeMap::new();
    let mut reached = 0;
    for manifest in manifests(folder) {
        let (from, to) = (manifest["from_seq"].as_i64().unwrap(), manifest["to_seq"].as_i64().unwrap());
        assert_eq!(from, reached, "the package up to {to}");
        reached = to;
        let mut counts = BTreeMap::from([("c", 0), ("u", 0), ("d", 0)]);
        let files = manifest["files"].as_array().unwrap();
        assert_eq!(files.iter().filter(|file| file["role"] == "tickets").count(), 1);
        assert_eq!(files[0]["role"], "tickets");
        for row in rows(folder, &manifest, &files[0]) {
            let (id, op, seq) = (integer(&row, "UID"), text_of(&row, "_op"), integer(&row, "_seq"));
            assert!(from < seq && seq <= to, "ticket {id} of change {seq} in {from}-{to}");
            // Custom fields and extras come last, because capital letters sort before the underscore.
            let added = ["_seq", "_op", "_observed_at", "_reason"];
            let cells =
                row.into_iter().filter(|(name, _)| !added.contains(&&**name)).map(|it| it.1).collect();
            let had = if op == "d" { have.remove(&id) } else { have.insert(id, cells) };
            assert_eq!(had.is_some(), op != "c", "ticket {id} is {op} in {from}-{to}");
            *counts.get_mut(op.as_str()).unwrap() += 1;
        }
        for (op, count) in counts {
            assert_eq!(manifest["counts"][op], count, "{op} in {from}-{to}");
        }
    }
    have
}

/// The manifests of a folder, in order.
pub(crate) fn manifests(folder: &Path) -> Vec<Json> {
    let names = file_names(folder);
    let of_manifests = names.iter().filter(|name| name.ends_with(".manifest"));
    of_manifests.map(|name| serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()).collect()
}

/// The tickets of a snapshot, with their extras, and their custom fields where these are synchronized.
pub(crate) fn snapshot(folder: &Path, custom_fields: bool) -> BTreeMap<i64, Vec<Field>> {
    let manifest: Json = serde_json::from_slice(&fs::read(folder.join("_manifest")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    let table = |name: &str| {
        let file = files.iter().find(|it| it["name"].as_str().unwrap().starts_with(name)).unwrap();
        rows(folder, &manifest, file)
    };
    let tickets = table("tickets.").into_iter();
    let mut tickets: BTreeMap<i64, Vec<Field>> =
        tickets.map(|row| (integer(&row, "UID"), row.into_iter().map(|it| it.1).collect())).collect();
    let mut fields: BTreeMap<i64, Vec<Json>> = BTreeMap::new();
    for row in table("custom_fields.") {
        let member = |name: &str| match row.iter().find(|(column, _)| column == name).map(|(_, field)| field)
        {
            Some(Field::Csv(None)) => Json::Null,
            Some(Field::Csv(Some(text))) if ["TYPE", "FIELD_ID"].contains(&name) => {
                text.parse::<i64>().unwrap().into()
            }
            Some(Field::Csv(Some(text))) => text.as_str().into(),
            Some(Field::Json(json)) => json.clone(),
            None => panic!("no column {name}"),
        };
        let field = ["FIELD_ID", "NAME", "LABEL", "TYPE", "VALUE", "DISPLAY"]
            .map(|name| (name.to_owned(), member(name)));
        fields.entry(integer(&row, "UID")).or_default().push(Json::Object(field.into_iter().collect()));
    }
    let mut extras: BTreeMap<i64, Json> = BTreeMap::new();
    for row in table("ticket_extra.") {
        let member = |(name, field): &(String, Field)| {
            let value = match field {
                Field::Csv(None) => Json::Null,
                Field::Csv(Some(text)) if name == "PARENT_ID" => text.parse::<i64>().unwrap().into(),
                Field::Csv(Some(text)) => text.as_str().into(),
                Field::Json(json) => json.clone(),
            };
            (name.clone(), value)
        };
        let members = row.iter().filter(|(name, _)| name != "UID").map(member);
        extras.insert(integer(&row, "UID"), Json::Object(members.collect()));
    }
    for (id, cells) in &mut tickets {
        let of_ticket = custom_fields.then(|| fields.remove(id).unwrap_or_default());
        cells.push(Field::Json(of_ticket.map_or(Json::Null, Json::Array)));
        cells.push(Field::Json(extras.remove(id).unwrap_or_default()));
    }
    assert!(extras.is_empty(), "extras of no ticket: {extras:?}");
    assert!(fields.is_empty(), "custom fields of no ticket: {fields:?}");
    tickets
}

/// Asserts that a consumer has exactly the stored tickets.
pub(crate) fn assert_equal(have: &BTreeMap<i64, Vec<Field>>, tickets: &StoredTickets, context: &str) {
    let (ids, expected): (Vec<_>, Vec<_>) = (have.keys().collect(), tickets.keys().collect());
    assert_eq!(ids, expected, "{context}: the ids of the tickets");
    for (id, cells) in have {
        assert_eq!(cells.len(), tickets[id].len(), "{context}: ticket {id}");
        for (position, (field, value)) in cells.iter().zip(&tickets[id]).enumerate() {
            let differ = || format!("{field:?} is not {value:?}").chars().take(300).collect::<String>();
            assert!(is(field, value), "{context}: ticket {id}, attribute {position}: {}", differ());
        }
    }
}
