//! What happens beside the result. In: what `tracing` is told by libraries. Out: lines on standard error, each with its level
//! as other messages have it: `warning: …`. Never here: a result; an error that ends the command.

use crate::escape::escaped;
use anstyle::{AnsiColor, Style};
use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The filter that the variable ISOMER_LOG holds, if it is set. It is compiled only then.
pub fn log_filter() -> Option<EnvFilter> {
    std::env::var("ISOMER_LOG").ok().map(EnvFilter::new)
}

/// Whether lines on standard error have colours.
pub fn log_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Writes what `filter` lets through to standard error; without one, what is at least as severe as `level`. A process calls
/// it once.
pub fn begin_log(filter: Option<EnvFilter>, level: Level) {
    let lines = tracing_subscriber::fmt().with_ansi(log_colour()).event_format(LogLines).with_writer(std::io::stderr);
    match filter {
        Some(filter) => lines.with_env_filter(filter).init(),
        None => lines.with_max_level(level).init(),
    }
}

/// An event as a line: `warning: WHAT`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogLines;

impl<S, N> FormatEvent<S, N> for LogLines
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
        writeln!(to, "{}", escaped(&fields))
    }
}
