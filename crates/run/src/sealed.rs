//! In: bytes from any source. Out: [`SealedBytes`], a copy in a memory file that the kernel seals against every change, by
//! this process too. What is hashed there is what is mapped later.
//!
//! A file on disk could be overwritten between its check and its use, or while it runs; a truncated one is a SIGBUS.

use crate::map::Map;
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::{Digest, Hinted};
use isomer_file::memory::{self, HEADROOM_BYTES};
use isomer_file::system::is_out_of_descriptors;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::mm::MapFlags;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

/// Large enough for few system calls, small enough to stay in the CPU's cache.
const BUFFER_SIZE_BYTES: usize = 256 << 10;

/// A small artifact is not worth the page faults of a large buffer.
const FIRST_BUFFER_SIZE_BYTES: usize = 16 << 10;

/// After so many bytes, the control group is asked whether it leaves room for as many again.
const MEMORY_STEP_BYTES: u64 = 2 << 20;

/// What errors of a control group say.
pub(crate) const TOO_LITTLE_MEMORY: &str = "a control group leaves too little memory";

/// How often a seal is tried: for about three seconds.
const SEAL_TRIES_MAX: u32 = 20;

/// No child inherits it, and it can be sealed.
const MEMORY_FILE: MemfdFlags = MemfdFlags::CLOEXEC.union(MemfdFlags::ALLOW_SEALING);

