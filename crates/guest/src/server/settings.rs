//! What is served, where and within which limits. In: a program's options, or a settings file. Out: [`Settings`]. Never
//! here: an artifact that is opened.

use super::limits::{RouteLimits, ServerLimits};
use super::listener::Address;
use super::route::Pattern;
use super::tls::TlsFiles;
use crate::{Grants, Limits, OutgoingLimits};
use isomer_runtime::VerifiedArtifact;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What a server serves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Where.
    pub addresses: Vec<Address>,
    /// Sockets that listen already, of this process's parent.
    pub sockets: Vec<Arc<OwnedFd>>,
    /// Whether other processes may listen on the same TCP ports.
    pub reuse_port: bool,
    /// Within which limits.
    pub limits: ServerLimits,
    /// What.
    pub routes: Vec<RouteSettings>,
    /// Whether the server ends, after other requests have, when a guest cannot be interrupted.
    pub exit_on_stuck: bool,
    /// The certificate of TCP addresses, which speak TLS with it.
    pub tls: Option<TlsFiles>,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub status_address: Option<SocketAddr>,
    /// Whether a route's source is asked, again and again, whether another version is active.
    pub watch: bool,
}

impl Settings {
    /// These routes at these addresses, within default limits.
    pub fn new(addresses: Vec<Address>, routes: Vec<RouteSettings>) -> Settings {
        Settings {
            addresses,
            sockets: Vec::new(),
            reuse_port: false,
            limits: ServerLimits::default(),
            routes,
            exit_on_stuck: false,
            tls: None,
            status_address: None,
            watch: false,
        }
    }
}

/// One route.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteSettings {
    /// Which requests it answers.
    pub pattern: Pattern,
    /// The module that answers, for reports.
    pub module: String,
    /// Where its artifact comes from.
    pub source: Arc<dyn Source>,
    /// Within which limits.
    pub limits: RouteLimits,
    /// What each instance may use up.
    pub instance: Limits,
    /// What its guests are granted.
    pub grants: Grants,
    /// What its guests' own HTTP requests may take.
    pub outgoing: OutgoingLimits,
    /// The environment variables that these grants amount to.
    pub environment: BTreeMap<String, String>,
    /// Whether only code that can be interrupted will do.
    pub deadline: bool,
    /// The path of a request that a version must answer with success before it is served.
    pub health: Option<String>,
    /// For how long a new version is switched back if it fails more often than the one before.
    pub probation: Duration,
}

/// How long a new version is on probation.
const PROBATION: Duration = Duration::from_secs(30);

impl RouteSettings {
    /// A route that answers requests of `pattern` with `module`, within default limits and without grants.
    pub fn new(pattern: Pattern, module: String, source: Arc<dyn Source>) -> RouteSettings {
        RouteSettings {
            pattern,
            module,
            source,
            limits: RouteLimits::default(),
            instance: Limits::default(),
            grants: Grants::default(),
            outgoing: OutgoingLimits::default(),
            environment: BTreeMap::new(),
            deadline: false,
            health: None,
            probation: PROBATION,
        }
    }
}

/// Where a module's artifact comes from, now: a store's active version may be another one later.
pub trait Source: fmt::Debug + Send + Sync {
    /// Chooses and verifies the artifact.
    ///
    /// # Errors
    /// When there is none that is trusted and runs here.
    fn open(&self) -> Result<Opened, Box<dyn Error + Send + Sync>>;

    /// Which version it would open now. What never changes is always the same.
    ///
    /// # Errors
    /// When that cannot be told now.
    fn active(&self) -> Result<Identity, Box<dyn Error + Send + Sync>>;

    /// Directories that change whenever [`Source::active`] does. None where that never changes, or cannot be seen so.
    fn directories(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Shows other programs that this version answers requests, until the result is dropped. None where they cannot be shown.
    fn mark_live(&self, _version: &Identity) -> Option<LiveMark> {
        None
    }
}

/// Shows other programs that a version answers requests, for as long as it exists.
pub struct LiveMark(#[allow(dead_code, reason = "held for its drop")] Box<dyn Send + Sync>);

impl LiveMark {
    /// Shown by `held`, until that is dropped.
    pub fn new(held: impl Send + Sync + 'static) -> LiveMark {
        LiveMark(Box::new(held))
    }
}

impl fmt::Debug for LiveMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveMark").finish_non_exhaustive()
    }
}

/// Tells one version from another: a digest, or nothing where there is only one.
pub type Identity = String;

/// A module's artifact.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The artifact.
    pub artifact: VerifiedArtifact,
    /// Its version, where it has one.
    pub version: Option<String>,
    /// What [`Source::active`] gave for it.
    pub identity: Identity,
    /// How its bytes were read, in words that follow "the artifact is".
    pub load_path: String,
    /// Whether it is mapped from an installed file instead of copied.
    pub mapped: bool,
    /// The variants that would be better and do not run here.
    pub steps_down: Vec<StepDown>,
}

/// A variant that would be better than the chosen one, and does not run here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepDown {
    /// The variant's target.
    pub target: String,
    /// Why it does not run, in words that follow "it".
    pub reasons: Vec<String>,
}

impl StepDown {
    /// From the variant for this target.
    pub fn new(target: String, reasons: Vec<String>) -> StepDown {
        StepDown { target, reasons }
    }
}

impl Opened {
    /// An artifact, its version and how it was read, of a source with one version.
    pub fn new(artifact: VerifiedArtifact, version: Option<String>, load_path: String) -> Opened {
        Opened { artifact, version, identity: Identity::new(), load_path, mapped: false, steps_down: Vec::new() }
    }
}

/// The variant that was chosen for this machine, and how it was loaded.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    /// Its target; none of an artifact that was made for no named one.
    pub(super) target: Option<String>,
    /// Whether it is mapped from an installed file instead of copied.
    pub(super) mapped: bool,
    /// The variants that would be better and do not run here.
    pub(super) steps_down: Vec<StepDown>,
}
