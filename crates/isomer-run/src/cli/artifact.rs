//! The artifact that is run or served. In: an installed module, a module of a release, or a file; what is trusted, and what
//! is demanded. Out: the variant for this machine, verified. Never here: an engine.

use super::operand::open_release;
use super::{input, select, signers, wording};
use isomer_contract::{Digest, Hinted};
use isomer_guest::server::StepDown;
use isomer_runtime::{Chosen, Expected, Request, SealedBytes, VerifiedArtifact};
use isomer_store::{Installed, LoadPath, OpenedArtifact};
use isomer_terminal::Failure;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// How an artifact is read that is not installed.
pub(super) const COPIED: &str = "copied into sealed memory and hashed there";

/// An artifact that was chosen, read and verified.
pub(super) struct Opened {
    pub(super) artifact: VerifiedArtifact,
    /// How it was read, where it is installed.
    pub(super) load_path: Option<LoadPath>,
    /// The module that it is a variant of, `resize:1.4.0`; a single file has none.
    pub(super) reference: Option<String>,
    /// The variants that would be better and do not run here.
    pub(super) steps_down: Vec<StepDown>,
    /// When the choice began.
    pub(super) started: Instant,
    /// When it was chosen, and reading began.
    pub(super) selected: Instant,
}

/// A variant of an installed module: on the basis on which it was installed, unless an option states another.
pub(super) fn of_store(
    trust: &signers::TrustOptions,
    request: &Request<'_>,
    installed: &Installed,
) -> Result<Opened, Failure> {
    let started = Instant::now();
    let trust = trust.read()?;
    let trusted = installed.trust(trust.as_ref()).map_err(wording::store)?;
    let chosen = trusted
        .choose(&input::this_machine()?, request)
        .map_err(|error| wording::select_installed(&error, "on this machine", installed))?;
    select::log_steps_down(&installed.module().name, chosen.variant(), chosen.steps_down());
    let selected = Instant::now();
    let OpenedArtifact { artifact, load_path } = installed.open(&chosen).map_err(wording::store)?;
    let (reference, steps_down) = (Some(installed.module().reference.clone()), steps_down(&chosen));
    Ok(Opened { artifact, load_path: Some(load_path), reference, steps_down, started, selected })
}

/// A variant of a module of a release.
pub(super) fn of_release(
    trust: &signers::TrustOptions,
    request: &Request<'_>,
    release: &Path,
    module: &str,
) -> Result<Opened, Failure> {
    let started = Instant::now();
    let (layout, module) = open_release(release, module)?;
    let trust = trust.read()?.ok_or_else(|| {
        let what = format!("`{}` of `{}`", module.name, release.display());
        wording::untrusted(&what, "`--key`, `--trust`, `--digest`", "its index", module.digest)
    })?;
    let from = release.display().to_string();
    let trusted = isomer_runtime::trust(&layout, module, &trust).map_err(|error| wording::trust(error, Some(&from)))?;
    let chosen = trusted
        .choose(&input::this_machine()?, request)
        .map_err(|error| wording::select(&error, "on this machine", false))?;
    select::log_steps_down(&trusted.module().name, chosen.variant(), chosen.steps_down());
    let selected = Instant::now();
    let artifact = chosen.fetch(&layout).map_err(Failure::from)?;
    let (reference, steps_down) = (Some(trusted.module().reference.clone()), steps_down(&chosen));
    Ok(Opened { artifact, load_path: None, reference, steps_down, started, selected })
}

/// The artifact in a file, which is to be `action`, "run" or "serve". `expected` decides by its digest, or says why it is
/// not trusted.
pub(super) fn of_file(
    file: &Path,
    action: &str,
    expected: impl FnOnce(Digest) -> Result<Expected<'static>, Failure>,
) -> Result<Opened, Failure> {
    let selected = Instant::now();
    let because =
        |error: &(dyn Error + 'static)| Failure::because(format!("cannot {action} `{}`", file.display()), error);
    let bytes = SealedBytes::copy(input::open(file)?, isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX)
        .map_err(|error| because(&error).hint(error.hint()))?;
    let expected = expected(bytes.digest())?;
    let artifact = isomer_runtime::verify(bytes, expected).map_err(|error| because(&error).hint(error.hint()))?;
    Ok(Opened { artifact, load_path: None, reference: None, steps_down: Vec::new(), started: selected, selected })
}

fn steps_down(chosen: &Chosen<'_>) -> Vec<StepDown> {
    let steps = chosen.steps_down().iter();
    steps.map(|(better, why)| StepDown::new(better.target.clone(), why.iter().map(select::brief).collect())).collect()
}

/// A file that no option trusts.
pub(super) fn untrusted_file(file: &Path, digest: Digest) -> Failure {
    wording::untrusted(&format!("`{}`", file.display()), "`--digest`", "it", digest)
}
