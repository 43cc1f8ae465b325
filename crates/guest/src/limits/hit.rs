//! That a guest reached a limit: which, what it requested, and what it may have.

use isomer_contract::{Hinted, Size};
use std::fmt;
use std::time::Duration;

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitKind {
    /// [`Limits::timeout`](super::Limits::timeout).
    Timeout,
    /// [`Limits::fuel`](super::Limits::fuel).
    Fuel,
    /// [`Limits::max_memory`](super::Limits::max_memory).
    Memory,
    /// [`Limits::max_table_elements`](super::Limits::max_table_elements).
    TableElements,
    /// [`Limits::max_instances`](super::Limits::max_instances).
    Instances,
    /// [`Limits::max_stack`](super::Limits::max_stack).
    Stack,
    /// [`Limits::max_handles`](super::Limits::max_handles).
    Handles,
    /// [`Limits::max_output`](super::Limits::max_output).
    Output,
    /// [`Limits::max_keyvalue`](super::Limits::max_keyvalue).
    KeyValue,
}

impl LimitKind {
    /// Its key in a file, and the name of its option.
    pub fn key(self) -> &'static str {
        match self {
            LimitKind::Timeout => "timeout",
            LimitKind::Fuel => "fuel",
            LimitKind::Memory => "max-memory",
            LimitKind::TableElements => "max-table-elements",
            LimitKind::Instances => "max-instances",
            LimitKind::Stack => "max-stack",
            LimitKind::Handles => "max-handles",
            LimitKind::Output => "max-output",
            LimitKind::KeyValue => "max-keyvalue",
        }
    }

    /// The overlay that code keeps this limit with, of those that only code keeps.
    pub fn overlay(self) -> &'static str {
        match self {
            LimitKind::Timeout => "epoch",
            _ => "fuel",
        }
    }
}

/// A guest reached a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitHit {
    /// Which.
    pub limit: LimitKind,
    /// What it may have, in the limit's unit: bytes, milliseconds, or a number of things.
    pub allowed: u64,
    /// What it would have had with what it requested last, where that is known.
    pub requested: Option<u64>,
}

impl LimitHit {
    /// That `timeout` is over.
    pub fn timeout(timeout: Duration) -> LimitHit {
        let allowed = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        LimitHit { limit: LimitKind::Timeout, allowed, requested: None }
    }
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LimitHit { limit, allowed, requested } = self;
        let requested = |unit: &dyn Fn(u64) -> String| match requested {
            Some(requested) => format!("{} requested, ", unit(*requested)),
            None => String::new(),
        };
        let bytes = |number: u64| Size(number).to_string();
        let number = |number: u64| number.to_string();
        match limit {
            LimitKind::Timeout => write!(f, "out of time: the limit is {}", duration(*allowed)),
            LimitKind::Fuel => write!(f, "out of fuel: the limit is {allowed}"),
            LimitKind::Memory => write!(f, "too much memory: {}the limit is {}", requested(&bytes), bytes(*allowed)),
            LimitKind::TableElements => {
                write!(f, "too many table elements: {}the limit is {allowed}", requested(&number))
            }
            LimitKind::Instances => write!(f, "too many core instances: {}the limit is {allowed}", requested(&number)),
            LimitKind::Stack => write!(f, "stack overflow: the limit is {}", bytes(*allowed)),
            LimitKind::Handles => write!(f, "too many handles: the limit is {allowed}"),
            LimitKind::Output => write!(f, "too much output: {}the limit is {}", requested(&bytes), bytes(*allowed)),
            LimitKind::KeyValue => {
                write!(f, "too much in its key-value store: {}the limit is {}", requested(&bytes), bytes(*allowed))
            }
        }
    }
}

fn duration(milliseconds: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let exact = UNITS.iter().find(|(_, size)| milliseconds != 0 && milliseconds.is_multiple_of(*size));
    exact.map_or_else(|| format!("{milliseconds}ms"), |(unit, size)| format!("{}{unit}", milliseconds / size))
}

impl std::error::Error for LimitHit {}

/// A limit that an artifact was not compiled to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the artifact was compiled without `{}`, and nothing else keeps that limit", .limit.key())]
pub struct LimitNotCompiled {
    /// Which.
    pub limit: LimitKind,
}

impl Hinted for LimitNotCompiled {
    fn hint(&self) -> Option<String> {
        let key = self.limit.key();
        Some(format!("compile it for a profile that has `{key} = true` in [wasm]"))
    }
}
