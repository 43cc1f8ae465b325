//! In: calls from ordinary threads, any number at once. Out: their answers. Never here: async code that a caller has to
//! know about.

use crate::action::{Action, Input};
use crate::cancel::Cancel;
use crate::capabilities::{Use, check};
use crate::cas::Cas;
use crate::channel::Endpoint;
use crate::digest::{Blob, BlobDigest};
use crate::error::RemoteError;
use crate::execute::Execution;
use crate::options::Options;
use crate::results::{Outcome, Results};
use crate::retry::printable;
use crate::stage::Stage;
use crate::workers::Workers;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

/// A connection to a remote. Its calls block; do not make them on a thread of an async runtime.
pub struct Remote {
    /// `None` only while dropping.
    runtime: Option<Runtime>,
    cas: Cas,
    results: Results,
    execution: Option<Execution>,
    cancel: Cancel,
}

impl Remote {
    /// Connects, and checks at every address that the remote has the instance, speaks our version of the API, hashes
    /// with SHA-256, and executes if that is wanted.
    ///
    /// # Errors
    /// When an address cannot be reached or does not offer that, and when the options contradict each other.
    pub fn connect(options: &Options, cancel: &Cancel) -> Result<Remote, RemoteError> {
        // Two threads move the bytes; the callers' own threads do the rest.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| RemoteError::Options {
            what: "the threads of the connection".to_owned(),
            reason: error.to_string(),
            hint: None,
        })?;
        let (cas, results, execution) = block(&runtime, cancel, &options.cas, open(options))?;
        Ok(Remote { runtime: Some(runtime), cas, results, execution, cancel: cancel.clone() })
    }

    /// Which of these the remote does not have.
    ///
    /// # Errors
    /// When the remote refuses or cannot be reached, after the retries that the options allow.
    pub fn find_missing(&self, digests: &BTreeSet<BlobDigest>) -> Result<BTreeSet<BlobDigest>, RemoteError> {
        self.block(self.cas.find_missing(digests))
    }

    /// Sees to it that the remote has these, and returns how many bytes it lacked.
    ///
    /// # Errors
    /// As [`Remote::find_missing`].
    pub fn upload(&self, blobs: &[Blob]) -> Result<u64, RemoteError> {
        self.block(self.cas.upload(blobs))
    }

    /// The bytes of each, hashed.
    ///
    /// # Errors
    /// As [`Remote::find_missing`]; [`RemoteError::Missing`] for a blob that the remote does not have.
    pub fn download(&self, digests: &BTreeSet<BlobDigest>) -> Result<BTreeMap<BlobDigest, Vec<u8>>, RemoteError> {
        self.block(self.cas.download(digests))
    }

    /// What the cache has for this action, with all outputs downloaded and hashed. A cached failure, a result that
    /// lacks a declared output and one whose outputs are gone count as nothing.
    ///
    /// # Errors
    /// As [`Remote::find_missing`].
    pub fn get_result(&self, action: &Action) -> Result<Option<Outcome>, RemoteError> {
        self.block(self.results.get(&self.cas, action))
    }

    /// Tells the cache that the action makes these outputs, which are uploaded first.
    ///
    /// # Errors
    /// As [`Remote::find_missing`].
    pub fn update_result(&self, action: &Action, outputs: &BTreeMap<String, Input>) -> Result<(), RemoteError> {
        self.block(self.results.update(&self.cas, action, outputs))
    }

    /// Has the action executed, or takes its result from the cache, and downloads and hashes the outputs. `on_stage`
    /// is told where it is.
    ///
    /// # Errors
    /// [`RemoteError::Failed`] when the action fails, [`RemoteError::NoExecution`] when the remote only caches, and
    /// as [`Remote::find_missing`].
    pub fn execute(&self, action: &Action, mut on_stage: impl FnMut(Stage)) -> Result<Outcome, RemoteError> {
        let Some(execution) = &self.execution else {
            return Err(RemoteError::NoExecution { url: self.cas.endpoint.url.clone() });
        };
        // Not cancelled from outside: it still has to tell the remote.
        let work = execution.execute(&self.cas, action, &self.cancel, &mut on_stage);
        run(self.runtime(), &execution.endpoint.url, work)
    }

    fn block<T>(&self, work: impl Future<Output = Result<T, RemoteError>>) -> Result<T, RemoteError> {
        block(self.runtime(), &self.cancel, &self.cas.endpoint.url, work)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is only taken by drop")
    }
}

/// Does not wait for threads: looking up a host name cannot be interrupted.
impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn open(options: &Options) -> Result<(Cas, Results, Option<Execution>), RemoteError> {
    options.check_tls_is_used()?;
    let mut uses: BTreeMap<&str, Vec<Use>> = BTreeMap::new();
    uses.entry(&options.cas).or_default().push(Use::Blobs);
    uses.entry(&options.action_cache).or_default().push(Use::Results);
    if let Some(url) = &options.execution {
        uses.entry(url).or_default().push(Use::Execution);
    }
    let instance = &options.instance_name;
    // Services at one address share a connection. No address is asked before all options are known to be right.
    let endpoints =
        uses.into_iter().map(|(url, uses)| Endpoint::new(url, options).map(|endpoint| (url, uses, endpoint)));
    let endpoints: Vec<_> = endpoints.collect::<Result<_, RemoteError>>()?;
    let mut checked = BTreeMap::new();
    let until = Instant::now() + options.deadlines.total;
    for (url, uses, endpoint) in endpoints {
        let silence = |_| RemoteError::Unreachable {
            url: url.to_owned(),
            reason: format!("no answer about its capabilities within {} s", options.deadlines.total.as_secs_f32()),
        };
        // Where it cannot be reached at all, the retries end it earlier.
        let answer = timeout_at(until, check(&endpoint, instance, &uses)).await;
        let limits = answer.map_err(silence)??;
        checked.insert(url, (endpoint, limits));
    }
    let of = |url: &str| checked[url].clone();
    let (endpoint, limits) = of(&options.cas);
    let cas = Cas {
        endpoint,
        instance: instance.clone(),
        limits,
        blob_size_bytes_max: options.blob_size_bytes_max,
        large: tokio::sync::Mutex::new(()),
    };
    let (endpoint, limits) = of(&options.action_cache);
    let results = Results { endpoint, instance: instance.clone(), update_enabled: limits.update_enabled };
    let execution = options.execution.as_deref().map(|url| Execution {
        endpoint: of(url).0,
        instance: instance.clone(),
        skip_cache_lookup: options.skip_cache_lookup,
        workers: Workers::default(),
    });
    Ok((cas, results, execution))
}

fn block<T>(
    runtime: &Runtime,
    cancel: &Cancel,
    url: &str,
    work: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    run(runtime, url, async {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RemoteError::Cancelled),
            result = work => result,
        }
    })
}

/// tonic panics on a status whose details are no base64: no remote may take the caller down with that. Every other
/// panic is a bug, and goes on.
fn run<T>(runtime: &Runtime, url: &str, work: impl Future<Output = Result<T, RemoteError>>) -> Result<T, RemoteError> {
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(work))).unwrap_or_else(|panic| {
        match panic.downcast_ref::<String>().filter(|text| text.starts_with("Invalid status header")) {
            Some(text) => {
                Err(RemoteError::InvalidResponse { url: url.to_owned(), call: "a call", reason: printable(text, 200) })
            }
            None => resume_unwind(panic),
        }
    })
}
