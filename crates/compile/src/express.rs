//! In: what a module uses and a profile. Out: whether the profile's code generator can express it, and if not, why
//! and which key of the profile would change that.

use crate::analysis::{Analysis, Verdict};
use isomer_contract::profile::Origin;
use isomer_contract::proposals::{self, Proposal};
use isomer_contract::{Arch, Hinted, Profile};
use std::fmt;
use wasmparser::WasmFeatures;

/// Why a module has no form for a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotExpressible {
    /// What the module uses.
    pub uses: &'static str,
    /// Why the profile has no form for it.
    pub reason: String,
    /// The profile key that would change that, where one does.
    pub fix: Option<String>,
}

impl fmt::Display for NotExpressible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uses {}; {}", self.uses, self.reason)
    }
}

/// Why a module cannot be compiled for any target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is not valid under any set of proposals.
    #[error("invalid WebAssembly: {message} (at offset {offset:#x})")]
    Invalid {
        /// What is wrong.
        message: String,
        /// Where, in bytes from the start of the binary.
        offset: usize,
    },
    /// It uses a proposal that wasmtime does not implement.
    #[error(
        "uses the proposal `{proposal}` ({doc}), which wasmtime {} does not implement",
        isomer_contract::ENGINE_VERSION
    )]
    Unsupported {
        /// The proposal.
        proposal: &'static str,
        /// What it is.
        doc: &'static str,
        /// A tool that rewrites such modules.
        converter: Option<&'static str>,
    },
}

impl Hinted for Refused {
    fn hint(&self) -> Option<String> {
        match self {
            Refused::Unsupported { converter: Some(converter), .. } => {
                Some(format!("{converter} rewrites such modules"))
            }
            Refused::Unsupported { .. } => Some("build the module without it".to_owned()),
            Refused::Invalid { .. } => None,
        }
    }
}

/// An instruction set that Cranelift can lower only with an extension.
struct NeedsExtension {
    arch: Arch,
    feature: WasmFeatures,
    uses: &'static str,
    extension: &'static str,
    reason: &'static str,
}

/// Without the extension Cranelift's lowering has no rule and panics: seen by compiling.
const NEEDS_EXTENSION: &[NeedsExtension] = &[NeedsExtension {
    arch: Arch::Riscv64,
    feature: WasmFeatures::SIMD.union(WasmFeatures::RELAXED_SIMD),
    uses: "SIMD",
    extension: "v",
    reason: "Cranelift generates it for riscv64 only with the vector extension `v`",
}];

/// The vectors that Pulley returns in registers. It returns the others in memory, in an order of bytes that
/// Cranelift's emitter for `pulley64be` asserts against: seen by compiling.
const PULLEY_VECTOR_RESULTS_MAX: usize = 16;

/// Whether `profile` can express the module.
///
/// # Errors
/// When no profile can.
pub fn express(analysis: &Analysis<'_>, profile: &Profile) -> Result<Result<(), NotExpressible>, Refused> {
    match analysis.verdict(profile.features) {
        Verdict::Valid => {}
        Verdict::Invalid { message, offset } => return Err(Refused::Invalid { message, offset }),
        Verdict::Needs(proposals) => {
            let never = |proposal: &&Proposal| proposals::UNSUPPORTED.iter().any(|other| other.key == proposal.key);
            if let Some(proposal) = proposals.iter().copied().find(never) {
                let Proposal { key, doc, converter, .. } = proposal;
                return Err(Refused::Unsupported { proposal: key, doc, converter: *converter });
            }
            return Ok(Err(switched_off(profile, &proposals)));
        }
    }
    let gap = lacks_extension(analysis, profile).or_else(|| too_many_vector_results(analysis, profile));
    Ok(gap.map_or(Ok(()), Err))
}

fn lacks_extension(analysis: &Analysis<'_>, profile: &Profile) -> Option<NotExpressible> {
    let lacking = |row: &&NeedsExtension| {
        row.arch == profile.arch
            && !profile.isa.contains_key(row.extension)
            && profile.features.intersects(row.feature)
            && !matches!(analysis.verdict(profile.features.difference(row.feature)), Verdict::Valid)
    };
    NEEDS_EXTENSION.iter().find(lacking).map(|row| NotExpressible {
        uses: row.uses,
        reason: row.reason.to_owned(),
        fix: Some(format!("add \"{}\" to the profile's `isa`", row.extension)),
    })
}

fn too_many_vector_results(analysis: &Analysis<'_>, profile: &Profile) -> Option<NotExpressible> {
    let many = profile.arch == Arch::Pulley64be && analysis.vector_results_max() > PULLEY_VECTOR_RESULTS_MAX;
    many.then(|| NotExpressible {
        uses: "a function with more than 16 vectors as results",
        reason: "Cranelift cannot pass those through memory for big-endian Pulley".to_owned(),
        fix: None,
    })
}

fn switched_off(profile: &Profile, proposals: &[&'static Proposal]) -> NotExpressible {
    let unsupported = proposals::unsupported_on(profile.arch);
    let never = proposals.iter().find_map(|proposal| {
        let row = unsupported.iter().find(|(feature, _)| *feature == proposal.feature);
        row.map(|(_, reason)| (proposal, *reason))
    });
    if let Some((proposal, reason)) = never {
        return NotExpressible { uses: proposal.key, reason: reason.to_owned(), fix: None };
    }
    let keys: Vec<_> = proposals.iter().map(|proposal| format!("`{} = true`", proposal.key)).collect();
    let uses = proposals.first().map_or("an unknown proposal", |proposal| proposal.key);
    let by = match profile.origin(uses) {
        Origin::Default => "wasmtime leaves it off by default".to_owned(),
        Origin::Profile(name) => format!("the profile {name} switches it off"),
        Origin::Overlay(name) => format!("the overlay {name} switches it off"),
    };
    let fix = Some(match profile.origin(uses) {
        Origin::Overlay(name) => format!("leave out the overlay `{name}`"),
        Origin::Default | Origin::Profile(_) => format!("set {} in the profile's [wasm]", keys.join(" and ")),
    });
    NotExpressible { uses, reason: by, fix }
}
