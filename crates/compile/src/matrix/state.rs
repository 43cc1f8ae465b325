//! The lifecycle of a cell, from "not compiled" to a stored artifact or the reason why it has none. Never here: a
//! transition. Those are methods of [`Matrix`](super::Matrix), and no other code can assign a state.
//!
//! | from | by | to |
//! |---|---|---|
//! | (new) | `Matrix::of` | `NotExpressible`, `Refused`, `Pending` |
//! | `Pending` | `recall` | `Finished` (kept or cached), `Predicted`, `Pending` with its reasons |
//! | `Pending` | `plan` | `SameJob`, or a job of its own |
//! | `Predicted` | `plan` | `Pending`, when the cell that it waits for has failed |
//! | `Predicted` | `resolve_predictions` | `Finished`, when that cell is finished |
//! | `Finished` nowhere | `plan` | `Pending`, when no other cell represents it any more |
//! | `Finished` in the cache | `fetched` | `Finished` in the sink; `Pending`, when the cache entry is damaged |
//! | `Pending`, `SameJob` | `finish` | `Finished`, `Failed`, `Unwritten` |

use crate::cache::Entry;
use crate::executor::JobFailure;
use crate::express::{NotExpressible, Refused};
use crate::maker::Maker;
use crate::why::Why;
use isomer_contract::Digest;
use isomer_contract::manifest::Blob;
use isomer_layout::{Layer, WriteError};
use std::sync::Arc;
use std::time::Duration;

/// The state of a cell: of one module for one profile.
#[derive(Clone, Debug)]
pub enum State {
    /// The profile cannot express the module, so it has no job.
    NotExpressible(NotExpressible),
    /// The module cannot be compiled for any target.
    Refused(Refused),
    /// Nothing spares its job, for these reasons. After planning: the job runs.
    Pending(Vec<Why>),
    /// The cell with this index has the same job, which runs once.
    SameJob(usize),
    /// The cell with this index, of the same module, is predicted to have the same code.
    Predicted(usize),
    /// Its code is known.
    Finished(Finished),
    /// Its job failed.
    Failed(JobFailure),
    /// Its job succeeded, and its artifact could not be written. The cells of one job may share the error.
    Unwritten(Arc<WriteError>),
}

impl State {
    /// Whether the cell should have an artifact and has none.
    pub fn is_failure(&self) -> bool {
        match self {
            State::Refused(_) | State::Failed(_) | State::Unwritten(_) => true,
            State::NotExpressible(_)
            | State::Pending(_)
            | State::SameJob(_)
            | State::Predicted(_)
            | State::Finished(_) => false,
        }
    }
}

/// What is known of a cell whose job is done.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// The digest of its code.
    pub code: Digest,
    /// Where its artifact is.
    pub location: Location,
    /// How its code became known.
    pub origin: Origin,
}

impl Finished {
    /// Its artifact in the sink, if it has one of its own.
    pub fn stored(&self) -> Option<Stored> {
        match self.location {
            Location::Sink(stored) => Some(stored),
            Location::Cache(_) | Location::Nowhere => None,
        }
    }

    /// How long its job took, when it ran for this cell in this build.
    pub fn took(&self) -> Option<Duration> {
        match self.origin {
            Origin::Compiled(took) => Some(took),
            Origin::Predicted { verified } => verified,
            Origin::SameJob(_) | Origin::CacheHit | Origin::Kept => None,
        }
    }
}

/// Where an artifact is.
#[derive(Clone, Copy, Debug)]
pub enum Location {
    /// In the sink: the file or the layout that is written.
    Sink(Stored),
    /// In the local cache.
    Cache(Entry),
    /// Not stored: the artifact of another cell represents it, and only the digest of its code is known.
    Nowhere,
}

/// An artifact in the sink.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Its digest and size.
    pub artifact: Blob,
    /// The same for the form in which it is stored.
    pub layer: Layer,
}

/// How the code of a cell became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled in this build, in this time.
    Compiled(Duration),
    /// It was compiled in this build for the cell with this index, which has the same job.
    SameJob(usize),
    /// A cache hit, local or remote.
    CacheHit,
    /// It was kept from the earlier release.
    Kept,
    /// It was predicted to equal the code of another cell.
    Predicted {
        /// How long the job took that confirmed the prediction, when all predictions were verified.
        verified: Option<Duration>,
    },
}

/// What a build did with a cell, or what it would do.
#[derive(Clone, Debug)]
pub struct CellReport {
    /// The module.
    pub module: String,
    /// The profile.
    pub target: String,
    /// The digest of its job.
    pub job: Digest,
    /// Its state.
    pub state: State,
    /// Who did its job, when that is done.
    pub maker: Maker,
    /// The profile whose artifact is shipped for it, when that is another one's: its code is equal and it requires no more.
    pub represented_by: Option<String>,
}
