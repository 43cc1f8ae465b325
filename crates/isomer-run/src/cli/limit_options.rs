//! `--timeout`, `--max-memory` and the other options that limit what a guest may use up. In: what was typed. Out:
//! [`Limits`]. Never here: what a text means, which `isomer-guest` reads.

use super::grant_options::with_hint;
use isomer_guest::{GrantError, Limits, parse_count, parse_duration, parse_size};
use std::time::Duration;

/// What the guest may use up.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// How long the guest may run, `500ms`, `30s`, `5m`; of a server, how long each request may take until its response begins
    #[arg(long, value_name = "DURATION", value_parser = shown(parse_duration))]
    timeout: Option<Duration>,
    /// How much the guest may execute, in units of about one instruction, if it was compiled with `fuel`
    #[arg(long, value_name = "NUMBER", value_parser = shown(parse_count))]
    fuel: Option<u64>,
    /// The size of all its memories together, such as `256MiB`
    #[arg(long, value_name = "SIZE", value_parser = shown(parse_size))]
    max_memory: Option<u64>,
    /// The elements of all its tables together
    #[arg(long, value_name = "NUMBER", value_parser = shown(parse_count))]
    max_table_elements: Option<u64>,
    /// Its core instances; a component has several
    #[arg(long, value_name = "NUMBER", value_parser = shown(parse_count))]
    max_instances: Option<u64>,
    /// The size of its stack, 512KiB by default
    #[arg(long, value_name = "SIZE", value_parser = shown(parse_size))]
    max_stack: Option<u64>,
    /// What it may have open at once: files, streams, connections
    #[arg(long, value_name = "NUMBER", value_parser = shown(parse_count))]
    max_handles: Option<u64>,
    /// How much it may write to standard output and standard error together
    #[arg(long, value_name = "SIZE", value_parser = shown(parse_size))]
    max_output: Option<u64>,
    /// The size of its key-value store, 16MiB by default
    #[arg(long, value_name = "SIZE", value_parser = shown(parse_size))]
    max_keyvalue: Option<u64>,
}

/// How clap reads a quantity, with its hint.
pub(super) fn shown<T>(parse: fn(&str) -> Result<T, GrantError>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| parse(text).map_err(|error| with_hint(&error))
}

impl LimitOptions {
    /// What these options state.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.timeout = self.timeout;
        limits.fuel = self.fuel;
        limits.max_memory = self.max_memory;
        limits.max_table_elements = self.max_table_elements;
        limits.max_instances = self.max_instances;
        limits.max_stack = self.max_stack;
        limits.max_handles = self.max_handles;
        limits.max_output = self.max_output;
        limits.max_keyvalue = self.max_keyvalue;
        limits
    }
}
