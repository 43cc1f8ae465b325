//! Worker processes. In: jobs. Out: their artifacts, or how the process ended. Never here: a job that can harm another.

use super::program::WorkerProgram;
use super::protocol::{Answer, FunctionsAt, Request, read_frame, write_frame};
use super::{Executor, JobFailure};
use crate::Job;
use crate::cache::Functions;
use crate::codegen::{CodegenError, Compiled, read_back};
use crate::schedule::STACK_SIZE_BYTES;
use isomer_contract::Size;
use isomer_file::memory;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a waiting thread checks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(100);
/// How much of the end of a worker's standard error is kept.
const STDERR_SIZE_BYTES_MAX: usize = 2048;

/// How the compiler reports an allocation whose failure it checks: Cranelift panics, wasmtime returns an error.
const NO_MEMORY: [&str; 2] = ["out of memory", "Cannot allocate memory"];

/// What one job may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory beyond the worker's own; unlimited if `None`.
    pub memory: Option<Size>,
    /// Time.
    pub time: Duration,
}

/// Worker processes, as many as jobs ever ran at once.
pub struct Pool {
    program: WorkerProgram,
    limits: Limits,
    /// Set to end every running job.
    stop: Arc<AtomicBool>,
    /// The functions that earlier builds compiled, for modules that were edited since.
    functions: Option<Arc<Functions>>,
    idle: Mutex<Vec<Worker>>,
}

impl Pool {
    /// A pool without workers yet. Every running job ends when `stop` is set.
    pub fn new(program: WorkerProgram, limits: Limits, stop: Arc<AtomicBool>) -> Pool {
        Pool { program, limits, stop, functions: None, idle: Mutex::default() }
    }

    /// The same pool, which reuses the functions in `functions`.
    #[must_use]
    pub fn with_functions(self, functions: Option<Arc<Functions>>) -> Pool {
        Pool { functions, ..self }
    }

    /// An idle worker, or a new one.
    fn take(&self) -> io::Result<Worker> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        waiting.map_or_else(|| Worker::start(&self.program), Ok)
    }

    fn give_back(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    fn execute_once(&self, request: &Request, wasm: &[u8]) -> Attempt {
        let mut worker = match self.take() {
            Ok(worker) => worker,
            Err(error) => return Attempt::of(Err(JobFailure::NoWorker(self.program.cannot_start(&error)))),
        };
        let others_before = worker.jobs > 0;
        let killed_before = memory::killed_count();
        match worker.ask(request, wasm, self.limits.time, &self.stop) {
            Ok((Answer::Done(used), artifact)) => {
                self.give_back(worker);
                self.functions.iter().for_each(|functions| functions.count(&used));
                Attempt::of(Ok(artifact))
            }
            Ok((Answer::Failed(CodegenError::Panicked(text) | CodegenError::Compile(text)), _))
                if self.limits.memory.is_some() && NO_MEMORY.iter().any(|phrase| text.contains(phrase)) =>
            {
                let limit = self.limits.memory.expect("the guard has seen it");
                // The worker is dropped: memory that earlier jobs left in it may be the cause.
                Attempt { result: Err(JobFailure::Memory { limit }), again: others_before }
            }
            Ok((Answer::Failed(error), _)) => {
                // After a panic the state of the process is unknown.
                if !matches!(error, CodegenError::Panicked(_)) {
                    self.give_back(worker);
                }
                Attempt::of(Err(error.into()))
            }
            Ok((Answer::Unable(reason), _)) => Attempt::of(Err(JobFailure::NoWorker(reason))),
            Err(Lost::Stopped) => Attempt::of(Err(JobFailure::Interrupted)),
            Err(Lost::Late) => Attempt::of(Err(JobFailure::Timeout { limit: self.limits.time })),
            Err(Lost::Gone) => {
                let failure = match cause_of_death(worker, self.limits.memory) {
                    // Workers are in this process's control group, and the first that the kernel ends there.
                    JobFailure::Killed { signal: libc::SIGKILL } if is_later(killed_before, memory::killed_count()) => {
                        JobFailure::OutOfMemory { limit: memory::limit_bytes().map(Size) }
                    }
                    failure => failure,
                };
                // A signal from outside has nothing to do with this job, and earlier jobs may have left the cause.
                let again = others_before || matches!(failure, JobFailure::Killed { .. });
                Attempt { result: Err(failure), again }
            }
        }
    }
}

struct Attempt {
    result: Result<Vec<u8>, JobFailure>,
    /// Whether a new worker may succeed.
    again: bool,
}

