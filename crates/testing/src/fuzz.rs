//! Documents that are nearly right: a fixed sequence of damage done to good ones. In: the good documents, and what
//! documents of their kind are made of. Out: as many damaged ones as are requested.

/// What JSON is made of, and numbers and characters that it cannot hold.
const JSON: &[&[u8]] = &[b"{", b"}", b"[", b"]", b"\"", b":", b",", b"null", b"-1", b"1e9", b"\\u0000", b"\xff"];

/// Makes damaged documents.
pub struct Fuzzer {
    /// The state of an xorshift generator: every run makes the same documents of the same originals.
    state: u64,
    documents: Vec<Vec<u8>>,
    words: Vec<&'static [u8]>,
}

impl Fuzzer {
    /// Damages `documents`, also by putting `words` into them.
    pub fn new(documents: Vec<Vec<u8>>, words: &'static [&'static [u8]]) -> Fuzzer {
        Fuzzer { state: 0x9e37_79b9_7f4a_7c15, documents, words: words.to_vec() }
    }

    /// The same with JSON's own punctuation beside `words`.
    pub fn json(documents: Vec<Vec<u8>>, words: &'static [&'static [u8]]) -> Fuzzer {
        Fuzzer { words: [JSON, words].concat(), ..Fuzzer::new(documents, &[]) }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn below(&mut self, end: usize) -> usize {
        (self.random() % end.max(1) as u64) as usize
    }

    /// A document with one to four changes.
    fn next(&mut self) -> Vec<u8> {
        let which = self.below(self.documents.len());
        let mut bytes = self.documents[which].clone();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(bytes.len()), self.below(bytes.len()));
            let (start, end) = (at.min(other), at.max(other).min(at.min(other) + 40));
            match self.below(6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.random() as u8,
                2 => drop(bytes.drain(start..end)),
                3 => {
                    let copy = bytes[start..end].to_vec();
                    bytes.splice(at..at, copy);
                }
                4 => bytes.truncate(at),
                _ => {
                    let which = self.below(self.words.len());
                    let word = self.words[which];
                    bytes.splice(at..at, word.iter().copied());
                }
            }
        }
        bytes
    }

    /// Gives that many documents, or as many as `ISOMER_FUZZ_RUNS` says, to `target`, which panics where it finds a
    /// fault and returns whether it could read the document.
    ///
    /// # Panics
    /// When a hundred documents or more were all read, or all refused: then damage of this kind tests nothing.
    pub fn run(mut self, name: &str, runs: u64, mut target: impl FnMut(&[u8]) -> bool) {
        let asked = std::env::var("ISOMER_FUZZ_RUNS");
        let runs = asked.map_or(runs, |runs| runs.parse().expect("ISOMER_FUZZ_RUNS is a number"));
        let mut read = 0;
        for _ in 0..runs {
            read += u64::from(target(&self.next()));
        }
        println!("{name}: {runs} documents, {read} of them read, none panicked");
        assert!(runs < 100 || (0 < read && read < runs), "{name}: {read} of {runs} documents were read");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    const ORIGINAL: &[u8] = b"{\"name\": \"resize\", \"version\": \"1.4.0\"}";

    fn documents() -> Vec<Vec<u8>> {
        let documents = RefCell::new(Vec::new());
        Fuzzer::json(vec![ORIGINAL.to_vec()], &[b"sha256:"]).run("test", 1000, |bytes| {
            documents.borrow_mut().push(bytes.to_vec());
            std::str::from_utf8(bytes).is_ok()
        });
        documents.into_inner()
    }

    #[test]
    fn every_run_makes_the_same_documents() {
        assert_eq!(documents(), documents());
    }

    #[test]
    fn documents_are_damaged_in_every_way_and_hardly_ever_alike() {
        let documents = documents();
        let of = |is: &dyn Fn(&Vec<u8>) -> bool| documents.iter().filter(|it| is(it)).count();
        assert!(of(&|it| it.len() < ORIGINAL.len()) > 100, "shorter");
        assert!(of(&|it| it.len() > ORIGINAL.len()) > 100, "longer");
        assert!(of(&|it| it.len() == ORIGINAL.len() && it != ORIGINAL) > 20, "other bytes");
        assert!(of(&|it| it.windows(7).any(|it| it == b"sha256:")) > 5, "with the words of the caller");
        assert!(of(&|it| it.windows(4).any(|it| it == b"null")) > 5, "with the words of JSON");
        let different: BTreeSet<_> = documents.iter().collect();
        assert!(different.len() > documents.len() * 9 / 10, "{} of {}", different.len(), documents.len());
    }

    #[test]
    #[should_panic(expected = "0 of")]
    fn a_target_that_reads_nothing_tests_nothing() {
        Fuzzer::new(vec![ORIGINAL.to_vec()], &[b"x"]).run("test", 100, |_| false);
    }

    #[test]
    #[should_panic(expected = "documents were read")]
    fn a_target_that_reads_everything_tests_nothing() {
        Fuzzer::new(vec![ORIGINAL.to_vec()], &[b"x"]).run("test", 100, |_| true);
    }
}
