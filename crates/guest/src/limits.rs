//! What a guest may use up. In: texts of options, or keys of a TOML file, which are the options' names. Out: [`Limits`], and
//! what applies them to an engine and a store. Never here: a process that is ended; the program does that.
//!
//! ```
//! use isomer_guest::Limits;
//!
//! let limits: Limits = toml::from_str("timeout = '30s'\nmax-memory = '256MiB'")?;
//! assert_eq!(limits.max_memory, Some(256 << 20));
//! # Ok::<(), toml::de::Error>(())
//! ```

mod hit;
mod limiter;
mod text;
pub(crate) mod units;

pub use hit::{LimitHit, LimitKind, LimitNotCompiled};
pub use limiter::Limiter;
pub use text::{parse_count, parse_duration, parse_size};

use crate::grants::GrantError;
use isomer_contract::Requirements;
use isomer_contract::settings::Value;
use serde::Deserialize;
use std::time::Duration;
use wasmtime::Config;

/// What a guest may use up. Without a limit it is wasmtime's own, or what the machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Limits {
    /// How long it runs; of a server, how long a request takes.
    #[serde(deserialize_with = "text::duration")]
    pub timeout: Option<Duration>,
    /// How much it executes, in wasmtime's units of fuel, about one for each instruction.
    #[serde(deserialize_with = "text::count")]
    pub fuel: Option<u64>,
    /// The bytes of all its memories together, the heap of garbage-collected objects included.
    #[serde(deserialize_with = "text::size")]
    pub max_memory: Option<u64>,
    /// The elements of all its tables together.
    #[serde(deserialize_with = "text::count")]
    pub max_table_elements: Option<u64>,
    /// Its core instances; a component has several.
    #[serde(deserialize_with = "text::count")]
    pub max_instances: Option<u64>,
    /// The bytes of its stack.
    #[serde(deserialize_with = "text::size")]
    pub max_stack: Option<u64>,
    /// What it has open at once: files, streams, connections, resources of components.
    #[serde(deserialize_with = "text::count")]
    pub max_handles: Option<u64>,
    /// The bytes that it writes to its standard output and standard error together.
    #[serde(deserialize_with = "text::size")]
    pub max_output: Option<u64>,
    /// The bytes of names and values in its `wasi:keyvalue`; without a limit, 16 MiB.
    #[serde(deserialize_with = "text::size")]
    pub max_keyvalue: Option<u64>,
}

/// What a stack is given beyond the guest's own part, for host functions that run on it.
const HOST_STACK_SIZE_BYTES: u64 = 1 << 20;

impl Limits {
    /// The keys in a file, which are the names of options.
    pub const KEYS: [&'static str; 9] = [
        "timeout",
        "fuel",
        "max-memory",
        "max-table-elements",
        "max-instances",
        "max-stack",
        "max-handles",
        "max-output",
        "max-keyvalue",
    ];

    /// These limits where they are stated, else those of `other`.
    #[must_use]
    pub fn or(self, other: Limits) -> Limits {
        Limits {
            timeout: self.timeout.or(other.timeout),
            fuel: self.fuel.or(other.fuel),
            max_memory: self.max_memory.or(other.max_memory),
            max_table_elements: self.max_table_elements.or(other.max_table_elements),
            max_instances: self.max_instances.or(other.max_instances),
            max_stack: self.max_stack.or(other.max_stack),
            max_handles: self.max_handles.or(other.max_handles),
            max_output: self.max_output.or(other.max_output),
            max_keyvalue: self.max_keyvalue.or(other.max_keyvalue),
        }
    }

    /// Limits that no engine can keep.
    ///
    /// # Errors
    /// For a stack that is larger than a thread's may be.
    pub fn check(&self) -> Result<(), GrantError> {
        const STACK_SIZE_BYTES_MAX: u64 = 1 << 30;
        match self.max_stack {
            Some(size) if !(4096..=STACK_SIZE_BYTES_MAX).contains(&size) => {
                Err(GrantError::new(format!("a stack of {size} bytes; expected 4KiB to 1GiB")))
            }
            _ => Ok(()),
        }
    }

    /// Sets what is an engine's, for `isomer_runtime::Loader::configure`.
    pub fn configure(&self, config: &mut Config) {
        if let Some(size) = self.max_stack {
            let size_bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
            config.max_wasm_stack(size_bytes(size));
            config.async_stack_size(size_bytes(size.saturating_add(HOST_STACK_SIZE_BYTES)));
        }
    }

    /// Whether an artifact with these requirements keeps these limits. A deadline is kept by a watchdog where epochs are not
    /// compiled in; nothing counts fuel but the code itself.
    ///
    /// # Errors
    /// When fuel is limited and the code does not count it.
    pub fn check_compiled(&self, requirements: &Requirements) -> Result<(), LimitNotCompiled> {
        if self.fuel.is_some() && !is_on(requirements, "fuel") {
            return Err(LimitNotCompiled { limit: LimitKind::Fuel });
        }
        Ok(())
    }

    /// Whether the code itself stops at a deadline.
    pub fn is_interruptible(requirements: &Requirements) -> bool {
        is_on(requirements, "epoch-interruption")
    }
}

fn is_on(requirements: &Requirements, key: &str) -> bool {
    requirements.tunables.get(key) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests;
