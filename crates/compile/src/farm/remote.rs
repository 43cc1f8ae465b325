//! Jobs done elsewhere, or found in a cache that many machines share, by the Remote Execution API. In: a job. Out: its
//! artifact, read back as one that was made here; what a remote sent and a profile did not promise is never handed on.
//!
//! An action is this program's hidden command `isomer job` with three inputs: the program, the WebAssembly, and what is
//! in effect in the profile. No path, time, name or option of this machine enters it, so that whoever has the same
//! program has the same actions: a cache that one machine fills serves a farm, and the other way round.

use super::queue::Queue;
use super::{Bounded, Done, Executor, JobFailure};
use crate::Job;
use crate::codegen::read_back;
use isomer_contract::Digest;
use isomer_remote::{Action, ActionBuilder, Blob, Cancel, Input, Options, Remote, RemoteError};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

/// How long a worker may take. The same for everybody: it is part of the action.
const ACTION_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How often we look whether somebody asked to stop, and whether the farm has been idle for long.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How a remote is made use of.
pub struct RemoteSetup {
    /// Where it is. Jobs are done there where it says where to execute; otherwise it is asked for what others did.
    pub options: Options,
    /// The program that does a job: `isomer`, for the workers' system.
    pub tool: Blob,
    /// What workers must be like.
    pub platform: BTreeSet<(String, String)>,
    /// Of a hundred artifacts that come from there, how many are made here too, and compared.
    pub distrust_percent: u8,
    /// Whether this machine does what a farm that is lost leaves.
    pub fallback: bool,
}

/// Says what went wrong with a job, and what is done about it.
pub type OnTrouble = Box<dyn Fn(&str, &'static str) + Send + Sync>;

/// A remote, and a local executor beside it.
pub struct RemoteFarm<E> {
    remote: Remote,
    executes: bool,
    tool: Blob,
    platform: BTreeSet<(String, String)>,
    distrust_percent: u8,
    fallback: bool,
    local: Bounded<E>,
    on_trouble: Arc<OnTrouble>,
    /// Where jobs are there.
    queue: Arc<Queue>,
    /// Ends what is under way there.
    cancel: Cancel,
    /// Whether the farm failed in a way that every other job would meet too, and gets no more.
    lost: AtomicBool,
    /// Whether the cache has failed in a way that other jobs would meet too, and is asked no more.
    unusable: AtomicBool,
    /// The same, for what is written into it.
    unwritable: AtomicBool,
    /// Chooses the sample. Another one each time: who knows it beforehand could lie beside it.
    sample: RandomState,
}

impl<E: Executor> RemoteFarm<E> {
    /// Connects. Calls under way end when `stop` is set.
    ///
    /// # Errors
    /// When the remote cannot be used: nothing was done so far, and whoever asked for it should know.
    pub fn connect(
        setup: RemoteSetup,
        local: E,
        stop: Arc<AtomicBool>,
        on_trouble: OnTrouble,
    ) -> Result<RemoteFarm<E>, RemoteError> {
        let RemoteSetup { options, tool, platform, distrust_percent, fallback } = setup;
        let cancel = Cancel::new();
        let (on_trouble, queue) = (Arc::new(on_trouble), Arc::new(Queue::default()));
        look_after(stop, cancel.clone(), queue.clone(), on_trouble.clone()).map_err(|error| RemoteError::Options {
            what: "the threads of the connection".to_owned(),
            reason: error.to_string(),
            hint: None,
        })?;
        let executes = options.execution.is_some();
        Ok(RemoteFarm {
            remote: Remote::connect(&options, &cancel)?,
            executes,
            tool,
            platform,
            distrust_percent,
            fallback,
            // A farm does more jobs at once than this machine could.
            local: if executes { Bounded::by_cores(local) } else { Bounded::new(local, usize::MAX) },
            on_trouble,
            queue,
            cancel,
            lost: false.into(),
            unusable: false.into(),
            unwritable: false.into(),
            sample: RandomState::new(),
        })
    }

    /// Has it done by the farm; here, where the farm is lost and that is wanted.
    fn execute_there(&self, job: &Job<'_>, action: &Action, threads: usize) -> Result<Done, JobFailure> {
        let lost = || self.lost.load(Ordering::Relaxed);
        let left = || if self.fallback { self.local.execute(job, threads) } else { Err(JobFailure::NotTried) };
        if lost() {
            return left();
        }
        let mut place = self.queue.place();
        let executed = self.remote.execute(action, |stage| place.saw(&stage, Instant::now()));
        drop(place);
        let mut outcome = match executed {
            Ok(outcome) => outcome,
            // The first that notices speaks for all, and ends their waiting.
            Err(error) if error.is_of_every_action() && !self.lost.swap(true, Ordering::Relaxed) => {
                self.cancel.cancel();
                let problem = error.to_string();
                if !self.fallback {
                    let own = "with --remote-fallback, what a lost farm leaves is done on this machine";
                    let hint = error.hint().map_or_else(|| own.to_owned(), |hint| format!("{hint}; {own}"));
                    return Err(JobFailure::RemoteLost { problem, hint });
                }
                let what = format!("the remote farm is lost: {problem}");
                (self.on_trouble)(&what, "what is left is done on this machine");
                return left();
            }
            Err(_) if lost() => return left(),
            Err(error) => return Err(failed(&error)),
        };
        let artifact = outcome.outputs.remove(ARTIFACT).expect("an outcome has every output").bytes;
        let artifact =
            read_back(job, artifact).map_err(|error| JobFailure::RemoteArtifact { problem: error.to_string() })?;
        self.compare(job, Done { artifact: artifact.bytes, found: outcome.cached }, threads)
    }

    /// The artifact that the cache has. Trouble with it is said, and no reason to have none.
    fn find(&self, job: &Job<'_>, action: &Action) -> Result<Option<Vec<u8>>, JobFailure> {
        if self.unusable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut outcome = match self.remote.get_result(action) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(None),
            Err(RemoteError::Cancelled) => return Err(JobFailure::Interrupted),
            Err(error) if is_of_one_job(&error) => {
                (self.on_trouble)(&error.to_string(), "the job is done here");
                return Ok(None);
            }
            Err(error) => {
                if !self.unusable.swap(true, Ordering::Relaxed) {
                    (self.on_trouble)(&error.to_string(), "from here on without the remote cache");
                }
                return Ok(None);
            }
        };
        let artifact = outcome.outputs.remove(ARTIFACT).expect("an outcome has every output").bytes;
        match read_back(job, artifact) {
            Ok(artifact) => Ok(Some(artifact.bytes)),
            Err(error) => {
                let Job { input, profile } = job;
                let what = format!("the remote cache is wrong about {} for {}: {error}", input.name, profile.name);
                (self.on_trouble)(&what, "the job is done here");
                Ok(None)
            }
        }
    }

    /// Tells the cache what came of a job. That it will not have it stops nobody, and is said once.
    fn keep(&self, action: &Action, artifact: &[u8]) {
        if self.unusable.load(Ordering::Relaxed) || self.unwritable.load(Ordering::Relaxed) {
            return;
        }
        let output = Input { blob: Blob::new(artifact), executable: false };
        if let Err(error) = self.remote.update_result(action, &BTreeMap::from([(ARTIFACT.to_owned(), output)]))
            && !matches!(error, RemoteError::Cancelled)
            && !self.unwritable.swap(true, Ordering::Relaxed)
        {
            (self.on_trouble)(&error.to_string(), "the remote cache keeps nothing more this time");
        }
    }

    /// Makes some artifacts here too: a remote that lies about one job has lied.
    fn compare(&self, job: &Job<'_>, done: Done, threads: usize) -> Result<Done, JobFailure> {
        if self.sample.hash_one(job.digest().to_string()) % 100 >= u64::from(self.distrust_percent) {
            return Ok(done);
        }
        let own = self.local.execute(job, threads)?.artifact;
        if own == done.artifact {
            return Ok(done);
        }
        Err(JobFailure::RemoteLied { found: Digest::of(&done.artifact), expected: Digest::of(&own) })
    }
}

