//! In: a server's address. Out: a client of it that gives up after seconds, and blobs to send. Never here: the server.

use isomer_remote::{Blob, Cancel, Options, Remote};
use isomer_testing::casd::Casd;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

/// A server for the running test, which libtest's thread is named after.
pub(crate) fn casd() -> Option<Casd> {
    casd_instance("")
}

/// One whose only instance has this name.
pub(crate) fn casd_instance(instance: &str) -> Option<Casd> {
    Casd::start_instance(thread::current().name().unwrap_or("remote"), instance)
}

/// Options for tests: patience of seconds, not of minutes.
pub(crate) fn options(address: SocketAddr) -> Options {
    let mut options = Options::new(format!("grpc://{address}"));
    options.deadlines.connect = Duration::from_secs(5);
    options.deadlines.call = Duration::from_secs(10);
    options.deadlines.total = Duration::from_secs(60);
    options.retry.pause_first = Duration::from_millis(10);
    options.retry.pause_max = Duration::from_millis(100);
    options.tool.name = "isomer-test".to_owned();
    options.tool.version = "0".to_owned();
    options
}

pub(crate) fn connect(options: &Options) -> Remote {
    Remote::connect(options, &Cancel::new()).unwrap()
}

/// Bytes that no two calls have in common and that do not compress.
pub(crate) fn blob(size_bytes: usize) -> Blob {
    let mut state = random();
    let mut bytes = Vec::with_capacity(size_bytes + 8);
    while bytes.len() < size_bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size_bytes);
    Blob::new(bytes)
}

fn random() -> u64 {
    // The hasher's keys are random. The generator's state must not be 0.
    RandomState::new().build_hasher().finish() | 1
}