/// Against every change, and against the removal of these seals.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why bytes cannot be sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// They cannot be read.
    #[error("cannot read the artifact")]
    Read(#[source] io::Error),
    /// They exceed the limit.
    #[error("the artifact is larger than {max} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max: u64,
    },
    /// A control group would end this process for the rest of the copy.
    #[error(
        "a control group leaves too little memory for a copy of the artifact: {} MiB after its first {} MiB",
        .available_bytes >> 20, .copied_bytes >> 20
    )]
    Memory {
        /// What it leaves, in bytes.
        available_bytes: u64,
        /// How many bytes were copied.
        copied_bytes: u64,
        /// The same, as [`memory::refusal`].
        source: io::Error,
    },
    /// The kernel creates no memory file.
    #[error("cannot create a memory file (memfd_create) to hold the artifact")]
    Create(#[source] io::Error),
    /// The bytes cannot be written to the memory file.
    #[error("cannot copy the artifact into memory")]
    Write(#[source] io::Error),
    /// The memory file cannot be sealed.
    #[error("cannot seal the memory file that holds the artifact")]
    Seal(#[source] io::Error),
    /// The memory file cannot be mapped.
    #[error("cannot map the memory file that holds the artifact")]
    Map(#[source] io::Error),
}

impl Hinted for SealError {
    fn hint(&self) -> Option<String> {
        match self {
            // A program says better how that limit is raised.
            SealError::Create(error) if is_out_of_descriptors(error) => None,
            SealError::Create(_) => Some(
                "allow memfd_create (kernel 3.17 or later; seccomp profile), or install the module \
                 in a protected store, from which it is mapped without a copy"
                    .to_owned(),
            ),
            SealError::Memory { .. } => Some(
                "install the module in a protected store, from which it is mapped without a copy, or raise the limit \
                 (memory.max)"
                    .to_owned(),
            ),
            SealError::Write(error) if error.raw_os_error() == Some(Errno::FBIG.raw_os_error()) => {
                Some("the limit on file sizes (`ulimit -f`) holds for memory files, too: raise it".to_owned())
            }
            SealError::Seal(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => Some(
                "something on this machine has held a page of the copy for seconds: try again, or install the module in a \
                 protected store, from which it is mapped without a copy"
                    .to_owned(),
            ),
            SealError::Seal(_) => Some("the kernel must support F_ADD_SEALS on memory files".to_owned()),
            SealError::Write(error) if error.kind() == ErrorKind::StorageFull => {
                Some("give this process more memory".to_owned())
            }
            _ => None,
        }
    }
}

/// Bytes that can be read and mapped, and never change.
#[derive(Debug)]
pub struct SealedBytes {
    file: File,
    map: Map,
}

impl SealedBytes {
    /// Copies all of `from`, at most `size_bytes_max` bytes, and seals the copy.
    ///
    /// # Errors
    /// When they cannot be read, exceed the limit, or the kernel refuses a sealed copy.
    pub fn copy(from: impl Read, size_bytes_max: u64) -> Result<SealedBytes, SealError> {
        let mut file = memory_file().map_err(|error| SealError::Create(error.into()))?;
        let size_bytes = copy(from, &mut file, size_bytes_max.min(ARTIFACT_SIZE_BYTES_MAX), memory::available_bytes)?;
        seal(&file).map_err(|error| SealError::Seal(error.into()))?;
        let map = Map::of(&file, size_bytes, MapFlags::POPULATE).map_err(|error| SealError::Map(error.into()))?;
        Ok(SealedBytes { file, map })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        Digest::of(self.bytes())
    }

    /// The sealed file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// Seals the file against every change.
///
/// The kernel refuses it (EBUSY) while anything holds one of its pages, which the kernel's own reclaim and migration of
/// memory do for moments: seen about once in 200 copies of 26 MB on a virtual machine whose kernel runs DAMON. Each try
/// waits for up to 150 ms in the kernel before it fails.
fn seal(file: &File) -> Result<(), Errno> {
    let mut tries = 1;
    loop {
        match fcntl_add_seals(file, SEALS) {
            Err(Errno::BUSY) if tries < SEAL_TRIES_MAX => tries += 1,
            sealed => return sealed,
        }
    }
}

/// An empty memory file. It needs no execute permission: `execve` requires that, a mapping does not, and a kernel with
/// `vm.memfd_noexec=2` creates none that has it.
pub(crate) fn memory_file() -> Result<File, Errno> {
    let fd = match memfd_create("isomer", MEMORY_FILE.union(MemfdFlags::NOEXEC_SEAL)) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => memfd_create("isomer", MEMORY_FILE),
        other => other,
    }?;
    Ok(File::from(fd))
}

/// Copies all of `from`, unless `available_bytes` says on the way that a control group leaves too little memory.
fn copy(
    mut from: impl Read,
    to: &mut File,
    size_bytes_max: u64,
    available_bytes: impl Fn() -> Option<u64>,
) -> Result<u64, SealError> {
    let mut buffer = vec![0; FIRST_BUFFER_SIZE_BYTES];
    let mut copied: u64 = 0;
    let mut next_question = MEMORY_STEP_BYTES;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(SealError::Read(error)),
        };
        copied += read as u64;
        if copied > size_bytes_max {
            return Err(SealError::TooLarge { max: size_bytes_max });
        }
        if copied >= next_question {
            check_memory(copied, available_bytes())?;
            next_question += MEMORY_STEP_BYTES;
        }
        to.write_all(&buffer[..read]).map_err(SealError::Write)?;
        if read == buffer.len() && read < BUFFER_SIZE_BYTES {
            buffer.resize(2 * read, 0);
        }
    }
}

fn check_memory(copied_bytes: u64, available_bytes: Option<u64>) -> Result<(), SealError> {
    match available_bytes {
        Some(available_bytes) if available_bytes < MEMORY_STEP_BYTES + HEADROOM_BYTES => {
            let source = memory::refusal(TOO_LITTLE_MEMORY);
            Err(SealError::Memory { available_bytes, copied_bytes, source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_testing::failing::fails_once;
    use rustix::io::{FdFlags, fcntl_getfd};
    use std::cell::Cell;
    use std::io::{Seek, SeekFrom};

    #[test]
    fn sealed_bytes_cannot_be_changed() {
        let sealed = SealedBytes::copy(&b"isomer"[..], 6).expect("memfds work where tests run");
        assert_eq!(sealed.bytes(), b"isomer");
        assert_eq!(sealed.digest(), Digest::of(b"isomer"));
        let mut file = sealed.file().try_clone().expect("descriptors are left");
        file.seek(SeekFrom::Start(0)).expect("memory files seek");
        assert_eq!(file.write(b"x").map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
        assert_eq!(file.set_len(1).map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
        assert_eq!(file.set_len(9).map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(sealed.file()));
        let reopened = std::fs::OpenOptions::new().write(true).open(path);
        assert!(reopened.map_or(true, |mut file| file.write(b"x").is_err()));
        assert_eq!(sealed.bytes(), b"isomer");
    }

    #[test]
    fn no_child_inherits_a_memory_file() {
        let file = memory_file().expect("memfds work where tests run");
        assert!(fcntl_getfd(&file).expect("it is open").contains(FdFlags::CLOEXEC));
    }

    #[test]
    fn limits_and_edges() {
        assert_eq!(SealedBytes::copy(io::empty(), 0).expect("nothing is sealed too").bytes(), b"");
        assert!(matches!(SealedBytes::copy(io::repeat(0), 1 << 20), Err(SealError::TooLarge { max: 0x10_0000 })));
        let large = vec![7; 3 * BUFFER_SIZE_BYTES + 1];
        assert_eq!(SealedBytes::copy(&large[..], u64::MAX).expect("memory is left").bytes(), large);
    }

    #[test]
    fn an_interruption_is_no_end_and_any_other_error_is() {
        let copied = |kind| SealedBytes::copy(fails_once(kind), 3);
        assert_eq!(copied(ErrorKind::Interrupted).expect("it goes on").bytes(), b"abc");
        match copied(ErrorKind::ConnectionReset) {
            Err(SealError::Read(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_control_group_is_asked_every_two_mebibytes() {
        let copy = |size_bytes: u64, available_bytes: &dyn Fn() -> Option<u64>| {
            let mut file = memory_file().expect("memfds work where tests run");
            copy(io::repeat(7).take(size_bytes), &mut file, u64::MAX, available_bytes)
        };
        let asked = Cell::new(0);
        let just_enough = || {
            asked.set(asked.get() + 1);
            Some(6 << 20)
        };
        assert_eq!(copy(10 << 20, &just_enough).expect("it is enough"), 10 << 20);
        assert_eq!(asked.get(), 5);
        assert_eq!(copy(10 << 20, &|| None).expect("there is no limit"), 10 << 20);
        match copy(10 << 20, &|| Some((6 << 20) - 1)) {
            Err(SealError::Memory { available_bytes: 6_291_455, copied_bytes: 2_342_912, .. }) => {}
            other => panic!("{other:?}"),
        }
        // A small one is not worth a question.
        copy((2 << 20) - 1, &|| Some(0)).expect("it is not asked");
    }

    /// A pipe holds pages that were spliced into it until they are read.
    #[test]
    fn pages_that_are_held_for_a_moment_are_waited_for() {
        let mut file = memory_file().expect("memfds work where tests run");
        file.write_all(&[7; 8192]).expect("memory is left");
        let (mut reader, writer) = io::pipe().expect("a pipe can be made");
        let held = rustix::pipe::splice(&file, Some(&mut 0), &writer, None, 8192, rustix::pipe::SpliceFlags::empty());
        assert_eq!(held, Ok(8192));
        drop(writer);
        assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::BUSY));
        let reading = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        seal(&file).expect("the pages are free again");
        assert_eq!(reading.join().expect("no panic").expect("a pipe can be read"), [7; 8192]);
        assert!(file.write_all(b"x").is_err(), "it is sealed");
    }

    #[test]
    fn what_the_system_denies_has_a_hint() {
        let error = |errno: Errno| io::Error::from(errno);
        for (error, expected) in [
            (SealError::Create(error(Errno::PERM)), Some("allow memfd_create")),
            (SealError::Create(error(Errno::MFILE)), None),
            (SealError::Create(error(Errno::NFILE)), None),
            (
                SealError::Memory { available_bytes: 0, copied_bytes: 0, source: memory::refusal(TOO_LITTLE_MEMORY) },
                Some("raise the limit (memory.max)"),
            ),
            (SealError::Write(error(Errno::FBIG)), Some("`ulimit -f`")),
            (SealError::Write(error(Errno::NOSPC)), Some("give this process more memory")),
            (SealError::Write(error(Errno::IO)), None),
            (SealError::Seal(error(Errno::PERM)), Some("F_ADD_SEALS")),
            (SealError::Seal(error(Errno::BUSY)), Some("try again")),
            (SealError::Read(error(Errno::FBIG)), None),
            (SealError::TooLarge { max: 1 }, None),
        ] {
            let hint = error.hint();
            match expected {
                Some(expected) => assert!(hint.unwrap_or_default().contains(expected), "{error}"),
                None => assert_eq!(hint, None, "{error}"),
            }
        }
    }
}
