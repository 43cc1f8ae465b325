//! Columns of text, aligned.

use std::io::Write;
use tabwriter::TabWriter;

/// The rows as lines with aligned columns.
pub fn aligned(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        // A tab or line break inside a cell would shift the others.
        let cells: Vec<_> = row.iter().map(|cell| cell.replace(['\t', '\n'], " ")).collect();
        writeln!(writer, "{}", cells.join("\t")).expect("writing to memory succeeds");
    }
    let text = writer.into_inner().expect("writing to memory succeeds");
    let text = String::from_utf8(text).expect("the cells were text");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A number of bytes for people.
pub fn bytes(size: u64) -> String {
    indicatif::BinaryBytes(size).to_string()
}
