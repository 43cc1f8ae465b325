//! `isomer release --check-reproducible`: builds everything twice, in different processes, with different numbers of
//! threads, in different directories, and compares every byte. Then the release is written. Never here: anything that an
//! earlier call compiled, or that was in the output directory.

use super::super::session::Session;
use crate::wording;
use isomer_compile::Release;
use isomer_compile::cache::Cache;
use isomer_compile::executor::Runner;
use isomer_compile::maker::Distrust;
use isomer_compile::records::Record;
use isomer_compile::release::{Difference, Options, ReleaseReport, differences};
use isomer_compile::reuse::Reuse;
use isomer_compile::seal::SealKey;
use isomer_layout::{check_owner, check_place};
use isomer_terminal::{Failure, Failures, note};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Writes the release into `output` once two builds of it are the same.
pub(super) fn write(
    release: &Release,
    output: &Path,
    options: Options,
    session: &Session,
) -> Result<ReleaseReport, Failures> {
    // First: an output that cannot be written should not cost two builds.
    check_owner(output)?;
    check_place(output)?;
    // In the output's directory, which has room for three releases if any has.
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let no_room = |error: std::io::Error| Failure::because(format!("cannot write in {}", parent.display()), &error);
    std::fs::create_dir_all(parent).map_err(no_room)?;
    let scratch = tempfile::Builder::new().prefix(".isomer-twice-").tempdir_in(parent).map_err(no_room)?;
    let [first, second, kept] = ["first", "second", "kept"].map(|name| scratch.path().join(name));
    // Only to carry the first build's artifacts into the output: the second does not see it.
    let kept = Cache::open(&kept, Arc::new(SealKey::ephemeral())).map_err(Failure::from)?;
    let distrust = Distrust::default();
    let keeping = Reuse { cache: Some(&kept), records: None, distrust: &distrust };
    let nothing = Reuse { cache: None, ..keeping };

    let report = session
        .watch("compiling", |on_step| release.write(&first, options, &session.runner(), keeping, on_step))
        .map_err(wording::failure)?;
    if report.summary.is_none() {
        return Ok(report);
    }
    let (pool, parallelism) = session.other_pool();
    let runner = Runner { executor: &pool, parallelism, fail_fast: true };
    let again = session
        .watch("once more", |on_step| release.write(&second, options, &runner, nothing, on_step))
        .map_err(wording::failure)?;
    if again.summary.is_none() {
        return Ok(again);
    }
    let differences = differences(&first, &second)?;
    if !differences.is_empty() {
        let failure = Failure::new("two builds of the same release are not the same; nothing is written");
        let failure = differences.iter().map(Difference::to_string).fold(failure, Failure::caused_by);
        return Err(failure.hint("this is a bug; please report it with the module".to_owned()).into());
    }
    let threads = session.runner().parallelism;
    note(&format!("built twice, with {threads} and {parallelism} at once: every byte is the same"));
    let written = session
        .watch("writing", |on_step| release.write(output, options, &session.runner(), keeping, on_step))
        .map_err(wording::failure)?;
    // Each module's index names all of its bytes.
    let modules = |report: &ReleaseReport| report.records.keys().copied().collect::<Vec<_>>();
    if modules(&written) != modules(&again) {
        let failure = Failure::new("what was written is not what was built twice");
        return Err(failure.hint(format!("remove `{}`: another process may have changed it", output.display())).into());
    }
    // A remote may have made the first build; this machine made the second one, and they are the same.
    let records: BTreeMap<_, _> = written.records.into_keys().map(|module| (module, Record::default())).collect();
    session.record(&records);
    // The cells are reported as they were compiled, not as they were carried over.
    Ok(ReleaseReport { summary: written.summary, records, ..report })
}
