//! The unwind tables of compiled code are not registered. In: the tables, from wasmtime, as it loads an artifact. Never here:
//! anything done with them.
//!
//! Registering takes the unwinder a pass over all functions, or an allocation for each of them and a list that it walks from
//! its beginning to remove one. Nothing in this process reads the tables: panics and traps of the host end in wasmtime before
//! they reach a guest's frames, and wasmtime follows frame pointers to make a guest's backtrace, as `perf` does.
//!
//! `build.rs` tells the linker to call these two instead.

#![allow(unsafe_code)]

// SAFETY: these names are no other function's, and the unwinder declares both so.
#[unsafe(no_mangle)]
extern "C" fn __wrap___register_frame(_tables: *const u8) {}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn __wrap___deregister_frame(_tables: *const u8) {}
