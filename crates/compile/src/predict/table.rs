//! What each extension can affect, from `measured.toml`. Rows and look-ups; the test in `measured.rs` writes the file and
//! compares it with what the code generator does.

use super::ingredients::Ingredients;
use isomer_contract::Arch;
use serde::Deserialize;
use std::sync::LazyLock;

/// What an extension can affect.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// The architecture.
    pub(super) arch: Arch,
    /// The extension, as [`isomer_contract::isa`] names it.
    pub(super) name: String,
    /// Why nothing is predicted from this row, where real modules were found that it gets wrong.
    pub(super) unpredicted: Option<String>,
    /// The operators that its code differs for; several of them where they do so only together, in one function.
    pub(super) affects: Vec<Ingredients>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) extension: Vec<Row>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| toml::from_str(include_str!("measured.toml")).expect("a test reads measured.toml"));

/// All rows.
pub(super) fn rows() -> &'static [Row] {
    &TABLE.extension
}

/// The row of an extension, if it was measured.
pub(super) fn row(arch: Arch, name: &str) -> Option<&'static Row> {
    rows().iter().find(|row| row.arch == arch && row.name == name)
}
