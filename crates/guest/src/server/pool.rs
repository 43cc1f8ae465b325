//! How instances get their memory. In: what an artifact needs, how many instances a route has at once, the machine. Out: a
//! pool with its sizes and where each comes from, or why there is none. Never here: an engine.

use isomer_contract::settings::Value;
use isomer_contract::{Requirements, Size};
use std::fs;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How much of an instance's memory stays with its slot for the next one, instead of being given back to the system.
const MEMORY_KEPT: u64 = 512 << 10;
const TABLE_KEPT: u64 = 64 << 10;

/// What a table may grow to, unless the artifact's own are larger already.
const TABLE_ELEMENTS: u64 = 100_000;

/// Stacks that one request uses. Functions of WASI 0.2 call each other on one.
const STACKS_OF_REQUEST: u32 = 1;

/// The same where functions are asynchronous: composed components may take one for each of two.
const STACKS_OF_ASYNCHRONOUS_REQUEST: u32 = 2;

/// Stacks that one instance uses beside those of its requests: while it is made, and what its store keeps for the next call.
const STACKS_BESIDE: u32 = 1;

/// Mappings of the process that one memory takes: what is initialised, what was grown, what may not be accessed.
const MAPPINGS_OF_MEMORY: u64 = 4;

/// Those that a stack takes: itself and its guard page.
const MAPPINGS_OF_STACK: u64 = 2;

/// What one instance of an artifact needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) memories: u32,
    pub(super) tables: u32,
    pub(super) table_elements: u64,
    /// The largest initial size of a memory.
    pub(super) memory_bytes: u64,
}

impl Need {
    /// What most components need: one memory, the table of their functions and that of their imports. A pool has room for
    /// as much also where an artifact needs less, so that artifacts are loaded into it before their need is known.
    pub(super) const USUAL: Need = Need { memories: 1, tables: 2, table_elements: TABLE_ELEMENTS, memory_bytes: 0 };

    /// What the component declares, or what is usual where that is more. None for one whose modules are imported, which
    /// only its linker knows.
    pub(super) fn of(component: &Component) -> Option<Need> {
        const PAGE_BYTES: u64 = 64 << 10;
        let required = component.resources_required()?;
        Some(Need {
            memories: required.num_memories.max(Need::USUAL.memories),
            tables: required.num_tables.max(Need::USUAL.tables),
            table_elements: required.max_initial_table_size.unwrap_or(0).max(Need::USUAL.table_elements),
            memory_bytes: required.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES),
        })
    }
}

/// What matters here of a machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// How much a process may map.
    pub(super) address_space_bytes: u64,
    /// How many mappings a process may have.
    pub(super) mappings: u64,
    /// Whether the kernel tells which pages were written.
    pub(super) pagemap_scan: bool,
}

impl Machine {
    /// This one.
    pub(super) fn look() -> Machine {
        /// What user space has on the architectures with the least of it that isomer supports.
        const USER_SPACE_BYTES: u64 = 1 << 47;
        /// Linux' default.
        const MAPPINGS: u64 = 65_530;
        let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
        let mappings = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
        Machine {
            address_space_bytes: limit.unwrap_or(u64::MAX).min(USER_SPACE_BYTES),
            mappings: mappings.and_then(|text| text.trim().parse().ok()).unwrap_or(MAPPINGS),
            pagemap_scan: PoolingAllocationConfig::is_pagemap_scan_available(),
        }
    }
}

/// One route's part of a pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) need: Need,
    /// Instances at once.
    pub(super) instances: u32,
    /// Requests at once, in all instances together.
    pub(super) requests: u32,
    /// Whether they are answered by asynchronous functions, those of WASI 0.3.
    pub(super) asynchronous: bool,
}

/// How instances of one engine get their memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Allocation {
    /// From slots that are reserved once.
    Pool(Sizes),
    /// From the system, for each instance anew.
    OnDemand {
        /// Why.
        reason: String,
    },
}

/// The sizes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) instances: u32,
    pub(super) memories: u32,
    pub(super) memory_bytes_max: u64,
    pub(super) memories_of_instance: u32,
    pub(super) tables: u32,
    pub(super) tables_of_instance: u32,
    pub(super) table_elements: u64,
    pub(super) stacks: u32,
    /// Whether slots keep pages, which needs a kernel that tells which were written.
    pub(super) keeps_pages: bool,
    /// The address space of all memories.
    pub(super) reserved_bytes: u64,
}

