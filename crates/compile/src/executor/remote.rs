//! Jobs on a remote farm, or results from a cache that many machines share, by the Remote Execution API. In: a job. Out: its
//! artifact, checked like one that was compiled locally. Never here: an artifact that requires other than its profile
//! promises.
//!
//! An action is this program's hidden command `isomer job` with three inputs: the program, the WebAssembly, and what is
//! in effect in the profile. No path, time, name or option of this machine enters it, so that the same program has the
//! same actions everywhere: a cache that one machine fills serves a farm, and the other way round.

use super::queue::Queue;
use super::{Bounded, Executor, JobFailure};
use crate::Job;
use crate::codegen::{Compiled, read_back};
use crate::maker::{Distrust, Maker};
use isomer_contract::Digest;
use isomer_remote::{Action, ActionBuilder, Blob, Cancel, Input, Options, Remote, RemoteError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

/// How long a worker may take. A constant, because it is part of the action.
const ACTION_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How often the watchdog checks whether the build is to stop, and whether the farm has been idle for long.
const WATCHDOG_INTERVAL: Duration = Duration::from_millis(100);

/// How a remote is used.
pub struct RemoteSetup {
    /// Its addresses. With one for execution, jobs run there; without, only its cache is used.
    pub options: Options,
    /// The program that runs a job: an `isomer` for the workers' system.
    pub tool: Blob,
    /// The platform properties that workers must have.
    pub platform: BTreeSet<(String, String)>,
    /// Which remote artifacts are compiled locally too, and compared.
    pub distrust: Distrust,
    /// Whether the remaining jobs run on this machine when the farm is lost.
    pub fallback: bool,
}

/// Something that went wrong with a remote and does not fail a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteWarning {
    /// The farm is lost. The remaining jobs run on this machine.
    FarmLost {
        /// What the remote reports, or how the connection failed.
        problem: String,
    },
    /// The cache failed for one job, which runs on this machine.
    CacheFailed {
        /// What it reports.
        problem: String,
    },
    /// The cache holds something that is not the artifact of a job, which runs on this machine.
    CacheWrong {
        /// The module.
        module: String,
        /// The profile.
        target: String,
        /// What is wrong with the cached artifact.
        problem: String,
    },
    /// The cache failed in a way that every job would meet, and is used no more.
    CacheLost {
        /// What it reports.
        problem: String,
    },
    /// The cache stores nothing more.
    CacheFull {
        /// What it reports.
        problem: String,
    },
    /// No worker of the farm runs any of our jobs.
    Waiting {
        /// How many are in its queue.
        jobs: usize,
        /// For how long.
        waited: Duration,
    },
}

impl fmt::Display for RemoteWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteWarning::FarmLost { problem } => write!(f, "the remote farm is lost: {problem}"),
            RemoteWarning::CacheFailed { problem }
            | RemoteWarning::CacheLost { problem }
            | RemoteWarning::CacheFull { problem } => f.write_str(problem),
            RemoteWarning::CacheWrong { module, target, problem } => {
                write!(f, "the remote cache is wrong about {module} for {target}: {problem}")
            }
            RemoteWarning::Waiting { jobs, waited } => {
                let seconds = waited.as_secs();
                write!(f, "no worker of the farm has run one of our jobs for {seconds} s; in its queue: {jobs}")
            }
        }
    }
}

/// Is told what goes wrong with a remote, on any thread.
pub type OnWarning = Box<dyn Fn(&RemoteWarning) + Send + Sync>;

/// A remote, and a local executor beside it.
pub struct RemoteExecutor<E> {
    remote: Remote,
    executes: bool,
    tool: Blob,
    platform: BTreeSet<(String, String)>,
    distrust: Distrust,
    /// Who makes what comes from there.
    maker: Maker,
    fallback: bool,
    local: Bounded<E>,
    on_warning: Arc<OnWarning>,
    /// Our jobs there.
    queue: Arc<Queue>,
    /// Ends the calls under way.
    cancel: Cancel,
    /// Whether the farm failed in a way that every job would meet, and gets no more.
    lost: AtomicBool,
    /// Whether the cache failed in a way that every job would meet, and is used no more.
    unusable: AtomicBool,
    /// The same for storing results in it.
    unwritable: AtomicBool,
}

