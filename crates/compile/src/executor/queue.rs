//! In: the stages of our jobs on a farm, as it reports them. Out: when all of them have waited for a while and no worker
//! runs one. A farm that is busy with the jobs of others, or has no workers, looks like one that hangs.

use isomer_remote::Stage;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After how long a wait is first reported; then after twice as long each time.
const PATIENCE: Duration = Duration::from_secs(60);

/// All our jobs there.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: usize,
    running: usize,
    /// Since when some wait and none runs, and after how long that is reported next.
    idle: Option<(Instant, Duration)>,
}

/// One job on the farm. It has left the farm once this is dropped.
pub(super) struct QueuedJob<'a> {
    queue: &'a Queue,
    stage: QueueStage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum QueueStage {
    Elsewhere,
    Waiting,
    Running,
}

impl Queue {
    /// A job that the farm has reported nothing of so far.
    pub(super) fn job(&self) -> QueuedJob<'_> {
        QueuedJob { queue: self, stage: QueueStage::Elsewhere }
    }

    /// How many jobs wait, and for how long already, when that is to be reported.
    pub(super) fn overdue(&self, now: Instant) -> Option<(usize, Duration)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.waiting;
        let (since, patience) = state.idle.as_mut()?;
        let waited = now.saturating_duration_since(*since);
        (waited >= *patience).then(|| {
            *patience *= 2;
            (waiting, waited)
        })
    }
}

impl QueuedJob<'_> {
    /// The farm reports a stage of the job.
    pub(super) fn saw(&mut self, stage: &Stage, now: Instant) {
        match stage {
            Stage::Queued | Stage::Requeued => self.go(QueueStage::Waiting, now),
            Stage::Executing => self.go(QueueStage::Running, now),
            Stage::Uploaded { .. } | Stage::UploadingAgain { .. } => self.go(QueueStage::Elsewhere, now),
            // Its stage in the queue is the same.
            _ => {}
        }
    }

    fn go(&mut self, to: QueueStage, now: Instant) {
        let mut state = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { waiting, running, idle } = &mut *state;
        for (stage, change) in [(self.stage, -1), (to, 1)] {
            let count = match stage {
                QueueStage::Elsewhere => continue,
                QueueStage::Waiting => &mut *waiting,
                QueueStage::Running => &mut *running,
            };
            *count = count.saturating_add_signed(change);
        }
        *idle = if *waiting > 0 && *running == 0 { idle.or(Some((now, PATIENCE))) } else { None };
        self.stage = to;
    }
}

impl Drop for QueuedJob<'_> {
    fn drop(&mut self) {
        self.go(QueueStage::Elsewhere, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_reported_when_all_jobs_wait_and_none_runs() {
        let queue = Queue::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut a, mut b) = (queue.job(), queue.job());
        assert_eq!(queue.overdue(at(1000)), None, "no job is there");
        a.saw(&Stage::Queued, at(0));
        b.saw(&Stage::Queued, at(30));
        assert_eq!(queue.overdue(at(59)), None);
        assert_eq!(queue.overdue(at(60)), Some((2, Duration::from_secs(60))));
        assert_eq!(queue.overdue(at(119)), None, "it was reported");
        assert_eq!(queue.overdue(at(120)), Some((2, Duration::from_secs(120))));
        b.saw(&Stage::Executing, at(200));
        b.saw(&Stage::Retrying { reason: String::new() }, at(210));
        assert_eq!(queue.overdue(at(1000)), None, "a worker runs one");
        b.saw(&Stage::Requeued, at(1000));
        assert_eq!(queue.overdue(at(1059)), None, "from then on");
        assert_eq!(queue.overdue(at(1060)), Some((2, Duration::from_secs(60))));
        drop(a);
        assert_eq!(queue.overdue(at(1120)), Some((1, Duration::from_secs(120))));
        drop(b);
        assert_eq!(queue.overdue(at(9000)), None);
    }
}
