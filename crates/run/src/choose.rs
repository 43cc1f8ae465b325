//! In: a trusted module, a host and what it asks. Out: the best variant for the host, and its bytes, verified.

use crate::sealed::{SealError, SealedBytes};
use crate::trust::{Excluded, TrustedModule};
use crate::verify::{Expected, VerifiedArtifact, VerifyError, verify};
use isomer_contract::name::{split_target, with_overlay};
use isomer_contract::{Demand, Digest, Hinted, Host, Mismatch, Rejected, Selection, Variant, profile, select};
use isomer_layout::{Layout, LayoutError, Manifest};
use isomer_trust::Refusal;

/// A variant, and the module that it belongs to.
#[derive(Debug)]
pub struct Chosen<'a> {
    module: &'a TrustedModule,
    variant: &'a Variant,
    /// The better variants of the host's architecture that it cannot run.
    steps_down: Vec<(&'a Variant, Vec<Mismatch>)>,
}

/// What a caller requires of the variant, besides that it runs on the host.
///
/// ```
/// use isomer_contract::{Demand, Urgency};
/// use isomer_runtime::Request;
///
/// // The fastest form.
/// let any = Request::default();
/// // One that a deadline ends.
/// let metered = Request::from(Demand { deadline: Urgency::Required, ..Demand::default() });
/// assert_eq!((any.require, metered.demand.deadline), (None, Urgency::Required));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// What the variant must be.
    pub demand: Demand,
    /// The target that the best variant must be for: another is an error, and not chosen instead.
    pub require: Option<&'a str>,
}

impl From<Demand> for Request<'_> {
    fn from(demand: Demand) -> Self {
        Request { demand, require: None }
    }
}

/// Why no variant was chosen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// None of them runs on the host and meets the demand.
    #[error("no variant of `{module}` runs on this machine")]
    NoneRuns {
        /// The module.
        module: String,
        /// Each variant's target, and every reason why it does not run.
        rejected: Vec<(String, Vec<Mismatch>)>,
        /// Each variant that the policy excludes.
        excluded: Vec<Excluded>,
    },
    /// The module has no variant for a target, or the policy excludes it.
    #[error("no variant of `{module}` is for {target}")]
    NoVariant {
        /// The module.
        module: String,
        /// The required target.
        target: String,
        /// Why no variant was chosen.
        why: NotChosen,
    },
    /// The best that runs is not the required one.
    #[error("`{module}` is required as {required}; the best that runs on this machine is {chosen}")]
    NotRequired {
        /// The module.
        module: String,
        /// The target that was required.
        required: String,
        /// The target that would have run.
        chosen: String,
        /// Why the required one was not chosen.
        why: NotChosen,
    },
}

/// Why the required variant was not chosen.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotChosen {
    /// The module has no variant for that target; it has these.
    NotInRelease(Vec<String>),
    /// It does not run on the host.
    Mismatches(Vec<Mismatch>),
    /// It runs, and another variant is preferred.
    Outranked(String),
    /// The policy excludes it.
    Excluded(Vec<Refusal>),
}

/// Why the bytes of a chosen variant cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The release is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The policy excludes a part of it.
    #[error("the variant for {target} is not trusted: {}", .refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The variant's target.
        target: String,
        /// Every reason.
        refusals: Vec<Refusal>,
    },
    /// The bytes cannot be copied into sealed memory.
    #[error("cannot read the variant for {target}")]
    Seal {
        /// The variant's target.
        target: String,
        /// Why.
        source: SealError,
    },
    /// The bytes are not what the release declares.
    #[error("the variant for {target} is not what the release promises")]
    Verify {
        /// The variant's target.
        target: String,
        /// Why.
        source: VerifyError,
    },
}

impl Hinted for FetchError {
    fn hint(&self) -> Option<String> {
        match self {
            FetchError::Layout(error) => error.hint(),
            FetchError::Refused { refusals, .. } => refusals.iter().find_map(Hinted::hint),
            FetchError::Seal { source, .. } => source.hint(),
            FetchError::Verify { source, .. } => source.hint(),
        }
    }
}

