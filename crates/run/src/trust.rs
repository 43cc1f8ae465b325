//! In: a module of a release as it was read, and what its user trusts. Out: a [`TrustedModule`], the only thing that
//! a variant to run can be chosen from.

use isomer_contract::{Digest, Hinted, Variant};
use isomer_layout::{Layout, LayoutError, Module};
use isomer_trust::{Counters, Facts, Policy, Refusal, Subject, Timestamp, Trusted, Untrusted, Version, evaluate};

/// On what basis bytes may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They have this digest: a file's own, or that of a module's index in a release, which names the digests of all
    /// that belongs to it.
    Digest(Digest),
    /// None: the user takes responsibility for the storage. A release's bytes are still compared with its index.
    Unsigned,
    /// Enough trusted keys have signed the module's index in a release.
    Signed(Box<Signers>),
}

/// Whose signatures are trusted, and what a server knows besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    /// The keys, and what each is trusted for.
    pub policy: Policy,
    /// The time by which keys are valid.
    pub now: Timestamp,
    /// The counters of the releases that were installed before. A store adds its own. A directory has none: there only the
    /// policy's `[minimum-counter]` keeps older releases out.
    pub counters: Counters,
    /// Whether a release that is older than the last one seen is accepted.
    pub allow_rollback: bool,
}

impl Signers {
    /// Those of `policy`, now, where nothing was seen before.
    pub fn of(policy: Policy) -> Signers {
        Signers { policy, now: Timestamp::now(), counters: Counters::default(), allow_rollback: false }
    }
}

/// Why a module is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Its index has another digest than the trusted one.
    #[error("the index of `{module}` has the digest {found}, expected the trusted {expected}")]
    DigestMismatch {
        /// The module's name.
        module: String,
        /// The digest of its index in the release.
        found: Digest,
        /// The trusted one.
        expected: Digest,
    },
    /// The signatures cannot be read.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The signatures do not satisfy the policy.
    #[error("`{module}` is not trusted: {untrusted}")]
    Untrusted {
        /// The module's name.
        module: String,
        /// Every reason.
        untrusted: Box<Untrusted>,
    },
}

impl Hinted for TrustError {
    fn hint(&self) -> Option<String> {
        match self {
            TrustError::DigestMismatch { .. } => {
                Some("the release was altered or replaced since the digest was taken".to_owned())
            }
            TrustError::Layout(error) => error.hint(),
            TrustError::Untrusted { untrusted, .. } => untrusted.hint(),
        }
    }
}

/// A module of a release whose index is trusted, and through its digests all of its variants.
#[derive(Debug)]
pub struct TrustedModule {
    module: Module,
    excluded: Vec<Excluded>,
    signed: Option<Signed>,
}

/// A variant that a policy excludes, whichever key signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excluded {
    /// The variant.
    pub variant: Variant,
    /// Every reason.
    pub refusals: Vec<Refusal>,
}

#[derive(Debug)]
struct Signed {
    policy: Policy,
    by: Trusted,
}

/// Compares a module of `release` with what is trusted. `isomer-layout` computed `module.digest` from the bytes that
/// it read; the release's signatures are read only where they matter.
///
/// # Errors
/// When the digest differs, the signatures are damaged, or too few trusted keys signed the module.
pub fn trust(release: &Layout, module: Module, trusted: &Trust) -> Result<TrustedModule, TrustError> {
    match trusted {
        Trust::Digest(expected) if *expected != module.digest => {
            Err(TrustError::DigestMismatch { module: module.name, found: module.digest, expected: *expected })
        }
        Trust::Digest(_) | Trust::Unsigned => Ok(TrustedModule { module, excluded: Vec::new(), signed: None }),
        Trust::Signed(signers) => signed(release, module, signers),
    }
}

fn signed(release: &Layout, mut module: Module, signers: &Signers) -> Result<TrustedModule, TrustError> {
    let Signers { policy, now, counters, allow_rollback } = signers;
    // One that is damaged is passed over: the others may suffice.
    let signatures = release.readable_signatures(module.digest).readable;
    if signatures.is_empty() {
        // A module whose signatures are all damaged is not an unsigned one.
        release.signature_documents(module.digest)?;
    }
    let bundles: Vec<_> = signatures.into_iter().map(|signature| signature.bundle).collect();
    let subject = Subject { module: &module.name, reference: &module.reference, index: module.digest };
    let wasm: Vec<_> = module.wasm.iter().map(|wasm| wasm.manifest).collect();
    // Not the engines: each variant has its own, and a server may run another one.
    let facts = Facts { engines: &[], digests: &wasm, now: *now, counters, allow_rollback: *allow_rollback };
    let by = evaluate(policy, &bundles, &subject, &facts)
        .map_err(|untrusted| TrustError::Untrusted { module: module.name.clone(), untrusted: Box::new(untrusted) })?;
    let (mut variants, mut excluded) = (Vec::new(), Vec::new());
    for variant in std::mem::take(&mut module.variants) {
        // What has no version is not known to be newer than any.
        let engine = Version::parse(&variant.engine).unwrap_or(Version::new(0, 0, 0));
        let refusals = policy.refusals(&[variant.manifest], &[engine]);
        if refusals.is_empty() {
            variants.push(variant);
        } else {
            excluded.push(Excluded { variant, refusals });
        }
    }
    module.variants = variants;
    Ok(TrustedModule { module, excluded, signed: Some(Signed { policy: policy.clone(), by }) })
}

impl TrustedModule {
    /// The module as the release describes it, without the variants that a policy excludes.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// The same module with only those of its variants for which `wanted` is true.
    #[must_use]
    pub fn only(mut self, wanted: impl Fn(&Variant) -> bool) -> TrustedModule {
        self.module.variants.retain(&wanted);
        self.excluded.retain(|excluded| wanted(&excluded.variant));
        self
    }

    /// The variants that a policy excludes.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
    }

    /// The keys that signed it and what they attest, where signatures were required.
    pub fn signed_by(&self) -> Option<&Trusted> {
        self.signed.as_ref().map(|signed| &signed.by)
    }

    /// What still excludes a part of it that has one of these digests.
    pub(crate) fn refusals(&self, digests: &[Digest]) -> Vec<Refusal> {
        self.signed.as_ref().map(|signed| signed.policy.refusals(digests, &[])).unwrap_or_default()
    }
}
