//! In: the forms of one module, each with a digest of its code. Out: which of them to ship, and which profiles each
//! shipped form serves.
//!
//! Forms of equal code differ only in what they ask for, so the one that asks for least stands for all that ask for
//! more. It is shipped as the compiler made it: an artifact is never edited.

use isomer_contract::{Digest, Requirements};

/// One form of a module, as far as that matters here.
pub(crate) struct Form<'a> {
    /// The profile.
    pub(crate) target: &'a str,
    /// What it asks for.
    pub(crate) requirements: &'a Requirements,
    /// The digest of its code, without what it asks for.
    pub(crate) code: Digest,
}

/// For each form the place of the one that stands for it, which may be itself.
pub(crate) fn collapse(forms: &[Form<'_>]) -> Vec<usize> {
    let stands_for = |form: &Form<'_>| {
        let candidates = forms
            .iter()
            .enumerate()
            .filter(|(_, other)| other.code == form.code && other.requirements.no_stronger_than(form.requirements));
        // Whoever stands for a form stands for itself: a weaker one that replaced it would be a candidate here too.
        let weakest = candidates.min_by_key(|(_, other)| (other.requirements.isa.len(), other.target));
        weakest.expect("a form can stand for itself").0
    };
    forms.iter().map(stands_for).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Kind, Profile};

    #[test]
    fn the_weakest_of_equal_code_stands_for_the_others() {
        let targets = ["znver4", "x86-64-v4", "icelake-server", "x86-64-v3", "x86-64-v2", "neoverse-n1", "aarch64"];
        let requirements: Vec<_> = targets
            .iter()
            .map(|target| Requirements::of_profile(&Profile::shipped(target).unwrap(), Kind::Module))
            .collect();
        let code = |text: &str| Digest::of(text.as_bytes());
        // v3 and everything above it are equal; v2 differs; so do Arm's two although "equal" to x86's by accident.
        let codes = ["a", "a", "a", "a", "b", "a", "c"].map(code);
        let forms: Vec<_> = (0..targets.len())
            .map(|index| Form { target: targets[index], requirements: &requirements[index], code: codes[index] })
            .collect();
        let stands_for: Vec<_> = collapse(&forms).into_iter().map(|index| targets[index]).collect();
        assert_eq!(
            stands_for,
            ["x86-64-v3", "x86-64-v3", "x86-64-v3", "x86-64-v3", "x86-64-v2", "neoverse-n1", "aarch64"]
        );
    }

    #[test]
    fn neither_of_two_incomparable_forms_stands_for_the_other() {
        let base = Requirements::of_profile(&Profile::shipped("x86-64-v3").unwrap(), Kind::Module);
        let with = |name: &str| {
            let mut requirements = base.clone();
            requirements.isa.insert(name.to_owned());
            requirements
        };
        let (a, b) = (with("avxvnni"), with("avx512f"));
        let code = Digest::of(b"same");
        let forms = [Form { target: "a", requirements: &a, code }, Form { target: "b", requirements: &b, code }];
        assert_eq!(collapse(&forms), [0, 1]);
    }
}
