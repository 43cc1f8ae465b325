//! Columns of text. In: rows of cells, whatever the cells contain. Out: a line for each row, with aligned columns.

use crate::escape::escaped;
use std::io::Write;
use tabwriter::TabWriter;

/// The rows as lines with aligned columns. Cells are escaped: a line break or a control character in one can neither
/// begin a row nor reach the terminal.
pub fn aligned(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut writer = TabWriter::new(Vec::new()).padding(2);
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| escaped(cell)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_row() {
        let rows = [vec!["a\tb\nc".to_owned(), "x".to_owned()], vec!["\x1b[2J".to_owned(), "y\u{202e}".to_owned()]];
        assert_eq!(aligned(rows), "a b c      x\n\\u{1b}[2J  y\\u{202e}\n");
    }
}