impl<E: Executor> RemoteExecutor<E> {
    /// Connects. Calls under way end when `stop` is set.
    ///
    /// # Errors
    /// When the remote cannot be used.
    pub fn connect(
        setup: RemoteSetup,
        local: E,
        stop: Arc<AtomicBool>,
        on_warning: OnWarning,
    ) -> Result<RemoteExecutor<E>, RemoteError> {
        let RemoteSetup { options, tool, platform, distrust, fallback } = setup;
        let cancel = Cancel::new();
        let (on_warning, queue) = (Arc::new(on_warning), Arc::new(Queue::default()));
        watchdog(stop, cancel.clone(), queue.clone(), on_warning.clone()).map_err(|error| RemoteError::Options {
            what: "the threads of the connection".to_owned(),
            reason: error.to_string(),
            hint: None,
        })?;
        let executes = options.execution.is_some();
        let maker = match &options.execution {
            Some(url) => Maker::RemoteExecution { url: url.clone() },
            None => Maker::RemoteCache { url: options.action_cache.clone() },
        };
        Ok(RemoteExecutor {
            remote: Remote::connect(&options, &cancel)?,
            executes,
            tool,
            platform,
            distrust,
            maker,
            fallback,
            // A farm runs more jobs at once than this machine could.
            local: if executes { Bounded::by_cores(local) } else { Bounded::new(local, usize::MAX) },
            on_warning,
            queue,
            cancel,
            lost: false.into(),
            unusable: false.into(),
            unwritable: false.into(),
        })
    }

    /// Runs the job on the farm; on this machine, when the farm is lost and that is wanted.
    fn execute_remotely(&self, job: &Job<'_>, action: &Action, threads: usize) -> Result<Compiled, JobFailure> {
        let lost = || self.lost.load(Ordering::Relaxed);
        let fall_back = || if self.fallback { self.local.execute(job, threads) } else { Err(JobFailure::NotTried) };
        if lost() {
            return fall_back();
        }
        let mut queued = self.queue.job();
        let executed = self.remote.execute(action, |stage| queued.saw(&stage, Instant::now()));
        drop(queued);
        let mut outcome = match executed {
            Ok(outcome) => outcome,
            // The first call that notices reports it, and ends the others.
            Err(error) if error.is_of_every_action() && !self.lost.swap(true, Ordering::Relaxed) => {
                self.cancel.cancel();
                let problem = error.to_string();
                if !self.fallback {
                    return Err(JobFailure::RemoteLost { problem, hint: error.hint() });
                }
                (self.on_warning)(&RemoteWarning::FarmLost { problem });
                return fall_back();
            }
            Err(_) if lost() => return fall_back(),
            Err(error) => return Err(failed(&error)),
        };
        let artifact = outcome.outputs.remove(ARTIFACT).expect("an outcome has every output").bytes;
        let compiled =
            read_back(job, artifact).map_err(|error| JobFailure::RemoteArtifact { problem: error.to_string() })?;
        self.compare(job, compiled.with_cache_hit(outcome.cached), threads)
    }

    /// The artifact that the cache holds. Trouble with the cache is reported, and fails no job.
    fn find(&self, job: &Job<'_>, action: &Action) -> Result<Option<Compiled>, JobFailure> {
        if self.unusable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut outcome = match self.remote.get_result(action) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(None),
            Err(RemoteError::Cancelled) => return Err(JobFailure::Interrupted),
            Err(error) if is_of_one_job(&error) => {
                (self.on_warning)(&RemoteWarning::CacheFailed { problem: error.to_string() });
                return Ok(None);
            }
            Err(error) => {
                if !self.unusable.swap(true, Ordering::Relaxed) {
                    (self.on_warning)(&RemoteWarning::CacheLost { problem: error.to_string() });
                }
                return Ok(None);
            }
        };
        let artifact = outcome.outputs.remove(ARTIFACT).expect("an outcome has every output").bytes;
        match read_back(job, artifact) {
            Ok(compiled) => Ok(Some(compiled.with_cache_hit(true))),
            Err(error) => {
                let Job { input, profile } = job;
                (self.on_warning)(&RemoteWarning::CacheWrong {
                    module: input.name.clone(),
                    target: profile.name.clone(),
                    problem: error.to_string(),
                });
                Ok(None)
            }
        }
    }

    /// Stores the result of a job in the cache. A cache that stores nothing fails no job, and is reported once.
    fn keep(&self, action: &Action, artifact: &[u8]) {
        if self.unusable.load(Ordering::Relaxed) || self.unwritable.load(Ordering::Relaxed) {
            return;
        }
        let output = Input { blob: Blob::new(artifact), executable: false };
        if let Err(error) = self.remote.update_result(action, &BTreeMap::from([(ARTIFACT.to_owned(), output)]))
            && !matches!(error, RemoteError::Cancelled)
            && !self.unwritable.swap(true, Ordering::Relaxed)
        {
            (self.on_warning)(&RemoteWarning::CacheFull { problem: error.to_string() });
        }
    }

    /// Compiles some artifacts locally too, and compares. Those that are equal were made by this machine as well.
    fn compare(&self, job: &Job<'_>, remote: Compiled, threads: usize) -> Result<Compiled, JobFailure> {
        if !self.distrust.compares(job.digest(), &self.maker) {
            return Ok(remote.with_maker(self.maker.clone()));
        }
        let local = self.local.execute(job, threads)?;
        if local.bytes() == remote.bytes() {
            return Ok(local);
        }
        let (found, expected) = (Digest::of(remote.bytes()), Digest::of(local.bytes()));
        Err(JobFailure::RemoteDiffers { maker: self.maker.clone(), found, expected })
    }
}

