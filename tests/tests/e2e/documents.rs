//! Documents that name tests: each name is one of a test that exists.

use isomer_tests::root;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_table_of_wasmtimes_options_names_tests_that_exist() {
    let table = fs::read_to_string(root().join("docs/wasmtime-options.md")).unwrap();
    let mut named = 0;
    // The first two lines of each table are its head.
    let tables = table.split("\n\n").filter(|part| part.starts_with('|'));
    for row in tables.flat_map(|table| table.lines().skip(2)) {
        // A `|` within a cell has a backslash before it.
        let row = row.replace("\\|", "/");
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, answer, shown] = cells[..] else { panic!("expected three cells: {row}") };
        if shown == "–" {
            assert!(answer.starts_with("no") || answer.contains("others no"), "a `yes` without a test: {row}");
            continue;
        }
        let path = shown.trim_matches('`');
        assert!(exists(path), "{path} is no test: {row}");
        named += 1;
    }
    assert!(named > 40, "{named} rows name a test");
}

/// Whether `file::name` or `directory::file::name` is a test.
fn exists(path: &str) -> bool {
    let Some((modules, name)) = path.rsplit_once("::") else { return false };
    let file: PathBuf = modules.split("::").collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e").join(file).with_extension("rs");
    let text = fs::read_to_string(file).unwrap_or_default();
    text.contains(&format!("#[test]\nfn {name}()"))
}
