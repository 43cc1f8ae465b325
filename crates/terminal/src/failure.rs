//! What failed, as a person sees it. In: an error with its sources and its hint. Out: `error:`, `caused by:`, `hint:`,
//! once, on standard error. Never here: a control character of a message.

use crate::escape::escaped_lines;
use crate::system_hint::{system_error, system_hint};
use anstyle::{AnsiColor, Style};
use isomer_contract::{Hinted, chain};
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};

/// What each part of a failure begins with.
const LABELS: [&str; 3] = ["error:", "caused by:", "hint:"];

/// What went wrong, why, and what would help.
#[derive(Debug)]
pub struct Failure {
    message: String,
    details: Vec<Detail>,
    /// What helps against the system's error in its chain, where the error itself has no hint.
    system_hint: Option<&'static str>,
    /// That error.
    system_error: Option<io::Error>,
}

#[derive(Debug)]
enum Detail {
    CausedBy(String),
    Hint(String),
}

impl Failure {
    /// What went wrong, in words.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), details: Vec::new(), system_hint: None, system_error: None }
    }

    /// `error` and its sources, each once: some messages already quote their source.
    pub fn of(error: &(dyn Error + 'static)) -> Failure {
        let mut failure = Failure::new(error.to_string());
        failure.add_sources(error);
        failure
    }

    /// `error` and its sources, as the cause of what `message` says.
    pub fn because(message: impl Into<String>, error: &(dyn Error + 'static)) -> Failure {
        let mut failure = Failure::new(message).caused_by(error.to_string());
        failure.add_sources(error);
        failure
    }

    fn add_sources(&mut self, error: &(dyn Error + 'static)) {
        self.system_hint = system_hint(error);
        self.system_error = system_error(error);
        let mut above = error.to_string();
        for text in chain(error).skip(1).map(ToString::to_string) {
            if !above.contains(text.trim()) {
                self.details.push(Detail::CausedBy(text.clone()));
            }
            above = text;
        }
    }

    /// Adds a cause, or one more reason.
    pub fn caused_by(mut self, cause: impl Into<String>) -> Failure {
        self.details.push(Detail::CausedBy(cause.into()));
        self
    }

    /// Adds an instruction that would help, if there is one.
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Failure {
        self.details.extend(hint.into().map(Detail::Hint));
        self
    }

    /// What went wrong and why, for a line of a log.
    pub fn one_line(&self) -> String {
        let causes = self.details.iter().filter_map(|detail| match detail {
            Detail::CausedBy(text) => Some(text.trim().replace('\n', "; ")),
            Detail::Hint(_) => None,
        });
        std::iter::once(self.message.clone()).chain(causes).collect::<Vec<_>>().join(": ")
    }

    /// The operating system's error that it is about, where it is about one.
    pub fn system_error(&self) -> Option<&io::Error> {
        self.system_error.as_ref()
    }

    /// Adds every reason with its own hint.
    pub fn reasons<R: Display + Hinted>(mut self, reasons: &[R]) -> Failure {
        for reason in reasons {
            self = self.caused_by(reason.to_string()).hint(reason.hint());
        }
        self
    }

    /// Prints it on standard error. That this fails cannot be reported anywhere.
    pub fn print(&self) {
        let _ = self.write(&mut anstream::stderr().lock());
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let bold = |colour: AnsiColor| Style::new().bold().fg_color(Some(colour.into()));
        let (error, hint, cause) = (bold(AnsiColor::Red), bold(AnsiColor::Cyan), Style::new().bold());
        writeln!(to, "{error}error:{error:#} {}", indented(&self.message, "    "))?;
        let has_hint = self.details.iter().any(|detail| matches!(detail, Detail::Hint(_)));
        let system_hint = self.system_hint.filter(|_| !has_hint).map(|text| Detail::Hint(text.to_owned()));
        for detail in self.details.iter().chain(&system_hint) {
            match detail {
                Detail::CausedBy(text) => writeln!(to, "  {cause}caused by:{cause:#} {}", indented(text, "  "))?,
                Detail::Hint(text) => writeln!(to, "  {hint}hint:{hint:#} {}", indented(text, "  "))?,
            }
        }
        Ok(())
    }
}

/// Its message, without causes and hints.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error with its sources and its own hint.
impl<E: Error + Hinted + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        let hint = error.hint();
        Failure::of(&error).hint(hint)
    }
}

/// Everything that failed in one call.
#[derive(Debug)]
pub struct Failures(pub Vec<Failure>);

impl Failures {
    /// Prints one after the other.
    pub fn print(&self) {
        self.0.iter().for_each(Failure::print);
    }
}

impl<F: Into<Failure>> From<F> for Failures {
    fn from(failure: F) -> Failures {
        Failures(vec![failure.into()])
    }
}

/// A text of several lines, a backtrace, stays below its label. A line of it that looks like a label is marked: a file's
/// name may hold line breaks, and must not give hints.
fn indented(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    for (number, line) in escaped_lines(text.trim_end()).lines().enumerate() {
        let is_label = LABELS.iter().any(|label| line.trim_start().starts_with(label));
        match number {
            0 => lines += line,
            _ if is_label => lines.extend(["\n", indent, "| ", line]),
            _ => lines.extend(["\n", indent, line]),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_begin_a_part() {
        let failure = Failure::new("cannot read `a\nerror: b\n  hint: c`").caused_by("d\nhint: e");
        let mut text = anstream::StripStream::new(Vec::new());
        failure.write(&mut text).expect("vectors take all");
        let text = String::from_utf8(text.into_inner()).expect("text");
        let expected = "error: cannot read `a\n    | error: b\n    |   hint: c`\n  caused by: d\n  | hint: e\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_system_s_error_gives_the_hint_where_no_other_does() {
        let shown = |failure: &Failure| {
            let mut text = anstream::StripStream::new(Vec::new());
            failure.write(&mut text).expect("vectors take all");
            String::from_utf8(text.into_inner()).expect("text")
        };
        // EMFILE, behind an error that hides its cause from the chain.
        let inner = std::io::Error::from_raw_os_error(24);
        let error = std::io::Error::other(std::io::Error::other(inner));
        let failure = Failure::because("cannot read `a`", &error);
        assert!(
            shown(&failure).ends_with("\n  hint: raise the limit on open files (`ulimit -n`)\n"),
            "{}",
            shown(&failure)
        );
        assert!(failure.one_line().starts_with("cannot read `a`: "), "{}", failure.one_line());
        assert_eq!(failure.system_error().and_then(io::Error::raw_os_error), Some(24));
        let failure = failure.hint("close some".to_owned());
        assert!(shown(&failure).ends_with("\n  hint: close some\n"), "{}", shown(&failure));
    }

    #[test]
    fn each_part_has_its_line_and_escapes_are_not_passed_on() {
        let failure = Failure::new("it\x1b[31m broke").caused_by("first\n  second\n").hint("mend it".to_owned());
        let mut text = anstream::StripStream::new(Vec::new());
        failure.write(&mut text).expect("vectors take all");
        let text = String::from_utf8(text.into_inner()).expect("text");
        assert_eq!(text, "error: it\\u{1b}[31m broke\n  caused by: first\n    second\n  hint: mend it\n");
    }
}
