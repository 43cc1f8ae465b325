//! What happens beside the result. In: what `tracing` is told. Out: lines on standard error, each with its level as other
//! messages have it: `warning: …`. Never here: a result; an error that ends the command.

mod json;
mod queue;

pub(crate) use queue::flush;

use anstyle::{AnsiColor, Style};
use json::Json;
use queue::Queue;
use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

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

impl ServerLog {
    /// Warnings, what guests print, and which version is served from now on.
    fn filter(self, level: Level) -> Targets {
        let access = if self.access { LevelFilter::INFO } else { LevelFilter::OFF };
        let switch = ("switch", LevelFilter::INFO);
        Targets::new().with_default(level).with_targets([("guest", LevelFilter::INFO), switch, ("access", access)])
    }
}

/// Warnings alone, unless options or else ISOMER_LOG request otherwise; a filter is compiled only if it is set. A server's
/// lines are written by a thread of their own: where standard error is not read, lines are dropped and counted, and the
/// server goes on.
pub(crate) fn begin(server: Option<ServerLog>, verbosity: Verbosity) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_ansi(colour).event_format(Lines);
    let level = verbosity.level();
    let requested = std::env::var("ISOMER_LOG").ok().filter(|_| level.is_none()).map(EnvFilter::new);
    let level = level.unwrap_or(Level::WARN);
    let started = server.and_then(|server| Some((server, Queue::start().ok()?)));
    let Some((server, queue)) = started else {
        match requested {
            Some(filter) => lines.with_writer(std::io::stderr).with_env_filter(filter).init(),
            None => lines.with_writer(std::io::stderr).with_max_level(level).init(),
        }
        return;
    };
    let layer = tracing_subscriber::fmt::layer().with_ansi(colour && !server.json).with_writer(queue);
    let layer: Box<dyn Layer<Registry> + Send + Sync> =
        if server.json { layer.event_format(Json).boxed() } else { layer.event_format(Lines).boxed() };
    match requested {
        Some(filter) => tracing_subscriber::registry().with(layer.with_filter(filter)).init(),
        None => tracing_subscriber::registry().with(layer.with_filter(server.filter(level))).init(),
    }
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (name, colour) = match *event.metadata().level() {
            Level::ERROR => ("error", AnsiColor::Red),
            Level::WARN => ("warning", AnsiColor::Yellow),
            Level::INFO => ("info", AnsiColor::Green),
            Level::DEBUG => ("debug", AnsiColor::Blue),
            Level::TRACE => ("trace", AnsiColor::Magenta),
        };
        if to.has_ansi_escapes() {
            let style = Style::new().bold().fg_color(Some(colour.into()));
            write!(to, "{style}{name}:{style:#} ")?;
        } else {
            write!(to, "{name}: ")?;
        }
        let mut fields = String::new();
        context.format_fields(Writer::new(&mut fields), event)?;
        writeln!(to, "{}", isomer_terminal::escaped(&fields))
    }
}
