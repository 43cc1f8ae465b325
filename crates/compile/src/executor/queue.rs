//! In: where our jobs on a farm are, as it tells. Out: when all of them have waited for a while and no worker has one: a
//! farm that is busy with others' work, or has no workers, looks like one that hangs.

use isomer_remote::Stage;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After how long it is said first; then after twice as long each time.
const PATIENCE: Duration = Duration::from_secs(60);

/// All our jobs there.
#[derive(Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: usize,
    working: usize,
    /// Since when some wait and none is worked at, and after how long that is said next.
    idle: Option<(Instant, Duration)>,
}

/// Where one job is; nowhere once this is dropped.
pub(super) struct Place<'a> {
    queue: &'a Queue,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Elsewhere,
    Waiting,
    Working,
}

impl Queue {
    /// A job that the farm says nothing of so far.
    pub(super) fn place(&self) -> Place<'_> {
        Place { queue: self, at: At::Elsewhere }
    }

    /// How many wait, and for how long already, when that is to be said.
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

impl Place<'_> {
    /// The farm says where it is.
    pub(super) fn saw(&mut self, stage: &Stage, now: Instant) {
        match stage {
            Stage::Queued | Stage::Requeued => self.go(At::Waiting, now),
            Stage::Executing => self.go(At::Working, now),
            Stage::Uploaded { .. } | Stage::UploadingAgain { .. } => self.go(At::Elsewhere, now),
            // It is where it was.
            _ => {}
        }
    }

    fn go(&mut self, to: At, now: Instant) {
        let mut state = self.queue.0.lock().unwrap_or_else(PoisonError::into_inner);
        let State { waiting, working, idle } = &mut *state;
        for (at, change) in [(self.at, -1), (to, 1)] {
            let count = match at {
                At::Elsewhere => continue,
                At::Waiting => &mut *waiting,
                At::Working => &mut *working,
            };
            *count = count.saturating_add_signed(change);
        }
        *idle = if *waiting > 0 && *working == 0 { idle.or(Some((now, PATIENCE))) } else { None };
        self.at = to;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.go(At::Elsewhere, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_when_all_wait_and_none_is_worked_at() {
        let queue = Queue::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let (mut a, mut b) = (queue.place(), queue.place());
        assert_eq!(queue.overdue(at(1000)), None, "nothing is there");
        a.saw(&Stage::Queued, at(0));
        b.saw(&Stage::Queued, at(30));
        assert_eq!(queue.overdue(at(59)), None);
        assert_eq!(queue.overdue(at(60)), Some((2, Duration::from_secs(60))));
        assert_eq!(queue.overdue(at(119)), None, "it was said");
        assert_eq!(queue.overdue(at(120)), Some((2, Duration::from_secs(120))));
        b.saw(&Stage::Executing, at(200));
        b.saw(&Stage::Retrying { reason: String::new() }, at(210));
        assert_eq!(queue.overdue(at(1000)), None, "a worker has one");
        b.saw(&Stage::Requeued, at(1000));
        assert_eq!(queue.overdue(at(1059)), None, "from then on");
        assert_eq!(queue.overdue(at(1060)), Some((2, Duration::from_secs(60))));
        drop(a);
        assert_eq!(queue.overdue(at(1120)), Some((1, Duration::from_secs(120))));
        drop(b);
        assert_eq!(queue.overdue(at(9000)), None);
    }
}
