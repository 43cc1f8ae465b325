//! In: a request that everything stop (Ctrl-C, the first failure). Out: every call under way ends with
//! [`RemoteError::Cancelled`](crate::RemoteError::Cancelled). Never here: a signal handler.

use std::sync::Arc;
use tokio::sync::watch;

/// Stops every call of the remotes that were connected with it, from any thread. Clones are the same token.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Cancel {
    /// A token that is not cancelled.
    pub fn new() -> Cancel {
        Cancel(Arc::new(watch::Sender::new(false)))
    }

    /// Ends calls under way, and those that are made later. Not for signal handlers themselves: it takes a lock.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    pub(crate) async fn cancelled(&self) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self.0.subscribe().wait_for(|cancelled| *cancelled).await;
    }
}

impl Default for Cancel {
    fn default() -> Cancel {
        Cancel::new()
    }
}