impl TrustedModule {
    /// The best variant for `host`, and every other with every reason. The target in `demand` may be an alias.
    pub fn select(&self, host: &Host, demand: &Demand) -> Selection<'_> {
        let variants = &self.module().variants;
        let target = demand.target.as_deref().map(|target| canonical(target, variants));
        select(variants, host, &Demand { target, ..demand.clone() })
    }

    /// The best variant for `host` that meets the request.
    ///
    /// # Errors
    /// When no variant runs there and meets the demand, or the best is not the required one; every reason is in the error.
    pub fn choose(&self, host: &Host, request: &Request<'_>) -> Result<Chosen<'_>, SelectError> {
        let Request { demand, require } = request;
        let module = self.module();
        if let Some(target) = &demand.target {
            self.variant_for(target)?;
        }
        let selection = self.select(host, demand);
        let Some(variant) = selection.chosen else {
            let asked = |excluded: &&Excluded| {
                let variant = &excluded.variant;
                demand.target.as_ref().is_none_or(|it| variant.is_for(&canonical(it, std::slice::from_ref(variant))))
            };
            return Err(SelectError::NoneRuns {
                module: module.name.clone(),
                rejected: incompatible(&selection),
                excluded: self.excluded().iter().filter(asked).cloned().collect(),
            });
        };
        if let Some(required) = *require
            && !variant.is_for(&canonical(required, &module.variants))
        {
            return Err(SelectError::NotRequired {
                module: module.name.clone(),
                required: required.to_owned(),
                chosen: variant.target.clone(),
                why: self
                    .why_excluded(required)
                    .unwrap_or_else(|| why_not(&selection, &canonical(required, &module.variants))),
            });
        }
        let steps_down = selection.steps_down().map(|(better, reasons)| (better, reasons.to_vec())).collect();
        Ok(Chosen { module: self, variant, steps_down })
    }

    /// The variant for `target`, on whatever host it runs.
    ///
    /// # Errors
    /// When the module has none, or a policy excludes it.
    pub fn variant_for(&self, target: &str) -> Result<Chosen<'_>, SelectError> {
        let module = self.module();
        let wanted = canonical(target, &module.variants);
        let found = module.variants.iter().find(|variant| variant.is_for(&wanted));
        found.map(|variant| Chosen { module: self, variant, steps_down: Vec::new() }).ok_or_else(|| {
            let targets = || module.variants.iter().flat_map(|variant| variant.serves.clone()).collect();
            let why = self.why_excluded(target).unwrap_or_else(|| NotChosen::NotInRelease(targets()));
            SelectError::NoVariant { module: module.name.clone(), target: target.to_owned(), why }
        })
    }

    /// Every variant that no policy excludes, on whatever host it runs.
    pub fn variants(&self) -> impl Iterator<Item = Chosen<'_>> {
        self.module().variants.iter().map(|variant| Chosen { module: self, variant, steps_down: Vec::new() })
    }

    /// The plain WebAssembly, where the release has it.
    ///
    /// # Errors
    /// When it is damaged, or the policy excludes it.
    pub fn wasm(&self, release: &Layout) -> Result<Option<Vec<u8>>, FetchError> {
        let Some(wasm) = release.wasm(self.module())? else { return Ok(None) };
        self.check_wasm_digest(Digest::of(&wasm))?;
        Ok(Some(wasm))
    }

    /// Checks the plain WebAssembly, where the release has it, a piece at a time.
    ///
    /// # Errors
    /// As [`TrustedModule::wasm`].
    pub fn check_wasm(&self, release: &Layout) -> Result<(), FetchError> {
        release.check_wasm(self.module())?.map_or(Ok(()), |wasm| self.check_wasm_digest(wasm))
    }

    fn check_wasm_digest(&self, wasm: Digest) -> Result<(), FetchError> {
        let refusals = self.refusals(&[wasm]);
        if refusals.is_empty() {
            return Ok(());
        }
        Err(FetchError::Refused { target: "every runtime".to_owned(), refusals })
    }

    fn why_excluded(&self, required: &str) -> Option<NotChosen> {
        let variants: Vec<_> = self.excluded().iter().map(|excluded| excluded.variant.clone()).collect();
        let required = canonical(required, &variants);
        let found = self.excluded().iter().find(|excluded| excluded.variant.is_for(&required));
        found.map(|excluded| NotChosen::Excluded(excluded.refusals.clone()))
    }
}

