//! In: an open file that does not change. Out: its bytes, without a copy.

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::NonNull;

/// A read-only mapping of a file that does not change while it is mapped.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<c_void>,
    size_bytes: usize,
}

// SAFETY: the mapping is read-only and its file does not change (see `of`), so the memory is constant for as long as it
// is mapped, and `munmap` may be called from any thread.
#[allow(unsafe_code)]
unsafe impl Send for Map {}
// SAFETY: as above; shared reads of constant memory are no race.
#[allow(unsafe_code)]
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `size_bytes` of `file`, which must be sealed, or be a file that no untrusted user can change.
    /// `how` may request all of its pages at once.
    #[allow(unsafe_code)]
    pub(crate) fn of(file: &File, size_bytes: u64, how: MapFlags) -> Result<Map, Errno> {
        let size_bytes = usize::try_from(size_bytes).map_err(|_| Errno::FBIG)?;
        if size_bytes == 0 {
            return Ok(Map { start: NonNull::dangling(), size_bytes });
        }
        let flags = MapFlags::SHARED | how;
        // SAFETY: without a requested address the kernel puts the mapping where nothing else is mapped.
        let start = unsafe { mmap(std::ptr::null_mut(), size_bytes, ProtFlags::READ, flags, file, 0) }?;
        NonNull::new(start).map(|start| Map { start, size_bytes }).ok_or(Errno::INVAL)
    }

    #[allow(unsafe_code)]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is dangling and `size_bytes` 0, or they are a live mapping of a file that can neither shrink
        // nor change, which `drop` alone unmaps.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.size_bytes) }
    }
}

impl Drop for Map {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if self.size_bytes > 0 {
            // SAFETY: the mapping is this value's own, and `bytes` lends it no longer than it lives. An error
            // leaves it mapped, which is harmless.
            let _ = unsafe { munmap(self.start.as_ptr(), self.size_bytes) };
        }
    }
}

/// A file that is mapped where it is stored, not copied: for a store whose files cannot change.
#[derive(Debug)]
pub struct MappedFile {
    file: File,
    map: Map,
}

impl MappedFile {
    /// Maps the first `size_bytes` of `file`. No page is read before its bytes are.
    ///
    /// # Safety
    /// For as long as this value lives, and whatever is loaded from it, nothing may write to the file or truncate it.
    ///
    /// # Errors
    /// When the kernel does not map it.
    #[allow(unsafe_code)]
    pub unsafe fn new(file: File, size_bytes: u64) -> io::Result<MappedFile> {
        let map = Map::of(&file, size_bytes, MapFlags::empty())?;
        Ok(MappedFile { file, map })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}
