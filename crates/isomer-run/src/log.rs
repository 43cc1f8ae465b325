//! What happens beside the result. In: what `tracing` is told. Out: lines on standard error, each with its level as other
//! messages have it: `warning: …`. Never here: a result; an error that ends the command.

use anstyle::{AnsiColor, Style};
use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// `-v` and `-q`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verbosity {
    /// How often `-v` was given.
    pub(crate) more: u8,
    /// `-q`.
    pub(crate) quiet: bool,
}

/// Warnings alone, unless options or else ISOMER_LOG request otherwise; a filter is compiled only if it is set.
pub(crate) fn begin(verbosity: Verbosity) {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_ansi(colour).event_format(Lines).with_writer(std::io::stderr);
    let level = match verbosity {
        Verbosity { quiet: true, .. } => Some(Level::ERROR),
        Verbosity { more: 0, .. } => None,
        Verbosity { more: 1, .. } => Some(Level::INFO),
        Verbosity { more: 2.., .. } => Some(Level::DEBUG),
    };
    match (level, std::env::var("ISOMER_LOG")) {
        (Some(level), _) => lines.with_max_level(level).init(),
        (None, Ok(filter)) => lines.with_env_filter(EnvFilter::new(filter)).init(),
        (None, Err(_)) => lines.with_max_level(Level::WARN).init(),
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