impl<E: Executor> Executor for RemoteExecutor<E> {
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Compiled, JobFailure> {
        let action = action(job, &self.tool, &self.platform);
        if self.executes {
            return self.execute_remotely(job, &action, threads);
        }
        if let Some(compiled) = self.find(job, &action)? {
            return self.compare(job, compiled, threads);
        }
        let compiled = self.local.execute(job, threads)?;
        self.keep(&action, compiled.bytes());
        Ok(compiled)
    }
}

const TOOL: &str = "isomer";
const MODULE: &str = "module.wasm";
const PROFILE: &str = "profile.toml";
const ARTIFACT: &str = "artifact.cwasm";

/// A job as an action of the protocol.
fn action(job: &Job<'_>, tool: &Blob, platform: &BTreeSet<(String, String)>) -> Action {
    let file = |bytes: &[u8]| Input { blob: Blob::new(bytes), executable: false };
    let builder = ActionBuilder {
        arguments: [&format!("./{TOOL}"), "job", MODULE, PROFILE, ARTIFACT].map(str::to_owned).to_vec(),
        inputs: BTreeMap::from([
            (TOOL.to_owned(), Input { blob: tool.clone(), executable: true }),
            (MODULE.to_owned(), file(&job.input.wasm)),
            (PROFILE.to_owned(), file(job.profile.to_toml().as_bytes())),
        ]),
        platform: platform.clone(),
        outputs: BTreeSet::from([ARTIFACT.to_owned()]),
        timeout: ACTION_TIMEOUT,
        ..ActionBuilder::default()
    };
    builder.build().expect("the paths are constants")
}

/// Whether other jobs would not meet the same error.
fn is_of_one_job(error: &RemoteError) -> bool {
    matches!(error, RemoteError::HashMismatch { .. } | RemoteError::TooLarge { .. } | RemoteError::Missing { .. })
}

fn failed(error: &RemoteError) -> JobFailure {
    match error {
        RemoteError::Cancelled => JobFailure::Interrupted,
        error => JobFailure::Remote { problem: error.to_string(), hint: error.hint() },
    }
}

/// A thread that cancels calls when the build is to stop, because signal handlers cannot take the lock that a cancellation
/// takes; and that reports a farm that does nothing.
fn watchdog(stop: Arc<AtomicBool>, cancel: Cancel, queue: Arc<Queue>, warn: Arc<OnWarning>) -> io::Result<()> {
    let watch = move || {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(WATCHDOG_INTERVAL);
            if let Some((jobs, waited)) = queue.overdue(Instant::now()) {
                warn(&RemoteWarning::Waiting { jobs, waited });
            }
        }
        cancel.cancel();
    };
    thread::Builder::new().name("isomer-watchdog".to_owned()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::Profile;
    use isomer_contract::profile::{ProfileText, find_shipped};
    use std::path::Path;

    fn digest(path: &str, text: &str, profile: &str, tool: &[u8]) -> String {
        let input = crate::Input::from_bytes(Path::new(path), path, text.into()).unwrap();
        let text = ProfileText { name: "p".to_owned(), path: path.to_owned(), text: profile.to_owned() };
        let profile = Profile::resolve(&text, &find_shipped).unwrap();
        action(&Job { input: &input, profile: &profile }, &Blob::new(tool), &BTreeSet::new()).digest().to_string()
    }

    /// A change here makes every result that a farm has cached unreachable.
    #[test]
    fn what_enters_the_action_and_what_does_not() {
        let base = digest("a.wat", "(module)", "inherits = 'x86-64-v3'", b"tool");
        assert_eq!(base, digest("b/c.wat", "(module)", "inherits = 'haswell'\ndescription = 'x'", b"tool"), "names");
        for (text, profile, tool) in [
            ("(module (func))", "inherits = 'x86-64-v3'", "tool"),
            ("(module)", "inherits = 'x86-64-v2'", "tool"),
            ("(module)", "inherits = 'x86-64-v3'", "other tool"),
        ] {
            assert_ne!(base, digest("a.wat", text, profile, tool.as_bytes()), "{text} {profile} {tool}");
        }
    }
}
