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

/// Warnings alone, unless ISOMER_LOG asks for more; a filter is compiled only if somebody sets one.
pub(crate) fn begin() {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt().with_ansi(colour).event_format(Lines).with_writer(std::io::stderr);
    match std::env::var("ISOMER_LOG") {
        Ok(filter) => lines.with_env_filter(EnvFilter::new(filter)).init(),
        Err(_) => lines.with_max_level(Level::WARN).init(),
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
