//! In: the forms of one module, each with a digest of its code. Out: which of them to ship, and which profiles each
//! shipped form serves.
//!
//! Forms of equal code differ only in what they require, so the one that requires least represents all that require more.
//! Where two require the same, the settings of one cost nothing for this module: it is represented by the other, so that a
//! server ranks it right. It is shipped as it was compiled: an artifact is never edited.

use isomer_contract::{Digest, Requirements};

/// One form of a module, as far as that matters here.
pub(crate) struct Form<'a> {
    /// The profile.
    pub(crate) target: &'a str,
    /// What it requires.
    pub(crate) requirements: &'a Requirements,
    /// What its settings cost at run time, in percent.
    pub(crate) cost_percent: u32,
    /// The digest of its code, without its requirements.
    pub(crate) code: Digest,
}

/// For each form the index of the one that represents it, which may be itself.
pub(crate) fn collapse(forms: &[Form<'_>]) -> Vec<usize> {
    let representative = |form: &Form<'_>| {
        let candidates = forms
            .iter()
            .enumerate()
            .filter(|(_, other)| other.code == form.code && other.requirements.no_stronger_than(form.requirements));
        // A representative represents itself: one that requires less would be a candidate here too.
        let weakest =
            candidates.min_by_key(|(_, other)| (other.requirements.isa.len(), other.cost_percent, other.target));
        weakest.expect("a form can represent itself").0
    };
    forms.iter().map(representative).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Kind, Profile};

    #[test]
    fn the_weakest_of_equal_code_represents_the_others() {
        let targets = ["znver4", "x86-64-v4", "icelake-server", "x86-64-v3", "x86-64-v2", "neoverse-n1", "aarch64"];
        let requirements: Vec<_> = targets
            .iter()
            .map(|target| Requirements::of_profile(&Profile::shipped(target).unwrap(), Kind::Module))
            .collect();
        let code = |text: &str| Digest::of(text.as_bytes());
        // v3 and everything above it are equal; v2 differs; so do Arm's two although "equal" to x86's by accident.
        let codes = ["a", "a", "a", "a", "b", "a", "c"].map(code);
        let forms: Vec<_> = (0..targets.len())
            .map(|index| Form {
                target: targets[index],
                requirements: &requirements[index],
                cost_percent: 0,
                code: codes[index],
            })
            .collect();
        let representatives: Vec<_> = collapse(&forms).into_iter().map(|index| targets[index]).collect();
        assert_eq!(
            representatives,
            ["x86-64-v3", "x86-64-v3", "x86-64-v3", "x86-64-v3", "x86-64-v2", "neoverse-n1", "aarch64"]
        );
    }

    #[test]
    fn neither_of_two_incomparable_forms_represents_the_other() {
        let base = Requirements::of_profile(&Profile::shipped("x86-64-v3").unwrap(), Kind::Module);
        let with = |name: &str| {
            let mut requirements = base.clone();
            requirements.isa.insert(name.to_owned());
            requirements
        };
        let (a, b) = (with("avxvnni"), with("avx512f"));
        let code = Digest::of(b"same");
        let form = |target, requirements, cost_percent| Form { target, requirements, cost_percent, code };
        assert_eq!(collapse(&[form("a", &a, 0), form("b", &b, 0)]), [0, 1]);
        // NaN canonicalization that changed nothing.
        assert_eq!(collapse(&[form("a", &a, 10), form("b", &a, 0)]), [1, 1]);
    }
}
