//! One test for each reason to refuse; no decision depends on unsigned data. Here: keys, a policy, a release and the call
//! that all of them make.

mod keys;
mod messages;
mod releases;
mod signatures;

use super::*;
use crate::counters::Scope;
use crate::key::{Algorithm, SigningKey};
use crate::statement::tests::{release, statement};
use std::num::NonZeroUsize;
use std::sync::LazyLock;

/// `farm` (Ed25519), `desk` (ECDSA) and `stranger`, which no policy below names.
static KEYS: LazyLock<[SigningKey; 3]> = LazyLock::new(|| {
    [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::Ed25519]
        .map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness"))
});

const REFERENCE: &str = "resize:1.4.0";

fn index() -> Digest {
    Digest::of(b"index")
}

/// Trusts `farm` and `desk`.
fn policy(threshold: usize) -> Policy {
    let keys = ["farm", "desk"].into_iter().zip(&*KEYS);
    let mut policy = Policy::of_keys(keys.map(|(name, key)| TrustedKey::new(name, key.public_key())));
    policy.threshold = NonZeroUsize::new(threshold).expect("a threshold is not zero");
    policy
}

fn signed(key: usize, counter: u64) -> String {
    Bundle::sign(&statement(REFERENCE, index(), counter), &KEYS[key]).to_json()
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("it is a time")
}

/// What [`evaluate`] is called with, but for the policy and the bundles.
struct Case {
    module: &'static str,
    reference: &'static str,
    index: Digest,
    engines: Vec<Version>,
    digests: Vec<Digest>,
    last: Option<u64>,
    allow_rollback: bool,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            module: "resize",
            reference: REFERENCE,
            index: index(),
            engines: vec![Version::new(48, 0, 8)],
            digests: vec![Digest::of(b"artifact")],
            last: Some(7),
            allow_rollback: false,
        }
    }
}

impl Case {
    fn evaluate(&self, policy: &Policy, bundles: &[String]) -> Result<Trusted, Untrusted> {
        let mut counters = Counters::default();
        if let Some(last) = self.last {
            let name = release("acme-plugins", last).name;
            counters.raise(Scope { key: None, module: None, release: name }, last);
        }
        self.evaluate_with(policy, bundles, &counters)
    }

    fn evaluate_with(&self, policy: &Policy, bundles: &[String], counters: &Counters) -> Result<Trusted, Untrusted> {
        let Case { module, reference, index, .. } = *self;
        let facts = Facts {
            engines: &self.engines,
            digests: &self.digests,
            now: time("2026-06-01T12:00:00Z"),
            counters,
            allow_rollback: self.allow_rollback,
        };
        evaluate(policy, bundles, &Subject { module, reference, index }, &facts)
    }

    /// The reasons as people see them.
    #[track_caller]
    fn refused(&self, policy: &Policy, bundles: &[String]) -> (String, Vec<String>) {
        let untrusted = self.evaluate(policy, bundles).expect_err("it is refused");
        assert!(!untrusted.refusals.is_empty());
        (untrusted.to_string(), untrusted.rejected.iter().map(ToString::to_string).collect())
    }

    /// The reasons of the only bundle.
    #[track_caller]
    fn reasons(&self, policy: &Policy, bundle: String) -> Vec<Reason> {
        let untrusted = self.evaluate(policy, &[bundle]).expect_err("it is refused");
        let none = Refusal::Threshold { by: vec![], needed: policy.threshold.get(), releases: 0 };
        assert_eq!(untrusted.refusals, [none]);
        untrusted.rejected.into_iter().map(|rejected| rejected.reason).collect()
    }
}
