//! Versions that come and go while the server runs. In: what each route's source has active now, and requests to read the
//! settings again. Out: the next version in service once it is known to work, and back again if it fails more often than
//! the one before. Never here: a request that is lost: the old version ends with its last one.

use super::bounded::{GivenUp, bounded};
use super::clock::Clock;
use super::error::ServeError;
use super::metrics::{Metrics, Outcome};
use super::modules::{self, Ready};
use super::notices::{Notices, Wake};
use super::passing::is_passing;
use super::service::{Live, Service};
use super::settings::{Identity, RouteSettings, Settings};
use super::version::Version;
use isomer_contract::one_line;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How often probations are looked at, and sources are asked whose changes are not noticed.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often the others are asked, too: not every file system reports the changes of other machines.
const INTERVAL_WITH_NOTICES: Duration = Duration::from_secs(10);
/// How soon a version is tried again that was refused for something of the moment; then after twice as long each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// At most so long.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// How long the settings may take to be read again.
const READ_TIME: Duration = Duration::from_secs(10);
/// Fewer requests say nothing about a version.
const REQUESTS_MIN: u64 = 10;
/// So many per cent more failures than before are too many.
const MORE_PERCENT: u64 = 5;

/// Reads the settings again.
pub(super) type Reread = Arc<dyn Fn() -> Result<Settings, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// What a thread of its own keeps in service.
pub(super) struct Switch {
    pub(super) live: Arc<Live>,
    pub(super) settings: Settings,
    /// Whether sources are asked.
    pub(super) watch: bool,
    pub(super) reread: Option<Reread>,
    pub(super) clock: Arc<Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) executor: Handle,
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// One route, as it is followed.
#[derive(Debug)]
struct Followed {
    active: Identity,
    rejected: Option<Rejected>,
    probation: Option<Probation>,
}

/// A version that failed in its probation, or could not be served: it is not tried again until another is active, unless what
/// was wrong may have passed.
#[derive(Debug)]
struct Rejected {
    identity: Identity,
    retry: Option<Retry>,
}

/// When to try again, and how long that was waited for.
#[derive(Clone, Debug)]
struct Retry {
    due: Instant,
    waited: Duration,
    /// The last try, where that took too long: there is no other while it goes on, as on a disk that does not answer, or in a
    /// component's code that does not return.
    after: Option<GivenUp>,
}

impl Retry {
    /// The one after `last`, which ended with this error; none where it says something about the version itself.
    fn after(last: Option<&Retry>, error: &ServeError) -> Option<Retry> {
        let after = match error {
            ServeError::LoadTime(given_up) => Some(given_up.clone()),
            error if is_passing(error) => None,
            _ => return None,
        };
        // What took long is not tried as often: until it is given up again, no other route is looked at.
        let first = after.as_ref().map_or(RETRY_FIRST, GivenUp::time);
        let waited = last.map_or(first, |last| (last.waited * 2).max(first).min(RETRY_MAX.max(first)));
        Some(Retry { due: Instant::now() + waited, waited, after })
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due && self.after.as_ref().is_none_or(GivenUp::is_over)
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.waited.as_secs();
        match self.after {
            None => write!(f, "it is tried again in {seconds} s"),
            Some(_) => write!(f, "it is tried again once this try has ended, in {seconds} s at the earliest"),
        }
    }
}

impl Rejected {
    fn for_good(identity: Identity) -> Rejected {
        Rejected { identity, retry: None }
    }

    fn is_due(&self) -> bool {
        self.retry.as_ref().is_some_and(Retry::is_due)
    }
}

/// Of the version that answers.
#[derive(Clone, Debug)]
struct Probation {
    until: Instant,
    /// The version that it is compared with, and that answers again if it fails more often.
    before: Arc<Version>,
}

impl Probation {
    /// That of a version that answers instead of `before`, whose own probation may not be over.
    fn new(time: Duration, before: Arc<Version>, of_before: Option<&Probation>) -> Probation {
        let earlier = of_before.filter(|it| fails_more(&before, &it.before)).map(|it| Arc::clone(&it.before));
        // One that does badly itself is no measure for the next.
        Probation { until: Instant::now() + time, before: earlier.unwrap_or(before) }
    }
}

/// Whether `version` has failed more often than `other`.
fn fails_more(version: &Version, other: &Version) -> bool {
    let percent = |version: &Version| {
        let (answered, failed) = version.counts();
        failed.saturating_mul(100) / answered.max(1)
    };
    percent(version) > percent(other) + MORE_PERCENT
}

