//! In: bytes from which something fails. Out: fewer from which it still does: what a case is made of.

/// How often a failure is tried again at most.
const TRIES_MAX: usize = 400;

/// The shortest prefix, without what can be cut out of it or made zero, for which `fails` still holds.
pub fn shrink(bytes: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut best = bytes;
    let mut tries = 0;
    let mut chunk = best.len() / 2;
    while chunk > 0 && tries < TRIES_MAX {
        let mut at = 0;
        while at < best.len() && tries < TRIES_MAX {
            let end = (at + chunk).min(best.len());
            let without = [&best[..at], &best[end..]].concat();
            let mut zeroed = best.clone();
            zeroed[at..end].fill(0);
            let found = [without, zeroed].into_iter().find(|candidate| {
                let new = *candidate != best;
                tries += usize::from(new);
                new && fails(candidate)
            });
            match found {
                // What follows has moved here, unless it was only made zero.
                Some(smaller) if smaller.len() < best.len() => best = smaller,
                Some(zeroed) => {
                    best = zeroed;
                    at = end;
                }
                None => at = end,
            }
        }
        chunk /= 2;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_cut() {
        let bytes: Vec<u8> = (0..200).collect();
        let small = shrink(bytes, |bytes| bytes.contains(&17) && bytes.contains(&150));
        assert_eq!(small, [17, 150]);
    }
}
