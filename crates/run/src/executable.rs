//! In: this system. Out: whether it lets code become executable, and how. Never here: the code of an artifact.
//!
//! Hardened systems forbid memory that was writable to become executable: `PR_SET_MDWE`, the seccomp filter of
//! systemd's `MemoryDenyWriteExecute=`, SELinux's `execmem` and `execmod`. wasmtime maps an artifact writable and changes
//! the protection of its code afterwards. Where only that is forbidden, [`MappedCode`] maps the code a second time over
//! the same addresses, executable at once, from the file that the artifact is in; nothing was written there, so the
//! bytes are the same.

use crate::sealed::memory_file;
use rustix::fs::ftruncate;
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;
use std::cell::RefCell;
use std::ffi::c_void;
use std::fs::File;
use std::sync::OnceLock;
use wasmtime::CustomCodeMemory;

/// How code becomes executable here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodePermission {
    /// By a change of its protection, as wasmtime does it.
    Protect,
    /// Only by mapping it so from a file.
    Map,
    /// Not at all: Pulley alone runs.
    Denied,
}

/// What this system permits, asked once in a process.
pub(crate) fn code_permission() -> CodePermission {
    static PERMISSION: OnceLock<CodePermission> = OnceLock::new();
    *PERMISSION.get_or_init(|| {
        // Where no memory file can be made, installed artifacts can still be mapped: anonymous memory shows whether.
        let file = empty_page().ok();
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        let executable = ProtFlags::READ | ProtFlags::EXEC;
        if Page::map(file.as_ref(), writable).is_ok_and(|page| page.make_executable().is_ok()) {
            CodePermission::Protect
        } else if Page::map(file.as_ref(), executable).is_ok() {
            CodePermission::Map
        } else {
            CodePermission::Denied
        }
    })
}

/// A memory file of one page, like the sealed copy of an artifact.
fn empty_page() -> Result<File, Errno> {
    let file = memory_file()?;
    ftruncate(&file, page_size() as u64)?;
    Ok(file)
}

/// One private page that nothing is executed from.
struct Page(*mut c_void);

impl Page {
    #[allow(unsafe_code)]
    fn map(file: Option<&File>, protection: ProtFlags) -> Result<Page, Errno> {
        let size = page_size();
        // SAFETY: without a wished address the kernel puts the mapping where nothing else is.
        let start = unsafe {
            match file {
                Some(file) => mmap(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE, file, 0)?,
                None => mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE)?,
            }
        };
        Ok(Page(start))
    }

    #[allow(unsafe_code)]
    fn make_executable(&self) -> Result<(), Errno> {
        // SAFETY: the page is this value's own, and no reference into it exists.
        unsafe { mprotect(self.0, page_size(), MprotectFlags::READ | MprotectFlags::EXEC) }
    }
}

impl Drop for Page {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: as above. An error leaves a page mapped, which does no harm.
        let _ = unsafe { munmap(self.0, page_size()) };
    }
}

/// The code of the artifact that a thread is loading.
pub(crate) struct CodeSource {
    /// The file that the artifact is in, which does not change.
    pub(crate) file: File,
    /// Where its code begins in the file, in bytes.
    pub(crate) offset_bytes: u64,
    /// Whether it was compiled for pages that check the targets of branches (`PROT_BTI`).
    pub(crate) branch_protection: bool,
}

thread_local! {
    static SOURCE: RefCell<Option<CodeSource>> = const { RefCell::new(None) };
}

impl CodeSource {
    /// Runs `load`, in which wasmtime publishes the code of this artifact.
    pub(crate) fn during<T>(self, load: impl FnOnce() -> T) -> T {
        /// Also when `load` panics, the next artifact is not mapped from this file.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                SOURCE.set(None);
            }
        }
        SOURCE.set(Some(self));
        let _reset = Reset;
        load()
    }
}

/// Maps code executable at once, where wasmtime would change the protection of its pages.
pub(crate) struct MappedCode;

impl CustomCodeMemory for MappedCode {
    fn required_alignment(&self) -> usize {
        page_size()
    }

    /// Processors with separate caches see the code, as they see that of a shared library: the kernel synchronises
    /// pages of files that it maps executable.
    fn publish_executable(&self, start: *const u8, size_bytes: usize) -> wasmtime::Result<()> {
        SOURCE.with_borrow(|source| {
            let source = source.as_ref().ok_or_else(|| wasmtime::format_err!("no artifact is being loaded"))?;
            Ok(source.map_over(start, size_bytes)?)
        })
    }

    /// wasmtime unmaps the pages together with those around them.
    fn unpublish_executable(&self, _start: *const u8, _size_bytes: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl CodeSource {
    #[allow(unsafe_code)]
    fn map_over(&self, start: *const u8, size_bytes: usize) -> Result<(), Errno> {
        let mut protection = ProtFlags::READ | ProtFlags::EXEC;
        if self.branch_protection && has_branch_protection() {
            // asm/mman.h, of arm64 alone.
            protection |= ProtFlags::from_bits_retain(0x10);
        }
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: wasmtime owns these pages, which hold a private, unchanged copy of the same bytes of the same file and
        // are published by this call alone; what is mapped there instead has equal content.
        unsafe { mmap(start.cast_mut().cast(), size_bytes, protection, flags, &self.file, self.offset_bytes) }?;
        Ok(())
    }
}

#[cfg(target_arch = "aarch64")]
fn has_branch_protection() -> bool {
    std::arch::is_aarch64_feature_detected!("bti")
}

#[cfg(not(target_arch = "aarch64"))]
fn has_branch_protection() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_may_become_executable_where_tests_run() {
        assert_eq!(code_permission(), CodePermission::Protect);
    }

    #[test]
    fn a_source_is_forgotten_after_a_panic() {
        let file = empty_page().expect("memory files work where tests run");
        let source = CodeSource { file, offset_bytes: 0, branch_protection: false };
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| source.during(|| panic!("on purpose"))));
        assert!(panicked.is_err());
        let published = MappedCode.publish_executable(std::ptr::null(), page_size());
        assert_eq!(published.expect_err("nothing is loaded").to_string(), "no artifact is being loaded");
    }
}
