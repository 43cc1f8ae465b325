//! The allocator of static builds: what a process allocates first comes from one short piece of memory, all else from
//! mimalloc. In: layouts. Out: memory.
//!
//! A general allocator keeps a page for each of its sizes and touches it whole. A process that parses its options, loads a
//! module and runs it for a millisecond takes 200 page faults for that, and 60 if its allocations lie side by side.

#![allow(unsafe_code)]
#![cfg_attr(not(target_env = "musl"), allow(dead_code))]

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the start of `isomer-run run` allocates, and some more.
const FIRST_SIZE_BYTES: usize = 512 << 10;

/// Larger ones would fill it up, and have pages of their own anywhere.
const LARGE_SIZE_BYTES: usize = 16 << 10;

#[repr(align(4096))]
struct Memory(UnsafeCell<[u8; FIRST_SIZE_BYTES]>);

// SAFETY: each byte of it belongs to at most one allocation, which `Allocator::take` hands out once.
unsafe impl Sync for Memory {}

/// Zero until it is written: a part of the program that no file holds.
static MEMORY: Memory = Memory(UnsafeCell::new([0; FIRST_SIZE_BYTES]));

/// Bytes of [`MEMORY`] that were handed out, from its beginning.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Allocator;

impl Allocator {
    /// The next bytes of [`MEMORY`] that suit the layout, which are zero, or nothing where they do not fit.
    fn take(layout: Layout) -> Option<*mut u8> {
        if layout.size() > LARGE_SIZE_BYTES || layout.align() > 4096 {
            return None;
        }
        let mut taken = TAKEN.load(Ordering::Relaxed);
        loop {
            let begin = taken.next_multiple_of(layout.align());
            let end = begin + layout.size();
            if end > FIRST_SIZE_BYTES {
                return None;
            }
            match TAKEN.compare_exchange_weak(taken, end, Ordering::Relaxed, Ordering::Relaxed) {
                // SAFETY: `begin` is within the memory.
                Ok(_) => return Some(unsafe { MEMORY.0.get().cast::<u8>().add(begin) }),
                Err(other) => taken = other,
            }
        }
    }

    /// Where the pointer lies in [`MEMORY`], if it does.
    fn offset(pointer: *mut u8) -> Option<usize> {
        let offset = pointer.addr().wrapping_sub(MEMORY.0.get().addr());
        (offset < FIRST_SIZE_BYTES).then_some(offset)
    }

    /// Whether the last allocation could be made longer or shorter where it is. Vectors and strings grow like that.
    fn resize(offset: usize, old_size: usize, new_size: usize) -> bool {
        let (end, new_end) = (offset + old_size, offset + new_size);
        // A shorter one would leave bytes behind it that are not zero.
        new_size >= old_size
            && new_size <= LARGE_SIZE_BYTES
            && new_end <= FIRST_SIZE_BYTES
            && TAKEN.compare_exchange(end, new_end, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: memory is mimalloc's, or bytes of `MEMORY` that are handed out once and never again; which of the two, an address
// tells.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as of the caller.
        Self::take(layout).unwrap_or_else(|| unsafe { MiMalloc.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as of the caller.
        Self::take(layout).unwrap_or_else(|| unsafe { MiMalloc.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if Self::offset(pointer).is_none() {
            // SAFETY: it is mimalloc's.
            unsafe { MiMalloc.dealloc(pointer, layout) }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(offset) = Self::offset(pointer) else {
            // SAFETY: it is mimalloc's.
            return unsafe { MiMalloc.realloc(pointer, layout, new_size) };
        };
        if new_size <= layout.size() || Self::resize(offset, layout.size(), new_size) {
            return pointer;
        }
        // SAFETY: the caller vouches for size and alignment; the old and the new memory are apart, and both hold the bytes.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !moved.is_null() {
                pointer.copy_to_nonoverlapping(moved, layout.size());
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("it is one")
    }

    /// All in one test: the memory is one for the process.
    #[test]
    fn first_allocations_lie_side_by_side_and_later_ones_elsewhere() {
        let inside = |pointer: *mut u8| Allocator::offset(pointer).is_some();
        // SAFETY: each pointer is used within its layout, and freed once with it.
        unsafe {
            let first = Allocator.alloc(layout(3, 1));
            let second = Allocator.alloc_zeroed(layout(24, 64));
            assert!(inside(first) && inside(second) && second.addr().is_multiple_of(64));
            assert_eq!(std::slice::from_raw_parts(second, 24), [0; 24]);

            // The last one grows where it is, one before it moves with its content, a shorter one stays.
            second.write_bytes(7, 24);
            let grown = Allocator.realloc(second, layout(24, 64), 4096);
            assert_eq!(grown, second);
            first.write_bytes(5, 3);
            let moved = Allocator.realloc(first, layout(3, 1), 100);
            assert!(moved != first && inside(moved));
            assert_eq!(std::slice::from_raw_parts(moved, 3), [5; 3]);
            assert_eq!(Allocator.realloc(grown, layout(4096, 64), 10), grown);
            assert_ne!(Allocator.realloc(grown, layout(10, 64), 20), grown, "what follows it belongs to another");

            // What is freed is not handed out again, so that all that is handed out is zero.
            let freed = Allocator.alloc(layout(8, 8));
            freed.write_bytes(9, 8);
            Allocator.dealloc(freed, layout(8, 8));
            let zero = Allocator.alloc_zeroed(layout(8, 8));
            assert_eq!(zero.cast::<u64>().read(), 0);

            let large = Allocator.alloc(layout(LARGE_SIZE_BYTES + 1, 1));
            assert!(!large.is_null() && !inside(large));
            Allocator.dealloc(large, layout(LARGE_SIZE_BYTES + 1, 1));

            // Threads that take all that is left: no two get the same.
            let take = || {
                let mut taken = Vec::new();
                while let Some(pointer) = Allocator::take(layout(40, 8)) {
                    taken.push(pointer.addr());
                }
                taken
            };
            let mut all: Vec<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
            });
            all.sort_unstable();
            assert!(all.len() > 1000 && all.windows(2).all(|pair| pair[1] - pair[0] >= 40));
            let later = Allocator.alloc(layout(40, 8));
            assert!(!later.is_null() && !inside(later));
            later.write_bytes(1, 40);
            let later = Allocator.realloc(later, layout(40, 8), 80);
            assert_eq!(later.read(), 1);
            Allocator.dealloc(later, layout(80, 8));
        }
    }
}
