//! Files below /proc. In: a file's path. Out: its text, if it is the kernel's. Never here: what the text says.

use rustix::fs::fstatfs;
use std::fs::File;
use std::io::{self, Read};

/// `linux/magic.h`; the type of `f_type` differs between architectures.
const PROC_SUPER_MAGIC: u32 = 0x9fa0;

/// The text of a file, at most that much of it; none where its file system is not the kernel's proc, but another one that was
/// mounted over it.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn read(path: &str, size_bytes_max: u64) -> io::Result<Option<String>> {
    let file = File::open(path)?;
    if !fstatfs(&file).is_ok_and(|stat| stat.f_type as u32 == PROC_SUPER_MAGIC) {
        return Ok(None);
    }
    let mut text = String::new();
    file.take(size_bytes_max).read_to_string(&mut text)?;
    Ok(Some(text))
}