impl Switch {
    /// Starts the thread, which ends some time after the clock was stopped. It is woken through `wakes`, of which `wake` is
    /// the other end.
    pub(super) fn start(mut self, wakes: Receiver<Wake>, wake: Sender<Wake>) -> io::Result<()> {
        thread::Builder::new().name("switch".to_owned()).spawn(move || {
            let mut followed = self.follow();
            let mut notices = self.notices(&wake);
            let mut looked = Instant::now();
            while !self.clock.is_stopped() {
                let woken: Vec<_> = match wakes.recv_timeout(INTERVAL) {
                    // All that have arrived are handled as one: a reload reads the current files.
                    Ok(first) => std::iter::once(first).chain(wakes.try_iter()).collect(),
                    Err(RecvTimeoutError::Timeout) => Vec::new(),
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if woken.contains(&Wake::Reload)
                    && let Some(next) = self.reload(&followed)
                {
                    followed = next;
                    // Before the next: each has a descriptor and a thread.
                    drop(notices.take());
                    notices = self.notices(&wake);
                }
                let changed = !woken.is_empty();
                let are_noticed = notices.as_ref().is_some_and(Notices::are_complete);
                let interval = if are_noticed { INTERVAL_WITH_NOTICES } else { INTERVAL };
                let is_due = followed.iter().filter_map(|it| it.rejected.as_ref()).any(Rejected::is_due);
                let look = self.watch && (changed || is_due || looked.elapsed() >= interval);
                if look {
                    looked = Instant::now();
                }
                let service = self.live.get();
                for (index, followed) in followed.iter_mut().enumerate() {
                    self.check_probation(&service, index, followed);
                    if look {
                        self.look(&service, index, followed);
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Wakes the thread whenever a source may have another active version.
    fn notices(&self, wake: &Sender<Wake>) -> Option<Notices> {
        let directories: BTreeSet<_> =
            self.settings.routes.iter().flat_map(|route| route.source.directories()).collect();
        (self.watch && !directories.is_empty()).then(|| Notices::start(directories, wake.clone()))
    }

    fn follow(&self) -> Vec<Followed> {
        let routes = self.live.get();
        let active = routes.routes.iter().map(|route| route.live().identity.clone());
        active.map(|active| Followed { active, rejected: None, probation: None }).collect()
    }

    /// Switches a route to its active version, if that is another.
    fn look(&self, service: &Service, index: usize, followed: &mut Followed) {
        let (Some(route), Some(settings)) = (service.routes.get(index), self.settings.routes.get(index)) else {
            return;
        };
        let found = match settings.source.active() {
            Ok(found) if found != followed.active => found,
            Ok(_) => {
                followed.rejected = None;
                return;
            }
            // A store that is gone for a moment changes nothing.
            Err(error) => return tracing::debug!("cannot tell the active version: {}", one_line(&*error)),
        };
        let rejected = followed.rejected.as_ref().filter(|rejected| rejected.identity == found);
        if rejected.is_some_and(|rejected| !rejected.is_due()) {
            return;
        }
        let last = rejected.and_then(|rejected| rejected.retry.clone());
        let name = &*route.name;
        match modules::load_one(settings, &self.clock, &self.metrics, &self.executor) {
            // The active version may be another one than it was before this one was opened.
            Ok(Ready { version, .. }) if version.identity == followed.active => followed.rejected = None,
            Ok(Ready { version, .. }) => {
                let (label, identity) = (version.label.to_string(), version.identity.clone());
                let mark = settings.source.mark_live(&identity);
                let before = route.switch(Arc::new(version), mark);
                tracing::info!(target: "switch", route = name, from = &*before.label, to = label, "switched");
                self.metrics.switched(name, Outcome::Switched);
                let probation = Probation::new(settings.probation, before, followed.probation.as_ref());
                *followed = Followed { active: identity, rejected: None, probation: Some(probation) };
            }
            Err(error) => {
                let retry = Retry::after(last.as_ref(), &error);
                let again = retry.as_ref().map(|retry| format!("; {retry}"));
                let (error, again) = (one_line(&error), again.unwrap_or_default());
                tracing::error!(
                    target: "switch",
                    route = name,
                    "the active version is not served, the one before is: {error}{again}"
                );
                self.metrics.switched(name, Outcome::Refused);
                followed.rejected = Some(Rejected { identity: found, retry });
            }
        }
    }

    /// Switches back if the new version fails more often than the one before.
    fn check_probation(&self, service: &Service, index: usize, followed: &mut Followed) {
        let (Some(probation), Some(route)) = (&followed.probation, service.routes.get(index)) else { return };
        let Some(settings) = self.settings.routes.get(index) else { return };
        let now = route.live();
        let (answered, failed) = now.counts();
        if answered >= REQUESTS_MIN && fails_more(&now, &probation.before) {
            let before = Arc::clone(&probation.before);
            tracing::error!(
                target: "switch",
                route = &*route.name,
                from = &*now.label,
                to = &*before.label,
                "switched back: {failed} of {answered} requests failed"
            );
            self.metrics.switched(&route.name, Outcome::SwitchedBack);
            let failed = std::mem::replace(&mut followed.active, before.identity.clone());
            followed.rejected = Some(Rejected::for_good(failed));
            let mark = settings.source.mark_live(&before.identity);
            route.switch(before, mark);
            followed.probation = None;
        } else if Instant::now() >= probation.until {
            followed.probation = None;
        }
    }

    /// Reads the settings again and serves what they say, if all of it can be: what is followed then, or none where nothing
    /// has changed.
    fn reload(&mut self, followed: &[Followed]) -> Option<Vec<Followed>> {
        let Some(reread) = &self.reread else {
            tracing::warn!(target: "switch", "there is no settings file to read again");
            return None;
        };
        let unchanged = |error: &(dyn std::error::Error + 'static)| {
            tracing::error!(target: "switch", "the settings stay as they are: {}", one_line(error));
            None
        };
        let reread = Arc::clone(reread);
        let settings = match bounded(READ_TIME, move || reread()) {
            Ok(Ok(settings)) => settings,
            Ok(Err(error)) => return unchanged(&*error),
            Err(error) => return unchanged(&ServeError::from(error)),
        };
        let ready = match modules::load(&settings, &self.clock, &self.metrics, &self.executor) {
            Ok(ready) => ready,
            Err(error) => return unchanged(&error),
        };
        if needs_restart(&settings, &self.settings) {
            tracing::warn!(
                target: "switch",
                "addresses, TLS files and the server's own limits change when it is started again"
            );
        }
        let before = self.live.get();
        self.live.replace(Service::new(&settings, ready, &self.clock, &self.metrics));
        let mut next = self.follow();
        for (route, next) in settings.routes.iter().zip(&mut next) {
            if let Some(index) = self.settings.routes.iter().position(|other| differs_in_version_alone(other, route)) {
                next.probation = probation(route, &before, index, followed.get(index), &next.active);
            }
        }
        self.watch = settings.watch;
        self.settings = settings;
        tracing::info!(target: "switch", "the settings were read again");
        Some(next)
    }
}

/// Whether the server keeps something of `before` that `settings` have otherwise.
fn needs_restart(settings: &Settings, before: &Settings) -> bool {
    fn kept(it: &Settings) -> impl PartialEq {
        (&it.addresses, &it.limits, &it.tls, it.status_address, it.exit_on_stuck, it.reuse_port)
    }
    kept(settings) != kept(before)
}

/// Whether `route` differs from `before` in its module's version alone: the version before may be served again then, as it keeps
/// its grants and limits.
fn differs_in_version_alone(before: &RouteSettings, route: &RouteSettings) -> bool {
    fn kept(it: &RouteSettings) -> impl PartialEq {
        let grants = (&it.grants, &it.environment, &it.outgoing);
        (&it.pattern, name(&it.module), &it.limits, &it.instance, it.deadline, grants)
    }
    kept(before) == kept(route)
}

/// An installed module's name, without the version or digest behind it; of a file or a release, all of it.
fn name(module: &str) -> &str {
    if module.contains('/') { module } else { module.split([':', '@']).next().unwrap_or(module) }
}

/// The probation of the version `active` that a reload has brought into service for `route`, which was the route `index` of the
/// service `before`: a new one where the version is another, else what is left of the one that it was on.
fn probation(
    route: &RouteSettings,
    before: &Service,
    index: usize,
    followed: Option<&Followed>,
    active: &Identity,
) -> Option<Probation> {
    let (before, followed) = (before.routes.get(index)?.live(), followed?);
    if before.identity == *active {
        return followed.probation.clone();
    }
    Some(Probation::new(route.probation, before, followed.probation.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn what_took_too_long_is_tried_again_once_it_has_ended() {
        let (kept, forever) = sync_channel::<()>(0);
        let time = Duration::from_millis(20);
        let given_up = bounded(time, move || forever.recv()).expect_err("it does not end");
        let mut retry = Retry::after(None, &given_up.into()).expect("it may pass");
        retry.due = Instant::now();
        assert!(!retry.is_due(), "it goes on");
        drop(kept);
        isomer_testing::wait_until("it has ended", || retry.is_due());
        let again = Retry::after(Some(&retry), &ServeError::System(io::Error::from_raw_os_error(12)));
        assert_eq!(again.map(|again| again.waited), Some(RETRY_FIRST));
        assert!(Retry::after(None, &ServeError::CoreModule).is_none());
    }
}