impl<E: Executor> Executor for RemoteFarm<E> {
    fn execute(&self, job: &Job<'_>, threads: usize) -> Result<Done, JobFailure> {
        let action = action(job, &self.tool, &self.platform);
        if self.executes {
            return self.execute_there(job, &action, threads);
        }
        if let Some(artifact) = self.find(job, &action)? {
            return self.compare(job, Done { artifact, found: true }, threads);
        }
        let done = self.local.execute(job, threads)?;
        // Others take it for granted: only what is right goes there.
        let artifact = read_back(job, done.artifact)?.bytes;
        self.keep(&action, &artifact);
        Ok(Done { artifact, ..done })
    }
}

const TOOL: &str = "isomer";
const MODULE: &str = "module.wasm";
const PROFILE: &str = "profile.toml";
const ARTIFACT: &str = "artifact.cwasm";

/// A job as the protocol has it.
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

/// Whether other jobs would not meet the same.
fn is_of_one_job(error: &RemoteError) -> bool {
    matches!(error, RemoteError::HashMismatch { .. } | RemoteError::TooLarge { .. } | RemoteError::Missing { .. })
}

fn failed(error: &RemoteError) -> JobFailure {
    match error {
        RemoteError::Cancelled => JobFailure::Interrupted,
        error => JobFailure::Remote { problem: error.to_string(), hint: error.hint() },
    }
}

/// Signal handlers may not take the lock that a cancellation takes, and nobody hears of a farm that does nothing: so
/// somebody has to look.
fn look_after(stop: Arc<AtomicBool>, cancel: Cancel, queue: Arc<Queue>, say: Arc<OnTrouble>) -> io::Result<()> {
    let watch = move || {
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK_INTERVAL);
            if let Some((jobs, waited)) = queue.overdue(Instant::now()) {
                let seconds = waited.as_secs();
                let what = format!("no worker of the farm has had a job of ours for {seconds} s; in its queue: {jobs}");
                say(&what, "it has no workers, or others' jobs are before ours; --remote-timeout bounds the wait");
            }
        }
        cancel.cancel();
    };
    thread::Builder::new().name("isomer-look".to_owned()).spawn(watch).map(drop)
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
