//! Rules that a reviewer would forget: who may use whom, no import cycles, one name for one type, no dead files.
//!
//! Read from the tokens of the sources, so that comments and texts do not count. Unit tests inside `src` may import
//! what they like.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Which module of the top level may import which others. The three modules that touch the outside world (`halo`,
/// `store`, `export`) do not know each other.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("ticket", &[]),
    ("scope", &[]),
    ("retry", &[]),
    ("watermark", &["scope", "ticket"]),
    ("reference", &["ticket"]),
    ("privacy", &["reference", "ticket"]),
    ("snapshot_table", &["reference", "ticket"]),
    ("config", &["privacy", "reference", "retry", "ticket"]),
    ("regular_file", &[]),
    ("content_digest", &[]),
    ("halo", &["config", "privacy", "reference", "retry", "ticket"]),
    ("store", &["config", "privacy", "reference", "scope", "snapshot_table", "ticket", "watermark"]),
    ("export", &["config", "content_digest", "regular_file", "snapshot_table", "ticket", "watermark"]),
    ("lake", &["config", "content_digest"]),
    ("sync", &["halo", "reference", "retry", "scope", "store", "ticket", "watermark"]),
    (
        "app",
        &[
            "config",
            "content_digest",
            "export",
            "halo",
            "lake",
            "privacy",
            "reference",
            "regular_file",
            "scope",
            "snapshot_table",
            "store",
            "sync",
            "ticket",
            "watermark",
        ],
    ),
    ("check", &["app", "config", "halo", "privacy", "reference", "store", "sync", "ticket"]),
    ("demo", &["app", "config", "sync"]),
    ("cli", &["app", "check", "config", "demo", "sync", "ticket", "watermark"]),
];

/// Text that may stand in some files only: the text, where it may stand, and why.
const RESTRICTED: &[(&str, &[&str], &str)] = &[
    ("reqwest::", &["src/halo/", "src/lake/"], "only `halo` and `lake` use the network"),
    ("rusqlite::", &["src/store/"], "only `store` uses SQLite"),
    ("INSERT INTO changes", &["src/store/upsert/"], "change records have one writer"),
    ("INSERT INTO tickets", &["src/store/upsert/", "src/store/full_text.rs"], "tickets have one writer"),
    ("INSERT INTO packages", &["src/store/packages.rs"], "the packages table has one writer"),
    ("SELECT ", &["src/store/", "src/cli/demo/"], "SQL is written in the store"),
    ("Utc::now", &["src/app/", "src/demo/"], "time is an argument below layer 3"),
    ("println!", &[], "text is written through the one place that survives a closed pipe"),
    (
        "process::exit",
        &["src/cli/process.rs"],
        "only `main` ends the process, and the second Ctrl-C, which waits for nothing",
    ),
];

const NEVER: &[&str] = &["TODO", "FIXME", "XXX", "dbg!", "todo!", "unimplemented!", "#[ignore"];

const VAGUE: &[&str] = &["utils", "util", "common", "helpers", "types", "models", "misc"];

/// Every crate of the workspace: the folder of its sources.
const CRATES: &[&str] = &["src", "crates/halo-simulator/src"];

/// The path of a module below its crate, for example `["sync", "scan"]`.
type ModulePath = Vec<String>;

/// The `.rs` files below a folder, sorted.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file says in code: without comments, and without the unit tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn module_path(root: &str, file: &Path) -> ModulePath {
    let below = file.strip_prefix(root).unwrap().with_extension("");
    let mut path: ModulePath = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if path.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
        path.pop();
    }
    path
}

/// The modules of a crate by their path, each with its tokens outside of unit tests.
struct Crate {
    modules: BTreeMap<ModulePath, Vec<TokenTree>>,
    /// Names that a module passes on, for example `["sync", "RunOutcome"]`, with what they stand for.
    reexports: BTreeMap<ModulePath, ModulePath>,
}

