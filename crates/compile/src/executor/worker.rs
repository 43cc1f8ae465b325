//! The worker process. In: jobs, frame by frame on standard input. Out: artifacts on standard output. It ends when its
//! input does, also in the middle of a job: the kernel closes the pipe of a killed parent, so no worker outlives it. (`PR_SET_PDEATHSIG` would follow the thread that started the worker, not the process.)

use super::JobFailure;
use super::protocol::{Answer, FunctionsAt, Request, read_frame, write_frame};
use crate::cache::{FunctionsUse, Pack};
use crate::codegen::{self, CodegenError, THREAD_NAME};
use crate::schedule::{STACK_SIZE_BYTES, default_parallelism};
use crate::seal::SealKey;
use crate::{Compiler, Input, Job};
use isomer_contract::Digest;
use isomer_contract::profile::{Profile, ProfileText};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::{fs, io, process, thread};

/// Runs the jobs that a [`Pool`](super::Pool) sends on standard input, until that ends. The program that a
/// [`WorkerProgram`](super::WorkerProgram) names calls this.
///
/// The system enforces the limit on a job's memory (`RLIMIT_DATA`, which counts what only this process can write to): an
/// allocation beyond it fails, and the worker aborts.
///
/// # Errors
/// When the system provides no thread, or the pool closed its end of the pipe.
#[allow(clippy::disallowed_methods, reason = "this is the main function of the worker's process")]
pub fn serve() -> io::Result<()> {
    codegen::catch_panics();
    // When memory runs out, the system is to kill a worker, not the pool. Where that cannot be set, it is not.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    // Core files would be gigabytes, one for each job that crashes.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: getrlimit(Resource::Core).maximum })?;
    let (sender, requests) = mpsc::sync_channel(1);
    thread::Builder::new().spawn(move || {
        let mut input = io::stdin().lock();
        while let Ok(Some(request)) = read_frame::<Request>(&mut input) {
            if sender.send(request).is_err() {
                break;
            }
        }
        process::exit(0);
    })?;
    let own_bytes = data_bytes();
    for (request, wasm) in requests {
        let (answer, artifact) = match limit_of(&request, &own_bytes).and_then(|limit| work(&request, wasm, limit)) {
            Ok((artifact, functions)) => (Answer::Done(functions), artifact),
            Err(answer) => (answer, Vec::new()),
        };
        write_frame(&mut io::stdout().lock(), &answer, &artifact)?;
    }
    Ok(())
}

/// How much data this process may have while it does the job: its own, the stacks of the job's threads, and the job's.
fn limit_of(request: &Request, own_bytes: &io::Result<u64>) -> Result<Option<u64>, Answer> {
    let Some(memory_bytes) = request.memory_bytes else { return Ok(None) };
    match own_bytes {
        Ok(own_bytes) => Ok(Some(own_bytes + request.threads as u64 * STACK_SIZE_BYTES as u64 + memory_bytes)),
        Err(error) => {
            let needs = "a limit on a job's memory needs /proc/self/status";
            Err(Answer::Unable(format!("{needs}, which cannot be read: {error}")))
        }
    }
}

/// What of this process `RLIMIT_DATA` counts now.
fn data_bytes() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kibibytes.map(|number| number << 10).ok_or_else(|| io::Error::other("/proc/self/status has no VmData"))
}

/// Calls `work` while this process may have no more than that many bytes of data.
fn within<T>(data_bytes: Option<u64>, work: impl FnOnce() -> T) -> io::Result<T> {
    let Some(bytes) = data_bytes else { return Ok(work()) };
    let before = getrlimit(Resource::Data);
    let current = Some(before.current.map_or(bytes, |current| current.min(bytes)));
    setrlimit(Resource::Data, Rlimit { current, maximum: before.maximum })?;
    let done = work();
    setrlimit(Resource::Data, before)?;
    Ok(done)
}

fn work(request: &Request, wasm: Vec<u8>, limit: Option<u64>) -> Result<(Vec<u8>, FunctionsUse), Answer> {
    let Request { job, module, target, profile, threads, functions, memory_bytes: _ } = request;
    let unable = |error: &dyn std::fmt::Display| Answer::Unable(error.to_string());
    let input = Input::from_bytes(Path::new(module), module, wasm).map_err(|error| unable(&error))?;
    let text = ProfileText { name: target.clone(), path: target.clone(), text: profile.clone() };
    let profile = Profile::resolve(&text, &|_| None).map_err(|error| unable(&error))?;
    let found = Job { input: &input, profile: &profile }.digest();
    same_job(found, *job)?;
    let pack = functions
        .as_ref()
        .and_then(|FunctionsAt { path, key }| Some(Arc::new(Pack::read(Path::new(path), SealKey::from_hex(key)?))));
    let generated = generate(&input, &profile, *threads, limit, pack.clone());
    let artifact = generated.map_err(|error| unable(&error))?.map_err(Answer::Failed)?;
    Ok((artifact, pack.map(|pack| pack.keep()).unwrap_or_default()))
}

/// Runs one job on all cores, for a worker of a remote farm, and reads the artifact back. `profile` is the text of one that
/// inherits from none.
///
/// # Errors
/// When the module or the profile cannot be read, and when the job fails.
pub fn do_one(wasm: Vec<u8>, profile: String) -> Result<Vec<u8>, JobFailure> {
    codegen::catch_panics();
    let unable = |error: &dyn std::fmt::Display| JobFailure::NoWorker(error.to_string());
    let input = Input::from_bytes(Path::new("module"), "module", wasm).map_err(|error| unable(&error))?;
    let text = ProfileText { name: "profile".to_owned(), path: "the profile".to_owned(), text: profile };
    let profile = Profile::resolve(&text, &|_| None).map_err(|error| unable(&error))?;
    let generated = generate(&input, &profile, default_parallelism().get(), None, None);
    let artifact = generated.map_err(|error| unable(&error))??;
    Ok(codegen::read_back(&Job { input: &input, profile: &profile }, artifact)?.into_bytes())
}

/// Generates code on a thread pool of its own: wasmtime compiles on the pool that it is called from.
///
/// The limit holds once the threads have started, so that no job pays for their start. They have ended when this returns,
/// so that no two pools have their stacks at once.
fn generate(
    input: &Input,
    profile: &Profile,
    threads: usize,
    data_bytes: Option<u64>,
    functions: Option<Arc<Pack>>,
) -> io::Result<Result<Vec<u8>, CodegenError>> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(STACK_SIZE_BYTES)
        .thread_name(|index| format!("{THREAD_NAME}-{index}"));
    let generate = || Compiler::with_functions(profile, functions)?.generate(input);
    let work = |pool: &rayon::ThreadPool| within(data_bytes, || pool.install(generate));
    pool.build_scoped(rayon::ThreadBuilder::run, work).map_err(io::Error::other)?
}

/// Checks that both ends mean the same job. They are of one build, so a difference is a bug in how a profile is sent.
fn same_job(found: Digest, expected: Digest) -> Result<(), Answer> {
    if found == expected {
        return Ok(());
    }
    Err(Answer::Unable(format!("the worker computes the job {found}, expected {expected}")))
}
