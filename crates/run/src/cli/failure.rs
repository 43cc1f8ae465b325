//! An error as a person sees it: `error:`, `caused by:`, `hint:`, once.

use anstyle::{AnsiColor, Style};
use isomer_contract::Mismatch;
use std::error::Error;
use std::io::Write;

/// What went wrong, why, and what would mend it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    details: Vec<Detail>,
}

#[derive(Debug)]
enum Detail {
    CausedBy(String),
    Hint(String),
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), details: Vec::new() }
    }

    /// `error` and its sources, each once: some messages already quote their source.
    pub(crate) fn of(error: &dyn Error) -> Failure {
        let mut failure = Failure::new(error.to_string());
        failure.add_sources(error);
        failure
    }

    /// `error` and its sources, as the cause of what `message` says.
    pub(crate) fn because(message: impl Into<String>, error: &dyn Error) -> Failure {
        let mut failure = Failure::new(message).caused_by(error.to_string());
        failure.add_sources(error);
        failure
    }

    fn add_sources(&mut self, error: &dyn Error) {
        let mut above = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !above.contains(text.trim()) {
                self.details.push(Detail::CausedBy(text.clone()));
            }
            above = text;
            source = error.source();
        }
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<String>) -> Failure {
        self.details.push(Detail::CausedBy(cause.into()));
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Failure {
        self.details.extend(hint.into().map(Detail::Hint));
        self
    }

    /// Every mismatch with its own hint.
    pub(crate) fn mismatches(mut self, mismatches: &[Mismatch]) -> Failure {
        for mismatch in mismatches {
            self = self.caused_by(mismatch.to_string()).hint(mismatch.hint());
        }
        self
    }

    /// To stderr; nobody is left to be told when that fails.
    pub(crate) fn print(&self) {
        let _ = self.write(&mut anstream::stderr().lock());
    }

    fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        let bold = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
        let (error, hint, cause) = (bold(AnsiColor::Red), bold(AnsiColor::Cyan), Style::new().bold());
        writeln!(to, "{error}error:{error:#} {}", indented(&self.message, ""))?;
        for detail in &self.details {
            match detail {
                Detail::CausedBy(text) => writeln!(to, "  {cause}caused by:{cause:#} {}", indented(text, "  "))?,
                Detail::Hint(text) => writeln!(to, "  {hint}hint:{hint:#} {}", indented(text, "  "))?,
            }
        }
        Ok(())
    }
}

/// A text of several lines, a backtrace, stays below its label. Control characters come from files nobody vouches for.
fn indented(text: &str, indent: &str) -> String {
    let lines = text.trim_end().lines().map(|line| line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}"));
    lines.collect::<Vec<_>>().join(&format!("\n{indent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_its_line_and_escapes_are_not_passed_on() {
        let failure = Failure::new("it\x1b[31m broke").caused_by("first\n  second\n").hint("mend it".to_owned());
        let mut text = anstream::StripStream::new(Vec::new());
        failure.write(&mut text).expect("vectors take all");
        let text = String::from_utf8(text.into_inner()).expect("text");
        assert_eq!(text, "error: it\u{fffd}[31m broke\n  caused by: first\n    second\n  hint: mend it\n");
    }
}