impl Crate {
    fn read(root: &str) -> Crate {
        let mut modules = BTreeMap::new();
        let mut test_modules = BTreeSet::new();
        for file in rust_files(root) {
            if file.ends_with("main.rs") {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let tokens: TokenStream =
                text.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let path = module_path(root, &file);
            let (kept, tests) = without_tests(tokens.into_iter().collect());
            test_modules.extend(tests.into_iter().map(|name| [path.clone(), vec![name]].concat()));
            modules.insert(path, kept);
        }
        modules.retain(|path, _| !test_modules.contains(path));
        let mut found = Crate { modules, reexports: BTreeMap::new() };
        for (module, tokens) in &found.modules {
            for Import { path, alias, public } in imports(tokens) {
                if public && let Some(target) = found.absolute(module, &path) {
                    found.reexports.insert([module.clone(), vec![alias]].concat(), target);
                }
            }
        }
        found
    }

    /// A path as written in a module, from the root of the crate; `None` where it leads out of the crate.
    fn absolute(&self, module: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => Some([&module[..module.len() - supers], &path[supers..]].concat()),
            child if self.modules.contains_key(&[module.clone(), vec![child.to_owned()]].concat()) => {
                Some([module, path].concat())
            }
            _ => None,
        }
    }

    /// The module in which what a path names is defined.
    fn defined_in(&self, mut path: ModulePath) -> ModulePath {
        let passed_on = |path: &ModulePath| {
            (1..=path.len()).rev().find(|length| {
                self.reexports.contains_key(&path[..*length]) && !self.modules.contains_key(&path[..*length])
            })
        };
        while let Some(length) = passed_on(&path) {
            path = [&self.reexports[&path[..length]][..], &path[length..]].concat();
        }
        while !self.modules.contains_key(&path) {
            path.pop();
        }
        path
    }

    /// The paths in a module that lead into the crate, as written, from the root of the crate.
    fn paths_in(&self, module: &ModulePath) -> Vec<ModulePath> {
        let tokens = &self.modules[module];
        let paths = paths(tokens).into_iter().chain(imports(tokens).into_iter().map(|import| import.path));
        paths.filter_map(|path| self.absolute(module, &path)).collect()
    }

    /// Which modules a module uses, each with the path that says so.
    fn uses(&self, module: &ModulePath) -> Vec<(ModulePath, String)> {
        let tokens = &self.modules[module];
        let mut paths = paths(tokens);
        paths.extend(imports(tokens).into_iter().map(|import| import.path));
        let used = paths.into_iter().filter_map(|path| {
            let target = self.defined_in(self.absolute(module, &path)?);
            Some((target, path.join("::")))
        });
        used.filter(|(target, _)| target != module).collect()
    }

    /// Between the children of each module: who uses whom, and where that is written. A child that uses its parent, and
    /// a parent that uses its child, are no siblings.
    fn siblings(&self) -> BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, String>>> {
        let mut graphs: BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
        for module in self.modules.keys() {
            for (target, written) in self.uses(module) {
                let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
                if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                    let edges = graphs.entry(module[..shared].to_vec()).or_default();
                    let reason = format!("{} says {written}", module.join("::"));
                    edges.entry(from.clone()).or_default().entry(to.clone()).or_insert(reason);
                }
            }
        }
        graphs
    }
}

/// Tokens without the items under `#[cfg(test)]`, and the names of the modules among those.
fn without_tests(tokens: Vec<TokenTree>) -> (Vec<TokenTree>, Vec<String>) {
    let (mut kept, mut names) = (Vec::new(), Vec::new());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_hash = matches!(&token, TokenTree::Punct(it) if it.as_char() == '#');
        let is_test = is_hash
            && matches!(tokens.peek(), Some(TokenTree::Group(it)) if it.stream().to_string().replace(' ', "") == "cfg(test)");
        if !is_test {
            kept.push(token);
            continue;
        }
        let mut is_module = false;
        tokens.next();
        for token in tokens.by_ref() {
            match &token {
                TokenTree::Ident(it) if is_module => names.push(it.to_string()),
                TokenTree::Group(it) if it.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(it) if it.as_char() == ';' => break,
                _ => {}
            }
            is_module = matches!(&token, TokenTree::Ident(it) if it == "mod");
        }
    }
    (kept, names)
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(it)) if it.as_char() == wanted)
}

fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

struct Import {
    path: Vec<String>,
    /// The name that it has in the importing module.
    alias: String,
    public: bool,
}

/// The `use` declarations, each name of a group for itself.
fn imports(tokens: &[TokenTree]) -> Vec<Import> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(it) if it == "use" => {
                let end =
                    (at..tokens.len()).find(|at| is_punct(tokens.get(*at), ';')).unwrap_or(tokens.len());
                let public = match at.checked_sub(1).map(|before| &tokens[before]) {
                    Some(TokenTree::Ident(it)) => it == "pub",
                    Some(TokenTree::Group(it)) => it.delimiter() == Delimiter::Parenthesis,
                    _ => false,
                };
                use_tree(&tokens[at + 1..end], &[], public, &mut found);
                at = end;
            }
            TokenTree::Group(it) => found.extend(imports(&it.stream().into_iter().collect::<Vec<_>>())),
            _ => {}
        }
        at += 1;
    }
    found
}

