//! In: an action that the remote has all inputs of. Out: what became of its operation, whatever broke on the way. Never
//! here: a judgement of the result.

use crate::action::Action;
use crate::channel::{Endpoint, MESSAGE_SIZE_BYTES_MAX, inner};
use crate::error::{Deadline, RemoteError};
use crate::retry::{Budget, describe, may_pass};
use crate::stage::Stage;
use crate::workers::{Busy, Workers};
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::{longrunning, protobuf, rpc};
use longrunning::operation::Result as Ended;
use prost::Message;
use reapi::execution_client::ExecutionClient;
use reapi::execution_stage::Value as Reported;
use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

/// A stream that lived this long was no failure of the remote: connections through load balancers do not last.
const LONG_LIVED: Duration = Duration::from_secs(5);

/// How an operation ended.
pub(crate) enum Answer {
    /// The action was executed, or its result was cached.
    Response(Box<reapi::ExecuteResponse>),
    /// It was not: from any of the three layers that can say so.
    Refusal(Status),
}

/// One action under way.
pub(crate) struct Operation<'a, 'b> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) instance: &'a str,
    pub(crate) workers: &'a Workers,
    pub(crate) action: &'a Action,
    pub(crate) skip_cache_lookup: bool,
    /// The name of the operation, for its cancellation.
    pub(crate) running: &'a RefCell<Option<String>>,
    pub(crate) budget: &'a mut Budget<'b>,
}

/// The last stage that the remote reported, and since when.
struct Watch {
    stage: Option<Reported>,
    since: Instant,
    /// While a worker has it.
    _busy: Option<Busy>,
}

enum Broken {
    /// It may be taken up again.
    Stream(Status),
    /// It may not.
    For(RemoteError),
}

impl Operation<'_, '_> {
    /// Follows it over as many connections as it takes.
    pub(crate) async fn follow(&mut self, on_stage: &mut dyn FnMut(Stage)) -> Result<Answer, RemoteError> {
        let mut watch = Watch::begin();
        loop {
            let name = self.running.borrow().clone();
            let call = if name.is_some() { "WaitExecution" } else { "Execute" };
            let begun = Instant::now();
            let status = match self.once(name.clone(), &mut watch, on_stage).await {
                Ok(operation) => return self.ended(operation),
                Err(Broken::For(error)) => return Err(error),
                Err(Broken::Stream(status)) => status,
            };
            if begun.elapsed() >= LONG_LIVED {
                self.budget.progress();
            }
            let url = &self.endpoint.url;
            match status.code() {
                // The remote has lost the operation, or cannot wait for one: Execute finds it if it is there.
                Code::NotFound | Code::Unimplemented if name.is_some() => {
                    self.running.take();
                    watch = Watch::begin();
                    let lost = Status::unavailable(format!("the operation was lost: {}", describe(&status)));
                    self.budget.after(url, call, &lost).await?;
                }
                // Inputs may be missing; that is not ours to judge.
                Code::NotFound | Code::FailedPrecondition => return Ok(Answer::Refusal(status)),
                Code::Internal if name.is_none() && !status.message().is_empty() && is_answer(&status) => {
                    return Ok(Answer::Refusal(status));
                }
                _ => self.budget.after(url, call, &status).await?,
            }
            on_stage(Stage::Retrying { reason: describe(&status) });
        }
    }

    /// One stream, to its end.
    async fn once(
        &self,
        name: Option<String>,
        watch: &mut Watch,
        on_stage: &mut dyn FnMut(Stage),
    ) -> Result<longrunning::Operation, Broken> {
        let endpoint = self.endpoint;
        let mut client =
            ExecutionClient::new(endpoint.channel.clone()).max_decoding_message_size(MESSAGE_SIZE_BYTES_MAX);
        let digest = Some(self.action.digest);
        let answer = async {
            match name {
                Some(name) => {
                    client.wait_execution(endpoint.request(reapi::WaitExecutionRequest { name }, digest)).await
                }
                None => client.execute(endpoint.request(self.request(), digest)).await,
            }
        };
        let mut operations: Streaming<longrunning::Operation> = inner(self.in_time(watch, answer).await?);
        while let Some(operation) = self.in_time(watch, operations.message()).await? {
            if !operation.name.is_empty() {
                self.running.replace(Some(operation.name.clone()));
            }
            if operation.done {
                return Ok(operation);
            }
            if let Some(stage) = operation.metadata.as_ref().and_then(reported) {
                watch.report(stage, self.workers, on_stage);
            }
        }
        Err(Broken::Stream(Status::unavailable("the stream ended before the operation")))
    }

