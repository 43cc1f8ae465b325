//! In: an action. Out: its outcome, made by a worker. The path: upload what is missing, follow the operation
//! (`operation`), read its answer layer by layer, fetch the outputs. Never here: an end without a deadline, a cached
//! failure that is trusted.

use crate::action::Action;
use crate::cancel::Cancel;
use crate::cas::Cas;
use crate::channel::{Endpoint, within};
use crate::error::{Deadline, RemoteError};
use crate::operation::{Answer, Operation};
use crate::options::Deadlines;
use crate::results::{Outcome, outcome, stderr};
use crate::retry::{Budget, describe};
use crate::stage::Stage;
use crate::workers::Workers;
use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
use bazel_remote_apis::google::longrunning::CancelOperationRequest;
use bazel_remote_apis::google::longrunning::operations_client::OperationsClient;
use std::cell::{Cell, RefCell};
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How long we stay to say that an operation is no longer wanted.
const GOODBYE: Duration = Duration::from_secs(3);

/// Executes actions.
pub(crate) struct Execution {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: String,
    pub(crate) skip_cache_lookup: bool,
    pub(crate) workers: Workers,
}

impl Execution {
    /// Runs to the end, to the total deadline or to the cancellation, and leaves no operation behind.
    pub(crate) async fn execute(
        &self,
        cas: &Cas,
        action: &Action,
        cancel: &Cancel,
        on_stage: &mut dyn FnMut(Stage),
    ) -> Result<Outcome, RemoteError> {
        let running = RefCell::new(None);
        let in_queue = Cell::new(false);
        let on_stage = &mut |stage| {
            // A connection that breaks moves no queue.
            if !matches!(stage, Stage::Retrying { .. }) {
                in_queue.set(matches!(stage, Stage::Queued | Stage::Requeued));
            }
            on_stage(stage);
        };
        let total = self.deadlines().total;
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(RemoteError::Cancelled),
            () = tokio::time::sleep(total) => {
                Err(self.endpoint.too_late(if in_queue.get() { Deadline::TotalInQueue } else { Deadline::Total }, total))
            }
            result = self.run(cas, action, &running, on_stage) => result,
        };
        if let (Err(RemoteError::Cancelled | RemoteError::Deadline { .. }), Some(name)) = (&result, running.take()) {
            self.cancel(name).await;
        }
        result
    }

    fn deadlines(&self) -> &Deadlines {
        &self.endpoint.deadlines
    }

    async fn run(
        &self,
        cas: &Cas,
        action: &Action,
        running: &RefCell<Option<String>>,
        on_stage: &mut dyn FnMut(Stage),
    ) -> Result<Outcome, RemoteError> {
        let blobs = action.blobs();
        on_stage(Stage::Uploaded { size_bytes: cas.upload(&blobs).await? });
        let mut skip_cache_lookup = self.skip_cache_lookup;
        let mut uploads = 0;
        let mut budget = Budget::new(&self.endpoint.retry);
        loop {
            let mut operation = Operation {
                endpoint: &self.endpoint,
                instance: &self.instance,
                workers: &self.workers,
                action,
                skip_cache_lookup,
                running,
                budget: &mut budget,
            };
            let answer = operation.follow(on_stage).await?;
            // The operation is over: there is nothing left to cancel.
            running.take();
            let response = match answer {
                Answer::Response(response) => response,
                Answer::Refusal(status) => {
                    if names_missing_blobs(&status) && uploads < self.endpoint.retry.uploads_max {
                        uploads += 1;
                        on_stage(Stage::UploadingAgain { reason: describe(&status) });
                        cas.upload_again(&blobs).await?;
                    } else {
                        budget.after(&self.endpoint.url, "Execute", &status).await?;
                        on_stage(Stage::Retrying { reason: describe(&status) });
                    }
                    continue;
                }
            };
            let result = self.judge(cas, action, &response).await;
            let stale = match &result {
                Err(RemoteError::Failed { .. } | RemoteError::MissingOutput { .. }) => response.cached_result,
                Err(RemoteError::Missing { .. }) => true,
                _ => false,
            };
            if !stale || skip_cache_lookup {
                return result;
            }
            skip_cache_lookup = true;
            on_stage(Stage::PassingCache);
        }
    }

    async fn judge(
        &self,
        cas: &Cas,
        action: &Action,
        response: &reapi::ExecuteResponse,
    ) -> Result<Outcome, RemoteError> {
        let Some(result) = &response.result else {
            return Err(self.endpoint.invalid_response("Execute", "neither an error nor a result"));
        };
        if result.exit_code == 0 {
            return outcome(cas, action, result, response.cached_result).await;
        }
        let (url, stderr) = (self.endpoint.url.clone(), stderr(cas, result).await);
        Err(RemoteError::Failed { url, exit_code: result.exit_code, stderr })
    }

    /// Best effort: a remote may not be able to, and our own end must not wait for it.
    async fn cancel(&self, name: String) {
        let mut client = OperationsClient::new(self.endpoint.channel.clone());
        let request = self.endpoint.request(CancelOperationRequest { name }, None);
        if let Err(status) = within(GOODBYE, client.cancel_operation(request)).await {
            tracing::debug!(reason = describe(&status), "the operation could not be cancelled");
        }
    }
}

/// Remotes say in different ways that an input is gone, none of them clear: NOT_FOUND, FAILED_PRECONDITION, INTERNAL.
/// Where details come with it they decide.
fn names_missing_blobs(status: &Status) -> bool {
    let details: ErrorDetails = status.get_error_details();
    match details.precondition_failure() {
        Some(failure) => failure.violations.iter().any(|violation| violation.r#type == "MISSING"),
        None => matches!(status.code(), Code::NotFound | Code::FailedPrecondition | Code::Internal),
    }
}
