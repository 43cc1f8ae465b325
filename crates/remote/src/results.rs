//! In: an action, and what the action cache or a worker says about it. Out: its outputs, hashed. Never here: belief in
//! a cached failure, or in a result that lacks an output.

use crate::action::{Action, Input};
use crate::cas::Cas;
use crate::channel::{Endpoint, MESSAGE_SIZE_BYTES_MAX, inner};
use crate::digest::{Blob, BlobDigest};
use crate::error::RemoteError;
use crate::retry::printable;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use reapi::action_cache_client::ActionCacheClient;
use std::collections::{BTreeMap, BTreeSet};
use tonic::Code;

/// More of what an action prints is not fetched.
const PRINTED_BYTES_MAX: u64 = 1 << 20;
/// More of what an action prints is not shown.
const PRINTED_CHARACTERS_MAX: usize = 16 << 10;

/// An action that succeeded.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every declared output by its path.
    pub outputs: BTreeMap<String, Output>,
    /// What it printed on standard error.
    pub stderr: String,
    /// Whether the cache had it.
    pub cached: bool,
    /// The name of the worker, if the remote gives it.
    pub worker: String,
}

/// One output file.
#[derive(Clone)]
pub struct Output {
    /// The name of its bytes.
    pub digest: BlobDigest,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Output({}, executable: {})", self.digest, self.executable)
    }
}

/// The action cache of one instance.
pub(crate) struct Results {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: String,
    pub(crate) update_enabled: bool,
}

impl Results {
    /// A cached success whose outputs are all there; anything less is no result.
    pub(crate) async fn get(&self, cas: &Cas, action: &Action) -> Result<Option<Outcome>, RemoteError> {
        let Some(result) = self.lookup(action).await? else { return Ok(None) };
        if result.exit_code != 0 {
            tracing::info!(action = %action.digest, exit_code = result.exit_code, "a cached failure is ignored");
            return Ok(None);
        }
        match outcome(cas, action, &result, true).await {
            Err(RemoteError::Missing { digest, .. }) => {
                tracing::info!(action = %action.digest, %digest, "a cached result whose output is gone");
                Ok(None)
            }
            Err(RemoteError::MissingOutput { path, .. }) => {
                tracing::info!(action = %action.digest, path, "a cached result without this output");
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    async fn lookup(&self, action: &Action) -> Result<Option<reapi::ActionResult>, RemoteError> {
        let message = reapi::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.digest.to_message()),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
            ..reapi::GetActionResultRequest::default()
        };
        self.endpoint
            .call("GetActionResult", async || {
                let request = self.endpoint.request(message.clone(), Some(action.digest));
                match self.client().get_action_result(request).await {
                    Ok(answer) => Ok(Some(inner(answer))),
                    Err(status) if status.code() == Code::NotFound => Ok(None),
                    Err(status) => Err(status),
                }
            })
            .await
    }

    /// Uploads the outputs, then says that they are the action's.
    pub(crate) async fn update(
        &self,
        cas: &Cas,
        action: &Action,
        outputs: &BTreeMap<String, Input>,
    ) -> Result<(), RemoteError> {
        if !self.update_enabled {
            return Err(RemoteError::ReadOnly { url: self.endpoint.url.clone() });
        }
        if let Some(path) = action.outputs.iter().find(|path| !outputs.contains_key(*path)) {
            let url = self.endpoint.url.clone();
            return Err(RemoteError::MissingOutput { url, path: path.clone(), stderr: String::new() });
        }
        // Some remotes refuse results of actions that they cannot read, but none requests the inputs.
        let blobs: Vec<Blob> =
            action.messages.values().chain(outputs.values().map(|output| &output.blob)).cloned().collect();
        cas.upload(&blobs).await?;
        let files = outputs.iter().map(|(path, output)| reapi::OutputFile {
            path: path.clone(),
            digest: Some(output.blob.digest().to_message()),
            is_executable: output.executable,
            ..reapi::OutputFile::default()
        });
        let message = reapi::UpdateActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.digest.to_message()),
            action_result: Some(reapi::ActionResult {
                output_files: files.collect(),
                ..reapi::ActionResult::default()
            }),
            results_cache_policy: None,
            digest_function: reapi::digest_function::Value::Sha256 as i32,
        };
        self.endpoint
            .call("UpdateActionResult", async || {
                let request = self.endpoint.request(message.clone(), Some(action.digest));
                self.client().update_action_result(request).await
            })
            .await?;
        Ok(())
    }

    fn client(&self) -> ActionCacheClient<tonic::transport::Channel> {
        ActionCacheClient::new(self.endpoint.channel.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES_MAX)
    }
}

/// Fetches what the action was to make, and hashes it.
pub(crate) async fn outcome(
    cas: &Cas,
    action: &Action,
    result: &reapi::ActionResult,
    cached: bool,
) -> Result<Outcome, RemoteError> {
    const CALL: &str = "an action's result";
    let mut outputs = BTreeMap::new();
    let mut wanted = Vec::new();
    for path in &action.outputs {
        let Some(file) = result.output_files.iter().find(|file| file.path == *path) else {
            let (url, stderr) = (cas.endpoint.url.clone(), stderr(cas, result).await);
            return Err(RemoteError::MissingOutput { url, path: path.clone(), stderr });
        };
        let digest = file.digest.as_ref().and_then(BlobDigest::from_message);
        let digest = digest
            .ok_or_else(|| cas.endpoint.invalid_response(CALL, format!("the digest of `{path}` is not a SHA-256")))?;
        if file.contents.is_empty() {
            wanted.push((path, digest, file.is_executable));
        } else {
            let bytes = cas.verified(digest, file.contents.clone())?;
            outputs.insert(path.clone(), Output { digest, bytes, executable: file.is_executable });
        }
    }
    let digests: BTreeSet<_> = wanted.iter().map(|(_, digest, _)| *digest).collect();
    let found = cas.download(&digests).await?;
    for (path, digest, executable) in wanted {
        outputs.insert(path.clone(), Output { digest, bytes: found[&digest].clone(), executable });
    }
    let worker = result.execution_metadata.as_ref().map(|metadata| metadata.worker.clone()).unwrap_or_default();
    Ok(Outcome { outputs, stderr: stderr(cas, result).await, cached, worker: printable(&worker, 200) })
}

/// The end of what the action printed on standard error. It explains a failure, so failing to get it is not another.
pub(crate) async fn stderr(cas: &Cas, result: &reapi::ActionResult) -> String {
    let bytes = if result.stderr_raw.is_empty() {
        fetched(cas, result.stderr_digest.as_ref()).await
    } else {
        Ok(result.stderr_raw.clone())
    };
    match bytes {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let skipped = text.chars().count().saturating_sub(PRINTED_CHARACTERS_MAX);
            let end: String = text.chars().skip(skipped).collect();
            printable(&end, PRINTED_CHARACTERS_MAX)
        }
        Err(reason) => format!("(its standard error cannot be shown: {reason})"),
    }
}

async fn fetched(cas: &Cas, digest: Option<&reapi::Digest>) -> Result<Vec<u8>, String> {
    let Some(message) = digest else { return Ok(Vec::new()) };
    let digest = BlobDigest::from_message(message).ok_or("its digest is not a SHA-256")?;
    if digest.size_bytes() > PRINTED_BYTES_MAX {
        return Err(format!("it has {} bytes, expected at most {PRINTED_BYTES_MAX}", digest.size_bytes()));
    }
    let mut found = cas.download(&BTreeSet::from([digest])).await.map_err(|error| error.to_string())?;
    Ok(found.remove(&digest).unwrap_or_default())
}
