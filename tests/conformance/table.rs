//! Owns the truth of `docs/xds-rules.md`: each rule has one row, and what it cites is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const RULES: usize = 114;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rule and what shows it.
fn rows() -> Vec<(usize, String)> {
    let text = fs::read_to_string(root().join("docs/xds-rules.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| R"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [rule, _, shown] = cells[..] else {
            panic!("a row has three cells: {row}");
        };
        let rule = rule.trim().strip_prefix('R').unwrap().parse().unwrap();
        (rule, shown.trim().to_owned())
    });
    rows.collect()
}

/// The names of all tests, and the text of our own.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in [
        "proto/src",
        "envoy/src",
        "xds/src",
        "server/src",
        "agent/src",
        "tests",
    ] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                let line = line.trim_start();
                if !line.starts_with("#[test]") && !line.starts_with("#[tokio::test") {
                    continue;
                }
                let function = lines.find_map(|line| line.trim_start().split_once("fn "));
                let name = function.and_then(|(_, rest)| rest.split('(').next());
                found.insert(name.unwrap().to_owned());
            }
        }
    }
}

/// What stands in backticks in a cell and looks like a test.
fn cited(shown: &str) -> impl Iterator<Item = &str> {
    let quoted = shown.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.contains('_') && !word.contains('/') && *word != "resource_errors")
}

#[test]
fn each_rule_has_one_row() {
    let rules: Vec<usize> = rows().into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, (1..=RULES).collect::<Vec<_>>());
}

/// A row cites a test, or says why there is none.
#[test]
fn what_a_row_cites_is_there() {
    let tests = tests();
    for (rule, shown) in rows() {
        for name in cited(&shown) {
            assert!(
                tests.contains(name),
                "R{rule} cites {name}, and there is no such test"
            );
        }
        for path in shown.split('`').filter(|word| word.contains('/')) {
            let exists = path.contains(' ') || root().join(path).exists();
            assert!(exists, "R{rule} cites {path}, and there is no such file");
        }
        let excused = ["does not apply", "of the client"];
        let excused = excused.iter().any(|excuse| shown.starts_with(excuse));
        assert!(
            excused || cited(&shown).count() > 0,
            "R{rule} is shown by nothing"
        );
    }
}

/// A test over the socket that says that it shows a rule is in that rule's row.
#[test]
fn what_a_test_says_it_shows_is_in_the_table() {
    let mut own = BTreeSet::new();
    collect(&root().join("tests/conformance"), &mut own);
    let rows: BTreeMap<usize, String> = rows().into_iter().collect();
    for name in own {
        let numbers = name
            .split('_')
            .map_while(|word| word.strip_prefix('r')?.parse().ok());
        for rule in numbers.collect::<Vec<usize>>() {
            let row = rows
                .get(&rule)
                .unwrap_or_else(|| panic!("{name}: there is no R{rule}"));
            assert!(
                cited(row).any(|cited| cited == name),
                "R{rule} does not cite {name}"
            );
        }
    }
}
