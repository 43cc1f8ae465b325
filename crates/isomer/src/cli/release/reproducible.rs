//! `isomer release --check-reproducible`: everything twice, by different processes, with different numbers of threads,
//! in different directories, and not a byte may differ. Then the release is put in place.

use super::super::farming::Prepared;
use super::watch;
use isomer_compile::cache::Cache;
use isomer_compile::release::{Difference, Options, ReleaseReport, differences};
use isomer_compile::{Farm, Release};
use isomer_layout::check_place;
use isomer_terminal::{Failure, Failures};
use std::path::Path;

/// Writes the release into `output` once it was made twice and came out the same.
pub(super) fn write(
    release: &Release,
    output: &Path,
    options: Options,
    prepared: &Prepared,
) -> Result<ReleaseReport, Failures> {
    // First, for a place that can't be written should not cost two builds.
    check_place(output)?;
    // Beside the output: what has room for the one has room for three, if anything has.
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let no_room = |error: std::io::Error| Failure::because(format!("cannot write in {}", parent.display()), &error);
    std::fs::create_dir_all(parent).map_err(no_room)?;
    let scratch = tempfile::Builder::new().prefix(".isomer-twice-").tempdir_in(parent).map_err(no_room)?;
    let [first, second, kept] = ["first", "second", "kept"].map(|name| scratch.path().join(name));
    // Only to carry the first build's artifacts into the output: the second does not see it.
    let kept = Cache::open(&kept).map_err(Failure::from)?;

    let report =
        watch(prepared, "compiling", |on_step| release.write(&first, options, &prepared.farm(), Some(&kept), on_step))?;
    if report.summary.is_none() {
        return Ok(report);
    }
    let (pool, parallelism) = prepared.other_pool();
    let farm = Farm { executor: &pool, parallelism, fail_fast: true };
    let again = watch(prepared, "once more", |on_step| release.write(&second, options, &farm, None, on_step))?;
    if again.summary.is_none() {
        return Ok(again);
    }
    let differences = differences(&first, &second)?;
    if !differences.is_empty() {
        let failure = Failure::new("two builds of the same release are not the same; nothing is written");
        let failure = differences.iter().map(Difference::to_string).fold(failure, Failure::caused_by);
        return Err(failure.hint("this is a bug; please report it with the module".to_owned()).into());
    }
    anstream::eprintln!(
        "built twice, with {} and {parallelism} at once: every byte is the same",
        prepared.farm().parallelism
    );
    let written =
        watch(prepared, "writing", |on_step| release.write(output, options, &prepared.farm(), Some(&kept), on_step))?;
    // The cells are told as they were compiled, not as they were carried over.
    Ok(ReleaseReport { summary: written.summary, ..report })
}
