//! In: what a guest's memories, tables and instances grow by. Out: whether they may, and which limit was reached. Never
//! here: a limit of one memory alone: a guest has as many as it likes.

use super::Limits;
use super::hit::{LimitHit, LimitKind};
use wasmtime::ResourceLimiter;

/// Counts what one store uses, and refuses what is too much.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    max_memory: Option<u64>,
    max_table_elements: Option<u64>,
    max_instances: Option<u64>,
    memory_bytes: u64,
    table_elements: u64,
    hit: Option<LimitHit>,
}

impl Limiter {
    /// Of a store whose guest has these limits.
    pub fn new(limits: &Limits) -> Limiter {
        let Limits { max_memory, max_table_elements, max_instances, .. } = *limits;
        Limiter { max_memory, max_table_elements, max_instances, ..Limiter::default() }
    }

    /// The bytes of all memories. They never shrink, so this is also the most that there ever was.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The limit that was last reached, if any was: the guest was told, and may have gone on.
    pub fn hit(&self) -> Option<LimitHit> {
        self.hit
    }

    fn grow(&mut self, limit: LimitKind, growth: Growth) -> bool {
        // What its own type forbids fails whatever is allowed, and is not counted. What fails because the system has no
        // memory left stays counted: wasmtime tells neither whose growth failed nor whether it came here before.
        if growth.maximum.is_some_and(|maximum| growth.desired > maximum) {
            return true;
        }
        let (used, allowed) = match limit {
            LimitKind::Memory => (&mut self.memory_bytes, self.max_memory),
            _ => (&mut self.table_elements, self.max_table_elements),
        };
        let more = growth.desired.saturating_sub(growth.current);
        let wanted = used.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        if let Some(allowed) = allowed.filter(|allowed| wanted > *allowed) {
            self.hit = Some(LimitHit { limit, allowed, requested: Some(wanted) });
            return false;
        }
        *used = wanted;
        true
    }
}

struct Growth {
    current: usize,
    desired: usize,
    maximum: Option<usize>,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(LimitKind::Memory, Growth { current, desired, maximum }))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(LimitKind::TableElements, Growth { current, desired, maximum }))
    }

    fn instances(&self) -> usize {
        let allowed = self.max_instances.map(|allowed| usize::try_from(allowed).unwrap_or(usize::MAX));
        allowed.unwrap_or(INSTANCES_MAX)
    }
}

/// wasmtime's own limit.
const INSTANCES_MAX: usize = 10_000;
