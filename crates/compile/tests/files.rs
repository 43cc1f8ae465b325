//! `compile_to_files` as a user of the library calls it, with an executor of its own: what is compiled, shared, cached and
//! compiled again.

use isomer_compile::cache::Cache;
use isomer_compile::codegen::Compiled;
use isomer_compile::executor::{Executor, JobFailure, Runner};
use isomer_compile::maker::Distrust;
use isomer_compile::matrix::{Origin, State};
use isomer_compile::reuse::Reuse;
use isomer_compile::seal::SealKey;
use isomer_compile::{CellReport, Compiler, Input, Job, Module, Step, compile_to_files};
use isomer_contract::Profile;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Compiles in this process.
struct InProcess;

impl Executor for InProcess {
    fn execute(&self, job: &Job<'_>, _threads: usize) -> Result<Compiled, JobFailure> {
        Ok(Compiler::new(job.profile)?.compile(job.input)?)
    }
}

/// One module for three profiles, the last two of equal settings.
fn modules() -> [Module; 1] {
    let input = Input::from_bytes(Path::new("m.wat"), "m", "(module (func (export \"f\")))".into()).unwrap();
    let profiles = ["x86-64-v3", "znver4", "icelake-server"].map(|name| Profile::shipped(name).unwrap()).to_vec();
    [Module { name: "m".to_owned(), input, profiles }]
}

fn outputs(directory: &Path) -> Vec<PathBuf> {
    ["v3", "znver4", "icelake"].map(|name| directory.join(name)).to_vec()
}

/// The reports, and what was damaged.
fn compile(outputs: &[PathBuf], cache: Option<&Cache>) -> (Vec<CellReport>, Vec<String>) {
    let runner = Runner { executor: &InProcess, parallelism: NonZeroUsize::MIN, fail_fast: false };
    let reuse = Reuse { cache, records: None, distrust: &Distrust::default() };
    let mut damaged = Vec::new();
    let reports = compile_to_files(&modules(), outputs, &runner, reuse, &mut |step| {
        if let Step::Damaged(problem) = step {
            damaged.push(problem);
        }
    });
    (reports.unwrap(), damaged)
}

fn origins(reports: &[CellReport]) -> Vec<Origin> {
    let origin = |report: &CellReport| match &report.state {
        State::Finished(finished) => finished.origin,
        other => panic!("{other:?}"),
    };
    reports.iter().map(origin).collect()
}

#[test]
fn equal_jobs_run_once_and_the_next_build_takes_them_from_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(&directory.path().join("cache"), Arc::new(SealKey::ephemeral())).unwrap();
    let outputs = outputs(directory.path());
    let (first, _) = compile(&outputs, Some(&cache));
    assert!(matches!(origins(&first)[..], [Origin::Compiled(_), Origin::Compiled(_), Origin::SameJob(1)]), "{first:?}");
    let files = || outputs.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
    let compiled = files();
    assert_eq!(compiled[1], compiled[2]);
    assert_ne!(compiled[0], compiled[1]);

    outputs.iter().for_each(|path| fs::remove_file(path).unwrap());
    let (second, damaged) = compile(&outputs, Some(&cache));
    assert_eq!((origins(&second), damaged.len()), (vec![Origin::CacheHit; 3], 0));
    assert_eq!(files(), compiled);
}

#[test]
fn a_damaged_cache_entry_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::open(&directory.path().join("cache"), Arc::new(SealKey::ephemeral())).unwrap();
    let outputs = outputs(directory.path());
    compile(&outputs, Some(&cache));
    let compiled = fs::read(&outputs[0]).unwrap();
    for entry in fs::read_dir(directory.path().join("cache/v1/artifacts")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let (again, damaged) = compile(&outputs, Some(&cache));
    assert!(matches!(origins(&again)[..], [Origin::Compiled(_), Origin::Compiled(_), _]), "{again:?}");
    assert!(!damaged.is_empty());
    assert_eq!(fs::read(&outputs[0]).unwrap(), compiled);
}

#[test]
fn a_file_that_cannot_be_written_fails_its_own_cell() {
    let directory = tempfile::tempdir().unwrap();
    let mut outputs = outputs(directory.path());
    outputs[1] = directory.path().join("missing/znver4");
    let (reports, _) = compile(&outputs, None);
    assert!(matches!(reports[0].state, State::Finished(_)));
    assert!(matches!(reports[1].state, State::Unwritten(_)) && reports[1].state.is_failure());
    assert!(matches!(reports[2].state, State::Finished(_)), "it shares the job, not the file");
}