impl Attempt {
    fn of(result: Result<Vec<u8>, JobFailure>) -> Attempt {
        Attempt { result, again: false }
    }
}

impl Executor for Pool {
    /// Runs the job in a worker. When the worker dies and that may not be the job's fault, a second one tries.
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Compiled, JobFailure> {
        let request = Request {
            job: job.digest(),
            module: job.input.name.clone(),
            target: job.profile.name.clone(),
            profile: job.profile.to_toml(),
            threads,
            memory_bytes: self.limits.memory.map(|memory| memory.0),
            functions: self.functions.as_ref().and_then(|functions| {
                Some(FunctionsAt { path: functions.path(job)?, key: functions.key_hex().to_string() })
            }),
        };
        let mut again = true;
        loop {
            // A job may be shorter than the first wait for its answer.
            if self.stop.load(Ordering::Relaxed) {
                return Err(JobFailure::Interrupted);
            }
            let attempt = self.execute_once(&request, &job.input.wasm);
            if !(attempt.again && again) {
                return Ok(read_back(job, attempt.result?)?);
            }
            again = false;
        }
    }
}

/// A process that runs one job at a time.
struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<(Answer, Vec<u8>)>,
    stderr: Option<JoinHandle<String>>,
    /// How many jobs it was given.
    jobs: u64,
}

/// Why a worker did not answer.
enum Lost {
    /// The build was asked to stop.
    Stopped,
    /// The time limit passed.
    Late,
    /// The process ended.
    Gone,
}

impl Worker {
    fn start(program: &WorkerProgram) -> io::Result<Worker> {
        let mut command = program.command();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C goes to the pool, which stops its workers itself.
        command.process_group(0);
        let mut child = command.spawn()?;
        let (requests, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut stderr = child.stderr.take().expect("piped");
        let (sender, answers) = sync_channel(1);
        thread::Builder::new().spawn(move || {
            while let Ok(Some(answer)) = read_frame(&mut stdout) {
                if sender.send(answer).is_err() {
                    break;
                }
            }
        })?;
        let stderr = thread::Builder::new().spawn(move || end_of(&mut stderr))?;
        Ok(Worker { child, requests, answers, stderr: Some(stderr), jobs: 0 })
    }

    fn ask(
        &mut self,
        request: &Request,
        wasm: &[u8],
        limit: Duration,
        stop: &AtomicBool,
    ) -> Result<(Answer, Vec<u8>), Lost> {
        self.jobs += 1;
        let begun = Instant::now();
        write_frame(&mut self.requests, request, wasm).map_err(|_| Lost::Gone)?;
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            match self.answers.recv_timeout(left.min(STOP_INTERVAL)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(Lost::Gone),
                Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Err(Lost::Stopped),
                Err(RecvTimeoutError::Timeout) if begun.elapsed() >= limit => return Err(Lost::Late),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has no state worth an orderly end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of what a process prints, which may be any amount.
fn end_of(from: &mut impl Read) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
        let surplus = text.len().saturating_sub(STDERR_SIZE_BYTES_MAX);
        text.drain(..surplus);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether the count has grown; one that could not be read says nothing.
fn is_later(before: Option<u64>, after: Option<u64>) -> bool {
    before.zip(after).is_some_and(|(before, after)| after > before)
}

/// How the process ended, from its status and its standard error: Rust's runtime aborts after both a stack overflow and a
/// failed allocation, and only its message tells which.
fn cause_of_death(mut worker: Worker, memory: Option<Size>) -> JobFailure {
    // Its standard output is closed, so it is ending or useless.
    let status = worker.wait_or_kill();
    let stderr = worker.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
    match (status.as_ref().ok().and_then(ExitStatus::signal), memory) {
        (Some(libc::SIGABRT), Some(limit)) if stderr.contains("memory allocation of ") => JobFailure::Memory { limit },
        (Some(libc::SIGABRT | libc::SIGSEGV), _) if stderr.contains("has overflowed its stack") => {
            JobFailure::StackOverflow { limit: Size(STACK_SIZE_BYTES as u64) }
        }
        (Some(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)), _) => {
            JobFailure::Killed { signal }
        }
        _ => {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            JobFailure::Crashed { how, stderr }
        }
    }
}

impl Worker {
    /// The status of a process that has closed its output.
    fn wait_or_kill(&mut self) -> io::Result<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            // The system may still be writing a core file of gigabytes.
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        self.child.wait()
    }
}
