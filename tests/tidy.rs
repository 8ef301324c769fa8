//! The rules of the house that a reviewer would forget: who may use whom, no dead files, no leftovers.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module may import which others. The three doors (`halo`, `store`, `export`) do not know each
/// other; the simulator knows nobody, so that it is no mirror of the agent.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("ticket", &[]),
    ("scope", &[]),
    ("retry", &[]),
    ("watermark", &["scope", "ticket"]),
    ("config", &["retry"]),
    ("halo", &["config", "retry", "ticket"]),
    ("store", &["config", "scope", "ticket", "watermark"]),
    ("export", &["config", "ticket", "watermark"]),
    ("sync", &["halo", "scope", "store", "ticket", "watermark"]),
    ("simulator", &[]),
    ("app", &["config", "export", "halo", "scope", "store", "sync", "ticket", "watermark"]),
    ("check", &["app", "config", "halo", "store", "sync", "ticket"]),
    ("demo", &["app", "config", "simulator", "sync"]),
    ("cli", &["app", "check", "config", "demo", "simulator", "sync", "ticket", "watermark"]),
];

/// Words that belong into some rooms only: the word, where it may stand, and why.
const PLACES: &[(&str, &[&str], &str)] = &[
    ("reqwest::", &["src/halo/"], "the network has one door"),
    ("rusqlite::", &["src/store/"], "the database has one door"),
    ("INSERT INTO changes", &["src/store/upsert/"], "the change log has one writer"),
    ("INSERT INTO tickets", &["src/store/upsert/", "src/store/open.rs"], "the tickets have one writer"),
    ("INSERT INTO packages", &["src/store/packages.rs"], "the book has one writer"),
    ("SELECT ", &["src/store/", "src/cli/demo.rs"], "SQL is written in the store"),
    ("Utc::now", &["src/app/", "src/demo.rs", "src/simulator/"], "time is an argument below floor 3"),
    ("println!", &[], "text is written through the one place that survives a closed pipe"),
    ("process::exit", &[], "main alone ends the process"),
];

const NEVER: &[&str] = &["TODO", "FIXME", "XXX", "dbg!", "todo!", "unimplemented!", "#[ignore"];

const VAGUE: &[&str] = &["utils", "util", "common", "helpers", "types", "models", "misc"];

/// The files below a folder, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file says in code: without comments, and without the tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The module of the top level that a file belongs to.
fn module(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

/// The modules of the top level that stand behind a `crate::`, in a group too.
fn named(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect()
    };
    let Some(group) = text.strip_prefix('{') else { return vec![word(text)] };
    let mut depth = 1;
    let mut names = vec![word(group)];
    for (place, it) in group.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => names.push(word(&group[place + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

#[test]
fn no_module_imports_from_a_floor_it_must_not_see() {
    let mut crossings = Vec::new();
    for path in files("src") {
        let (module, code) = (module(&path), code(&path));
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("give {module} a floor in MAY_IMPORT"));
        for reached in code.split("crate::").skip(1).flat_map(named) {
            if reached != module && !allowed.contains(&reached.as_str()) {
                crossings.push(format!("{}: {module} may not import {reached}", path.display()));
            }
        }
    }
    assert!(crossings.is_empty(), "\n{}", crossings.join("\n"));
}

#[test]
fn some_words_stand_in_some_rooms_only() {
    let mut strays = Vec::new();
    for path in files("src") {
        let code = code(&path);
        for (word, rooms, why) in PLACES {
            if code.contains(word) && !rooms.iter().any(|room| path.starts_with(room)) {
                strays.push(format!("{}: `{word}` does not belong here: {why}", path.display()));
            }
        }
    }
    assert!(strays.is_empty(), "\n{}", strays.join("\n"));
}

#[test]
fn nothing_is_left_half_done() {
    let mut left = Vec::new();
    for path in files("src").into_iter().chain(files("tests")) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = NEVER.iter().find(|word| line.contains(**word)) {
                left.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(left.is_empty(), "\n{}", left.join("\n"));
}

#[test]
fn every_file_is_part_of_the_program() {
    let mut dead = Vec::new();
    for path in files("src") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = path.parent().unwrap();
        if folder == Path::new("src") && ["lib", "main"].contains(&stem) {
            continue;
        }
        let (name, parents) = if stem == "mod" {
            let above = folder.parent().unwrap();
            (folder.file_name().unwrap().to_str().unwrap(), [above.join("mod.rs"), above.join("lib.rs")])
        } else {
            (stem, [folder.join("mod.rs"), folder.join("lib.rs")])
        };
        let declared = parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
            text.lines().any(|line| line.trim_start_matches("pub ").trim() == format!("mod {name};"))
        });
        if !declared {
            dead.push(path.display().to_string());
        }
    }
    assert!(dead.is_empty(), "no `mod` line names\n{}", dead.join("\n"));
}

#[test]
fn files_are_called_by_nouns_of_the_domain() {
    let vague: BTreeSet<_> = files("src")
        .into_iter()
        .filter(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            VAGUE.contains(&stem) || VAGUE.contains(&module(path).as_str())
        })
        .collect();
    assert!(vague.is_empty(), "{vague:?}");
}

#[test]
fn the_code_map_names_every_room() {
    let map = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let mut missing: Vec<String> = MAY_IMPORT
        .iter()
        .map(|(module, _)| format!("`{module}`"))
        .filter(|name| !map.contains(name.as_str()) && !map.contains(&name.replace('`', "")))
        .collect();
    missing.extend(
        files("src")
            .into_iter()
            .filter(|path| !path.starts_with("src/simulator"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|stem| !["mod", "lib", "main"].contains(&stem.as_str()) && !map.contains(stem.as_str())),
    );
    assert!(missing.is_empty(), "ARCHITECTURE.md does not know {missing:?}");
}
