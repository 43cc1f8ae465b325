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
    fn filter(self) -> Targets {
        let access = if self.access { LevelFilter::INFO } else { LevelFilter::OFF };
        let switch = ("switch", LevelFilter::INFO);
        Targets::new().with_default(Level::WARN).with_targets([
            ("guest", LevelFilter::INFO),
            switch,
            ("access", access),
        ])
    }
}

/// Warnings alone, unless ISOMER_LOG requests more; a filter is compiled only if it is set. A server's lines are written by
/// a thread of their own: where standard error is not read, lines are dropped and counted, and the server goes on.
pub(crate) fn begin(server: Option<ServerLog>) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_ansi(colour).event_format(Lines);
    let requested = std::env::var("ISOMER_LOG").map(EnvFilter::new);
    let started = server.and_then(|server| Some((server, Queue::start().ok()?)));
    let Some((server, queue)) = started else {
        match requested {
            Ok(filter) => lines.with_writer(std::io::stderr).with_env_filter(filter).init(),
            Err(_) => lines.with_writer(std::io::stderr).with_max_level(Level::WARN).init(),
        }
        return;
    };
    let layer = tracing_subscriber::fmt::layer().with_ansi(colour && !server.json).with_writer(queue);
    let layer: Box<dyn Layer<Registry> + Send + Sync> =
        if server.json { layer.event_format(Json).boxed() } else { layer.event_format(Lines).boxed() };
    match requested {
        Ok(filter) => tracing_subscriber::registry().with(layer.with_filter(filter)).init(),
        Err(_) => tracing_subscriber::registry().with(layer.with_filter(server.filter())).init(),
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
