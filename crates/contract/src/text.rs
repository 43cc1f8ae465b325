//! Words of others in messages. In: a word that somebody typed and the words that exist, or text that somebody else
//! wrote. Out: the nearest word, for a hint; the text, fit to be shown.

/// Text that somebody else wrote, for a message: printable, and of a bearable length.
pub fn shorten(text: &str) -> String {
    const LENGTH_MAX: usize = 200;
    let mut short: String = text.chars().take(LENGTH_MAX).flat_map(char::escape_debug).collect();
    short = short.replace("\\\"", "\"").replace("\\'", "'");
    if text.chars().nth(LENGTH_MAX).is_some() {
        short.push('…');
    }
    short
}

/// The candidate that `typed` was most probably meant to be, or none when nothing is near.
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = typed.to_ascii_lowercase().replace('_', "-");
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&folded, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// The line, from 1, of the byte at `offset` in `text`: a parser's span becomes a place that a person finds.
pub fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::{line_at, nearest, shorten};

    #[test]
    fn lines_count_from_one() {
        let text = "a\n\nb";
        let lines: Vec<_> = (0..6).map(|offset| line_at(text, offset)).collect();
        assert_eq!(lines, [1, 1, 2, 3, 3, 3]);
    }

    #[test]
    fn what_others_wrote_is_printable_and_short() {
        assert_eq!(shorten("it's a \"tag\"\u{1b}[2J\n"), "it's a \"tag\"\\u{1b}[2J\\n");
        assert_eq!(shorten(&"é".repeat(200)), "é".repeat(200));
        assert_eq!(shorten(&"é".repeat(201)), "é".repeat(200) + "…");
    }

    #[test]
    fn finds_the_word_that_was_meant() {
        let names = ["x86-64-v3", "x86-64-v4", "neoverse-n1"];
        assert_eq!(nearest("x86_64_v3", names), Some("x86-64-v3"));
        assert_eq!(nearest("neoverse-n", names), Some("neoverse-n1"));
        assert_eq!(nearest("powerpc", names), None);
    }
}
