//! How much of what happens beside the result is logged, and where a server logs it. In: options, and the variable
//! ISOMER_LOG. Out: lines on standard error, as `isomer-terminal` or [`json`] writes them. Never here: a result; an error that
//! ends the command.

mod json;
mod queue;

pub(crate) use queue::flush;

use isomer_terminal::{LogLines, begin_log, log_colour, log_filter};
use json::Json;
use queue::Queue;
use tracing::Level;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// `-v` and `-q`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verbosity {
    /// How often `-v` was given.
    pub(crate) more: u8,
    /// `-q`.
    pub(crate) quiet: bool,
}

impl Verbosity {
    /// The level that the options state, if they do.
    fn level(self) -> Option<Level> {
        match self {
            Verbosity { quiet: true, .. } => Some(Level::ERROR),
            Verbosity { more: 0, .. } => None,
            Verbosity { more: 1, .. } => Some(Level::INFO),
            Verbosity { more: 2.., .. } => Some(Level::DEBUG),
        }
    }
}

/// How a server logs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerLog {
    /// A line for each request.
    pub(crate) access: bool,
    /// JSON objects instead of text.
    pub(crate) json: bool,
}

/// Libraries of the protocols that clients speak.
const PROTOCOLS: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

impl ServerLog {
    /// Warnings, what guests print, and which version is served from now on. Of the libraries that read what clients send, errors
    /// alone: they warn of each frame that they do not like, and a client sends a million a second.
    fn filter(self, level: Level) -> Targets {
        let access = if self.access { LevelFilter::INFO } else { LevelFilter::OFF };
        let switch = ("switch", LevelFilter::INFO);
        let of_clients = if level >= Level::DEBUG { level } else { Level::ERROR };
        Targets::new().with_default(level).with_targets(PROTOCOLS.map(|library| (library, of_clients))).with_targets([
            ("guest", LevelFilter::INFO),
            switch,
            ("access", access),
        ])
    }
}

/// Warnings alone, unless options or else ISOMER_LOG request otherwise; a filter is compiled only if it is set. A server's
/// lines are written by a thread of their own: where standard error is not read, lines are dropped and counted, and the
/// server goes on.
pub(crate) fn begin(server: Option<ServerLog>, verbosity: Verbosity) {
    let level = verbosity.level();
    let requested = if level.is_none() { log_filter() } else { None };
    let level = level.unwrap_or(Level::WARN);
    let started = server.and_then(|server| Some((server, Queue::start().ok()?)));
    let Some((server, queue)) = started else { return begin_log(requested, level) };
    let layer = tracing_subscriber::fmt::layer().with_ansi(log_colour() && !server.json).with_writer(queue);
    let layer: Box<dyn Layer<Registry> + Send + Sync> =
        if server.json { layer.event_format(Json).boxed() } else { layer.event_format(LogLines).boxed() };
    match requested {
        Some(filter) => tracing_subscriber::registry().with(layer.with_filter(filter)).init(),
        None => tracing_subscriber::registry().with(layer.with_filter(server.filter(level))).init(),
    }
}