fn integer(requirements: &Requirements, key: &str) -> u64 {
    match requirements.tunables.get(key) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

impl Allocation {
    /// No pool, for this reason.
    pub(super) fn on_demand(reason: impl Into<String>) -> Allocation {
        Allocation::OnDemand { reason: reason.into() }
    }

    /// For all routes that share an engine.
    pub(super) fn derive(requirements: &Requirements, shares: &[Share], machine: &Machine) -> Allocation {
        let reservation_bytes = integer(requirements, "memory-reservation");
        let slot_bytes = reservation_bytes.saturating_add(integer(requirements, "memory-guard-size"));
        let largest = shares.iter().map(|share| share.need.memory_bytes).max().unwrap_or(0);
        if reservation_bytes < largest.max(1) {
            return Allocation::on_demand(format!(
                "a memory begins with {}, and the artifact's `memory-reservation` is {}",
                Size(largest),
                Size(reservation_bytes)
            ));
        }
        let total = |of: &dyn Fn(&Share) -> u32| shares.iter().fold(0_u32, |sum, share| sum.saturating_add(of(share)));
        let most = |of: &dyn Fn(&Share) -> u32| shares.iter().map(of).max().unwrap_or(0);
        let memories = total(&|share| share.need.memories.saturating_mul(share.instances));
        let reserved_bytes = slot_bytes.saturating_mul(memories.into());
        if reserved_bytes > machine.address_space_bytes / 2 {
            return Allocation::on_demand(format!(
                "{memories} memories would reserve {} GiB of address space, more than half of the {} GiB that a process has \
                 here",
                reserved_bytes >> 30,
                machine.address_space_bytes >> 30
            ));
        }
        // Each has a guard page, which takes a system call at the start: as many as requests and instances need, not as
        // many as each instance could need alone.
        let stacks = total(&|share| {
            let of_one = if share.asynchronous { STACKS_OF_ASYNCHRONOUS_REQUEST } else { STACKS_OF_REQUEST };
            let of_requests = share.requests.saturating_mul(of_one);
            of_requests.saturating_add(share.instances.saturating_mul(STACKS_BESIDE))
        });
        let mappings = u64::from(memories) * MAPPINGS_OF_MEMORY + u64::from(stacks) * MAPPINGS_OF_STACK;
        if mappings > machine.mappings {
            return Allocation::on_demand(format!(
                "{memories} memories and {stacks} stacks may take {mappings} mappings, more than `vm.max_map_count` allows, \
                 {}",
                machine.mappings
            ));
        }
        let elements = shares.iter().map(|share| share.need.table_elements).max().unwrap_or(0);
        Allocation::Pool(Sizes {
            instances: total(&|share| share.instances),
            memories,
            memory_bytes_max: reservation_bytes.min(4 << 30),
            memories_of_instance: most(&|share| share.need.memories),
            tables: total(&|share| share.need.tables.saturating_mul(share.instances)),
            tables_of_instance: most(&|share| share.need.tables),
            table_elements: elements.max(TABLE_ELEMENTS),
            stacks,
            keeps_pages: machine.pagemap_scan,
            reserved_bytes,
        })
    }

    /// Sets an engine's configuration to it.
    pub(super) fn apply(&self, config: &mut Config) {
        let Allocation::Pool(sizes) = self else { return };
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut pool = PoolingAllocationConfig::new();
        // Core instances are counted, not reserved, and a component has several: memories are what limits them.
        pool.total_core_instances(u32::MAX)
            .max_core_instance_size(bytes(16 << 20))
            .total_component_instances(sizes.instances)
            .max_component_instance_size(bytes(64 << 20))
            .total_memories(sizes.memories)
            .max_memories_per_component(sizes.memories_of_instance)
            .max_memories_per_module(sizes.memories_of_instance.max(1))
            .max_memory_size(bytes(sizes.memory_bytes_max))
            .total_tables(sizes.tables)
            .max_tables_per_component(sizes.tables_of_instance)
            .max_tables_per_module(sizes.tables_of_instance.max(1))
            .table_elements(bytes(sizes.table_elements))
            .total_stacks(sizes.stacks)
            .total_gc_heaps(sizes.instances)
            .max_unused_warm_slots(sizes.instances);
        if sizes.keeps_pages {
            pool.pagemap_scan(Enabled::Auto)
                .linear_memory_keep_resident(bytes(MEMORY_KEPT))
                .table_keep_resident(bytes(TABLE_KEPT));
        }
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_contract::{Kind, Profile};

    const MACHINE: Machine = Machine { address_space_bytes: 1 << 47, mappings: 65_530, pagemap_scan: true };

    fn share(instances: u32, memories: u32) -> Share {
        let need = Need { memories, tables: 1, table_elements: 10, memory_bytes: 1 << 20 };
        Share { need, instances, requests: instances, asynchronous: instances == 50 }
    }

    fn requirements(reservation_bytes: u64) -> Requirements {
        let profile = Profile::shipped("x86-64-v2").expect("it is shipped");
        let mut requirements = Requirements::of_profile(&profile, Kind::Component);
        requirements.tunables.insert("memory-reservation".to_owned(), Value::Integer(reservation_bytes));
        requirements
    }

    #[test]
    fn a_pool_holds_all_routes_at_once() {
        let shares = [share(100, 1), share(50, 3)];
        let Allocation::Pool(sizes) = Allocation::derive(&requirements(4 << 30), &shares, &MACHINE) else {
            panic!("it fits");
        };
        assert_eq!((sizes.instances, sizes.memories, sizes.memories_of_instance), (150, 250, 3));
        assert_eq!((sizes.tables, sizes.stacks, sizes.table_elements), (150, 350, 100_000));
        assert_eq!(sizes.reserved_bytes, 250 * ((4 << 30) + (32 << 20)));
    }

    #[test]
    fn without_room_there_is_no_pool() {
        let reason = |requirements, shares: &[Share], machine| match Allocation::derive(&requirements, shares, &machine)
        {
            Allocation::OnDemand { reason } => reason,
            Allocation::Pool(sizes) => panic!("{sizes:?}"),
        };
        assert!(reason(requirements(0), &[share(1, 1)], MACHINE).contains("memory-reservation"));
        let small = Machine { address_space_bytes: 16 << 30, ..MACHINE };
        assert!(reason(requirements(4 << 30), &[share(100, 1)], small).contains("address space"));
        let few = Machine { mappings: 100, ..MACHINE };
        assert!(reason(requirements(4 << 30), &[share(100, 1)], few).contains("max_map_count"));
    }
}