    fn request(&self) -> reapi::ExecuteRequest {
        reapi::ExecuteRequest {
            instance_name: self.instance.to_owned(),
            skip_cache_lookup: self.skip_cache_lookup,
            action_digest: Some(self.action.digest.to_message()),
            digest_function: reapi::digest_function::Value::Sha256 as i32,
            inline_stderr: true,
            ..reapi::ExecuteRequest::default()
        }
    }

    /// Waits for the next message as long as the stage allows.
    async fn in_time<T>(&self, watch: &Watch, next: impl Future<Output = Result<T, Status>>) -> Result<T, Broken> {
        let (deadline, limit) = self.limit(watch.stage);
        let mut next = pin!(next);
        let mut left = limit.saturating_sub(watch.since.elapsed());
        loop {
            if let Ok(next) = timeout(left, &mut next).await {
                return next.map_err(Broken::Stream);
            }
            // A queue that others of ours are leaving moves.
            let idle = self.workers.idle_since(watch.since).elapsed();
            if deadline != Deadline::Queue || idle >= limit {
                return Err(Broken::For(self.endpoint.too_late(deadline, limit)));
            }
            left = limit - idle;
        }
    }

    /// A remote that reports no stages cannot be told whether it queues or executes.
    fn limit(&self, stage: Option<Reported>) -> (Deadline, Duration) {
        let deadlines = &self.endpoint.deadlines;
        let action = self.action.timeout.saturating_add(deadlines.transfer);
        match stage {
            Some(Reported::Executing | Reported::Completed) => (Deadline::Action, action),
            Some(Reported::Queued | Reported::CacheCheck) => (Deadline::Queue, deadlines.queue),
            Some(Reported::Unknown) | None => (Deadline::QueueAndAction, deadlines.queue.saturating_add(action)),
        }
    }

    /// Three layers of errors lie over an exit code: that of the call, the operation's, the response's.
    fn ended(&self, operation: longrunning::Operation) -> Result<Answer, RemoteError> {
        let invalid = |reason: &str| self.endpoint.invalid_response("Execute", reason);
        let response = match operation.result {
            None => return Err(invalid("an operation that is done without a result")),
            Some(Ended::Error(status)) => return Ok(Answer::Refusal(to_status(&status))),
            Some(Ended::Response(response)) => response,
        };
        if !is_a(&response, "ExecuteResponse") {
            return Err(invalid("an operation whose result is not an ExecuteResponse"));
        }
        let response = reapi::ExecuteResponse::decode(response.value.as_slice())
            .map_err(|error| invalid(&format!("an ExecuteResponse that cannot be decoded: {error}")))?;
        match response.status.as_ref().map(to_status) {
            Some(status) if status.code() == Code::DeadlineExceeded => {
                Err(self.endpoint.too_late(Deadline::Action, self.action.timeout))
            }
            Some(status) if status.code() != Code::Ok => Ok(Answer::Refusal(status)),
            _ => Ok(Answer::Response(Box::new(response))),
        }
    }
}

impl Watch {
    fn begin() -> Watch {
        Watch { stage: None, since: Instant::now(), _busy: None }
    }

    fn report(&mut self, stage: Reported, workers: &Workers, on_stage: &mut dyn FnMut(Stage)) {
        if self.stage == Some(stage) {
            return;
        }
        match (self.stage, stage) {
            (Some(Reported::Executing), Reported::Queued) => on_stage(Stage::Requeued),
            (_, Reported::Queued) => on_stage(Stage::Queued),
            (_, Reported::CacheCheck) => on_stage(Stage::CacheCheck),
            (_, Reported::Executing) => on_stage(Stage::Executing),
            (_, Reported::Unknown | Reported::Completed) => {}
        }
        let _busy = (stage == Reported::Executing).then(|| workers.busy());
        *self = Watch { stage: Some(stage), since: Instant::now(), _busy };
    }
}

/// The stage in an operation's metadata; some remotes put something else there.
fn reported(metadata: &protobuf::Any) -> Option<Reported> {
    if !is_a(metadata, "ExecuteOperationMetadata") {
        return None;
    }
    let metadata = reapi::ExecuteOperationMetadata::decode(metadata.value.as_slice()).ok()?;
    Reported::try_from(metadata.stage).ok()
}

fn is_a(any: &protobuf::Any, name: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(&format!("build.bazel.remote.execution.v2.{name}"))
}

/// The details are kept: they say how long to wait and which blobs are missing.
fn to_status(status: &rpc::Status) -> Status {
    Status::with_details(Code::from_i32(status.code), status.message.clone(), status.encode_to_vec().into())
}

/// Whether this is from the remote, rather than the connection's end.
fn is_answer(status: &Status) -> bool {
    std::error::Error::source(status).is_none() && may_pass(status.code())
}
