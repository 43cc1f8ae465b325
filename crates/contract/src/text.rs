//! In: a word that somebody typed and the words that exist. Out: the nearest of them, for a hint.

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

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_word_that_was_meant() {
        let names = ["x86-64-v3", "x86-64-v4", "neoverse-n1"];
        assert_eq!(nearest("x86_64_v3", names), Some("x86-64-v3"));
        assert_eq!(nearest("neoverse-n", names), Some("neoverse-n1"));
        assert_eq!(nearest("powerpc", names), None);
    }
}