fn use_tree(tokens: &[TokenTree], prefix: &[String], public: bool, found: &mut Vec<Import>) {
    for branch in tokens.split(|token| is_punct(Some(token), ',')) {
        let (mut path, mut alias) = (prefix.to_vec(), None);
        let mut renamed = false;
        for token in branch {
            match token {
                TokenTree::Ident(it) if it == "as" => renamed = true,
                TokenTree::Ident(it) if renamed => alias = Some(it.to_string()),
                TokenTree::Ident(it) => path.push(it.to_string()),
                TokenTree::Group(it) => {
                    use_tree(&it.stream().into_iter().collect::<Vec<_>>(), &path, public, found);
                    path.clear();
                }
                _ => {}
            }
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(last) = path.last().cloned() {
            found.push(Import { path, alias: alias.unwrap_or(last), public });
        }
    }
}

/// The paths of two names or more that stand in code, macro calls included.
fn paths(tokens: &[TokenTree]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(first) => {
                let mut path = vec![first.to_string()];
                while is_path_separator(tokens, at + 1) {
                    let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
                    path.push(next.to_string());
                    at += 3;
                }
                if 1 < path.len() {
                    found.push(path);
                }
            }
            TokenTree::Group(it) => found.extend(paths(&it.stream().into_iter().collect::<Vec<_>>())),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
    found
}

/// The names of `struct`, `enum`, `trait` and `type` items; associated types are none.
fn type_names(tokens: &[TokenTree]) -> Vec<String> {
    let mut found = Vec::new();
    let (mut keyword, mut inside_impl) = (false, false);
    for token in tokens {
        match token {
            TokenTree::Ident(it) if keyword => {
                found.push(it.to_string());
                keyword = false;
            }
            TokenTree::Ident(it) => {
                let word = it.to_string();
                keyword = ["struct", "enum", "trait", "type"].contains(&word.as_str());
                inside_impl |= ["impl", "trait"].contains(&word.as_str());
            }
            TokenTree::Group(it) if it.delimiter() == Delimiter::Brace => {
                if !inside_impl {
                    found.extend(type_names(&it.stream().into_iter().collect::<Vec<_>>()));
                }
                inside_impl = false;
            }
            TokenTree::Punct(it) if it.as_char() == ';' => inside_impl = false,
            _ => {}
        }
    }
    found
}

/// The first way from a name back to itself.
fn cycle(edges: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Vec<String>> {
    fn visit(
        name: &str,
        edges: &BTreeMap<String, BTreeMap<String, String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|it| it == name) {
            return Some(way[start..].to_vec());
        }
        if !done.insert(name.to_owned()) {
            return None;
        }
        way.push(name.to_owned());
        let found = edges.get(name).into_iter().flatten().find_map(|(next, _)| visit(next, edges, way, done));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|name| visit(name, edges, &mut Vec::new(), &mut done))
}

#[test]
fn modules_import_only_from_layers_they_may_see() {
    let program = Crate::read("src");
    let mut violations = Vec::new();
    for module in program.modules.keys().filter(|module| !module.is_empty()) {
        let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == module[0]).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("add `{}` to MAY_IMPORT", module[0]));
        // As written: what a module passes on may be used through it.
        for path in program.paths_in(module) {
            let (Some(target), written) = (path.first(), path.join("::")) else { continue };
            if *target != module[0] && !allowed.contains(&target.as_str()) {
                violations.push(format!(
                    "{}: {written}: `{}` may not import `{target}`",
                    module.join("::"),
                    module[0]
                ));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn sibling_modules_have_no_import_cycles() {
    let mut cycles = Vec::new();
    for root in CRATES {
        for (parent, edges) in Crate::read(root).siblings() {
            if let Some(way) = cycle(&edges) {
                let steps = way.iter().zip(way.iter().cycle().skip(1));
                let reasons: Vec<_> =
                    steps.map(|(from, to)| format!("  {from} -> {to}: {}", edges[from][to])).collect();
                cycles.push(format!("{root}, in `{}`:\n{}", parent.join("::"), reasons.join("\n")));
            }
        }
    }
    assert!(cycles.is_empty(), "\n{}", cycles.join("\n"));
}

#[test]
fn import_cycles_are_found() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (from, to) in pairs {
            edges.entry((*from).to_owned()).or_default().insert((*to).to_owned(), String::new());
        }
        edges
    };
    assert_eq!(cycle(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(cycle(&edges(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b".into(), "c".into()]));
    let source =
        "use super::{a::X, b::{self, Y as Z}}; fn f() { tokio::select! { it = crate::c::go() => it } }";
    let tokens: Vec<_> = source.parse::<TokenStream>().unwrap().into_iter().collect();
    let imported: Vec<_> =
        imports(&tokens).iter().map(|it| format!("{} as {}", it.path.join("::"), it.alias)).collect();
    assert_eq!(imported, ["super::a::X as X", "super::b as b", "super::b::Y as Z"]);
    assert!(paths(&tokens).contains(&vec!["crate".into(), "c".into(), "go".into()]));
}

#[test]
fn every_type_name_stands_for_one_type() {
    for root in CRATES {
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in rust_files(root) {
            let tokens: TokenStream = fs::read_to_string(&file).unwrap().parse().unwrap();
            for name in type_names(&tokens.into_iter().collect::<Vec<_>>()) {
                seen.entry(name).or_default().push(file.display().to_string());
            }
        }
        seen.retain(|_, files| 1 < files.len());
        assert!(seen.is_empty(), "these names are declared more than once: {seen:#?}");
    }
}

#[test]
fn restricted_text_stands_only_where_it_may() {
    let mut violations = Vec::new();
    for path in rust_files("src") {
        let code = code(&path);
        for (text, allowed, why) in RESTRICTED {
            if code.contains(text) && !allowed.iter().any(|prefix| path.starts_with(prefix)) {
                violations.push(format!("{}: `{text}` does not belong here: {why}", path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

#[test]
fn no_leftovers() {
    let mut left = Vec::new();
    let files = ["src", "crates", "tests", "benches"].into_iter().flat_map(rust_files);
    for path in files.filter(|path| !path.ends_with("tidy.rs")) {
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
fn every_file_is_part_of_a_crate() {
    let mut dead = Vec::new();
    for root in CRATES {
        for path in rust_files(root) {
            let module = module_path(root, &path);
            let Some((name, parent)) = module.split_last().filter(|(name, _)| *name != "main") else {
                continue;
            };
            let folder = Path::new(root).join(parent.iter().collect::<PathBuf>());
            let beside = folder.with_extension("rs");
            let parents = [folder.join("mod.rs"), folder.join("lib.rs"), beside];
            let declared = parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
                let declaration = format!("mod {name};");
                text.lines().any(|line| {
                    let visibility = line.trim().strip_suffix(&declaration).map(str::trim);
                    visibility.is_some_and(|it| it.is_empty() || it.starts_with("pub"))
                })
            });
            if !declared {
                dead.push(path.display().to_string());
            }
        }
    }
    assert!(dead.is_empty(), "no `mod` line names\n{}", dead.join("\n"));
}

#[test]
fn files_have_names_of_the_domain() {
    let is_vague =
        |path: &PathBuf| path.with_extension("").iter().any(|part| VAGUE.contains(&part.to_str().unwrap()));
    let vague: Vec<_> = CRATES.iter().flat_map(|root| rust_files(root)).filter(is_vague).collect();
    assert!(vague.is_empty(), "{vague:?}");
}

/// The rows of the code map: the module, and the files that it is said to have.
fn code_map() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    let section =
        text.split("\n## ").find(|section| section.starts_with("Code map")).expect("a section Code map");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut map: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for module in cells.get(2).map(|cell| quoted(cell)).unwrap_or_default() {
            map.entry(module).or_default().extend(cells.get(3).map(|cell| quoted(cell)).unwrap_or_default());
        }
    }
    map
}

#[test]
fn the_code_map_names_every_file_and_nothing_else() {
    let mut actual: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in Crate::read("src").modules.into_keys().filter(|module| !module.is_empty()) {
        let (name, parent) = module.split_last().unwrap();
        let folder = Path::new("src").join(module.iter().collect::<PathBuf>());
        if parent.is_empty() || folder.is_dir() {
            actual.entry(module.join("::")).or_default();
        }
        if !parent.is_empty() && !folder.is_dir() {
            actual.entry(parent.join("::")).or_default().insert(name.clone());
        }
    }
    assert_eq!(
        code_map(),
        actual,
        "ARCHITECTURE.md, section Code map: left what it says, right what there is"
    );
}
