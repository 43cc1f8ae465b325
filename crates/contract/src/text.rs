//! Text for messages. In: a word that a person typed and the words that exist, foreign text, an error, an offset. Out: the
//! nearest word, for a hint; the text, fit to be shown; the error with its causes in one line; the line's number.

use crate::chain;
use std::error::Error;

/// Foreign text for a message: escaped where it is not printable, and at most 200 characters of it.
///
/// ```
/// assert_eq!(isomer_contract::shorten("tag\u{1b}[2J"), "tag\\u{1b}[2J");
/// ```
pub fn shorten(text: &str) -> String {
    const LENGTH_MAX: usize = 200;
    let mut short: String = text.chars().take(LENGTH_MAX).flat_map(char::escape_debug).collect();
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(LENGTH_MAX).is_some() {
        short.push('…');
    }
    short
}

/// The candidate that was most probably meant by `typed`, or none if none is similar.
///
/// ```
/// assert_eq!(isomer_contract::nearest("x86_64_v3", ["x86-64-v3", "neoverse-n1"]), Some("x86-64-v3"));
/// ```
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = typed.to_ascii_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&folded, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// `error` and its causes in one line, for where a chain cannot be shown. A cause that a message already quotes is left
/// out.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in chain(error).skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line += &format!(": {cause}");
        }
    }
    line
}

/// The line, from 1, of the byte at `offset` in `text`: a parser's span becomes a line number for a message.
pub fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::{line_at, nearest, one_line, shorten};

    #[test]
    fn causes_follow_in_one_line() {
        let cause = std::io::Error::other("no space");
        #[derive(Debug, thiserror::Error)]
        #[error("cannot write{0}")]
        struct Failed(&'static str, #[source] std::io::Error);
        assert_eq!(one_line(&Failed("", cause)), "cannot write: no space");
        assert_eq!(one_line(&Failed(": no space", std::io::Error::other("no space"))), "cannot write: no space");
    }

    #[test]
    fn lines_count_from_one() {
        let text = "a\n\nb";
        let lines: Vec<_> = (0..6).map(|offset| line_at(text, offset)).collect();
        assert_eq!(lines, [1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn foreign_text_is_printable_and_short() {
        assert_eq!(shorten("it's a \"tag\"\u{1b}[2J\n"), "it's a \"tag\"\\u{1b}[2J\\n");
        assert_eq!(shorten(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(shorten(&"é".repeat(201)), "é".repeat(200) + "…");
    }

    #[test]
    fn the_nearest_word_is_found() {
        let names = ["x86-64-v3", "x86-64-v4", "neoverse-n1"];
        assert_eq!(nearest("x86_64_v3", names), Some("x86-64-v3"));
        assert_eq!(nearest("neoverse-n", names), Some("neoverse-n1"));
        assert_eq!(nearest("powerpc", names), None);
    }
}