impl<'a> Chosen<'a> {
    /// The variant.
    pub fn variant(&self) -> &'a Variant {
        self.variant
    }

    /// The variants that would have been better and do not run on the host, with every reason: not empty when it
    /// runs a lesser form than the release could offer.
    pub fn steps_down(&self) -> &[(&'a Variant, Vec<Mismatch>)] {
        &self.steps_down
    }

    /// The variant's manifest in `release`, if no policy excludes the digests in it.
    ///
    /// # Errors
    /// When the release is damaged, or the policy excludes a part of it.
    pub fn manifest(&self, release: &Layout) -> Result<Manifest, FetchError> {
        let manifest = release.manifest(self.variant)?;
        let Manifest { digest, config, layer, config_blob } = &manifest;
        let (artifact, wasm) = (config.artifact.digest, config.wasm.digest);
        let all = [*digest, config_blob.digest, layer.blob.digest, artifact, config.code, wasm];
        let refusals = self.module.refusals(&all);
        if refusals.is_empty() {
            return Ok(manifest);
        }
        Err(FetchError::Refused { target: self.variant.target.clone(), refusals })
    }

    /// Reads the variant's bytes out of `release` into memory that cannot change, and verifies them there.
    ///
    /// # Errors
    /// When the release is damaged or any of its parts is not what the index promises.
    pub fn fetch(&self, release: &Layout) -> Result<VerifiedArtifact, FetchError> {
        let target = &self.variant.target;
        let manifest = self.manifest(release)?;
        let reader = release.open_artifact(&manifest)?;
        let bytes =
            SealedBytes::copy(reader, manifest.config.artifact.size_bytes).map_err(|error| seal(target, error))?;
        verify(bytes, Expected::Variant(&manifest.config))
            .map_err(|source| FetchError::Verify { target: target.clone(), source })
    }
}

/// A reader of a release wraps what is wrong with it into an [`std::io::Error`]; this takes it out again.
fn seal(target: &str, error: SealError) -> FetchError {
    let source = match error {
        SealError::Read(error) => match error.downcast::<LayoutError>() {
            Ok(error) => return FetchError::Layout(error),
            Err(error) => SealError::Read(error),
        },
        other => other,
    };
    FetchError::Seal { target: target.to_owned(), source }
}

/// Those that are for another target than the requested one say nothing.
fn incompatible(selection: &Selection<'_>) -> Vec<(String, Vec<Mismatch>)> {
    let mismatches = selection.rejected.iter().filter_map(|(variant, rejected)| match rejected {
        Rejected::Incompatible(mismatches) => Some((variant.target.clone(), mismatches.clone())),
        Rejected::Outranked(_) => None,
    });
    let is_other = |mismatch: &Mismatch| matches!(mismatch, Mismatch::Target { .. });
    mismatches.filter(|(_, mismatches)| !mismatches.iter().any(is_other)).collect()
}

/// The name that a release would know `required` by: itself, or that of the shipped profile with this alias, with the same
/// overlays in their order.
fn canonical(required: &str, variants: &[Variant]) -> String {
    if variants.iter().any(|variant| variant.is_for(required)) {
        return required.to_owned();
    }
    let (profile, overlays) = split_target(required);
    let profile = profile::find_shipped(profile).map_or_else(|| profile.to_owned(), |shipped| shipped.name);
    overlays.fold(profile, |target, overlay| with_overlay(&target, overlay))
}

fn why_not(selection: &Selection<'_>, required: &str) -> NotChosen {
    let found = selection.rejected.iter().find(|(variant, _)| variant.is_for(required));
    match found {
        Some((_, Rejected::Incompatible(mismatches))) => NotChosen::Mismatches(mismatches.clone()),
        Some((_, Rejected::Outranked(why))) => NotChosen::Outranked(why.clone()),
        None => {
            let all = selection.chosen.into_iter().chain(selection.rejected.iter().map(|(variant, _)| *variant));
            NotChosen::NotInRelease(all.flat_map(|variant| variant.serves.clone()).collect())
        }
    }
}
