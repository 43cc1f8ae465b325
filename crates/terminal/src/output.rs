//! Standard output, where only results go. In: a [`Text`], or a value for JSON. Out: both without a character that a
//! terminal would obey, but for the styles of the text's own heads.

use crate::escape::{escaped, escaped_json, escaped_lines};
use crate::{Failure, aligned};
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use std::fmt::{Display, Write as _};
use std::io::{ErrorKind, Write};

const HEAD: Style = AnsiColor::Green.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// A result for a person. Whatever is added is escaped, so a name from a file can neither end a style nor begin one.
#[derive(Clone, Debug, Default)]
pub struct Text {
    styled: String,
}

impl Text {
    /// No text yet.
    pub fn new() -> Text {
        Text::default()
    }

    /// Adds text of any number of lines.
    pub fn push(&mut self, text: impl Display) -> &mut Text {
        self.styled += &escaped_lines(&text.to_string());
        self
    }

    /// Adds one line: line breaks in it become spaces.
    pub fn push_line(&mut self, line: impl Display) -> &mut Text {
        self.styled += &escaped(&line.to_string());
        self.styled.push('\n');
        self
    }

    /// Adds the head of a section.
    pub fn push_head(&mut self, head: impl Display) -> &mut Text {
        self.push_styled(HEAD, &head)
    }

    /// Adds a remark that a reader may pass over.
    pub fn push_dim(&mut self, remark: impl Display) -> &mut Text {
        self.push_styled(DIM, &remark)
    }

    /// Adds rows with aligned columns, a line each.
    pub fn push_rows(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> &mut Text {
        // Escaped cell by cell: a line break in a cell must not begin a row.
        self.styled += &aligned(rows);
        self
    }

    fn push_styled(&mut self, style: Style, text: &dyn Display) -> &mut Text {
        write!(self.styled, "{style}{}{style:#}", escaped(&text.to_string())).expect("writing to memory succeeds");
        self
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text { styled: escaped_lines(text).into_owned() }
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Text {
        Text::from(text.as_str())
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Text {
        text.clone()
    }
}

/// Prints `text`. A reader that closed the pipe early, as `head` does, is no error.
///
/// # Errors
/// When standard output cannot be written, for example because its disk is full.
pub fn print(text: impl Into<Text>) -> Result<(), Failure> {
    write(&text.into().styled)
}

/// Prints `value` as indented JSON. Characters that a terminal would obey are written as `\u202e`.
///
/// # Errors
/// Those of [`print()`], and those of the value's own serialization.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::because("cannot write JSON", &error))?;
    write(&format!("{}\n", escaped_json(&json)))
}

fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::because("cannot write to standard output", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_heads_of_a_text_are_styled() {
        let mut text = Text::new();
        text.push_head("name\x1b[8m\nnext").push("\nfirst\x07\n").push_dim("\u{202e}").push("\n");
        text.push_rows([vec!["cell\r".to_owned(), "new\nrow".to_owned()]]);
        let expected = format!(
            "{HEAD}name\\u{{1b}}[8m next{HEAD:#}\nfirst\\u{{7}}\n{DIM}\\u{{202e}}{DIM:#}\ncell\\u{{d}}  new row\n"
        );
        assert_eq!(text.styled, expected);
        assert_eq!(Text::from("\x1b[31mred\n").styled, "\\u{1b}[31mred\n");
    }
}
