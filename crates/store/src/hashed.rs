//! What this machine hashed. In: an artifact of a store, open and judged. Out: the record that this machine hashed that very
//! file, or every reason why it must be hashed again. Never here: a file's name, owner or path as evidence of
//! its content.
//!
//! # The records
//! `/var/lib/isomer-hashed` holds a small document for each artifact: its digest, and the inode, size, time of change and
//! time of birth that the file had when root hashed it. It lies outside of every store, so that a copy of a store
//! (`cp -a`, `tar`, an image that is mounted) brings none along; root alone can write it; and it counts for files on its
//! own file system alone, so that an image, a stick or a network share can forge no inode or time: only the kernel of
//! this machine, or what writes the disk below the running system, sets those. A write, a rename, a change of
//! permissions or a restored copy changes the time of change, which no program can set.
//!
//! A file is recorded only if no process has it open for writing, or mapped so: the kernel grants a read lease only then.
//! Afterwards only root can open it for writing.
//!
//! fs-verity would do without the records where a release names its digest; releases do not, yet.

use crate::StoreError;
use crate::directory::{Directory, OpenFile, Walked};
use crate::mounts::{has_option, list, mount_of};
use crate::proc;
use crate::weakness::Weakness;
use isomer_contract::Digest;
use isomer_trust::Timestamp;
use rustix::fs::{AtFlags, StatVfsMountFlags, Statx, StatxFlags, StatxTimestamp, fstat, fstatfs, fstatvfs, statx};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the records are, and their directory's name there.
const RECORDS: (&str, &str) = ("/var/lib", "isomer-hashed");

/// A document in [`RECORDS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct HashRecord {
    /// The digest of all its bytes.
    artifact: Digest,
    /// When they were hashed, in RFC 3339.
    at: String,
    /// The file that was hashed.
    file: Identity,
    /// Where it was then, for those who look for what can go.
    path: PathBuf,
}

impl HashRecord {
    /// When the file was hashed.
    pub(crate) fn at(&self) -> &str {
        &self.at
    }
}

/// What tells a file from every other on its file system, before and after any change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Identity {
    inode: u64,
    size_bytes: u64,
    /// In seconds since 1970 and nanoseconds.
    changed: (i64, u32),
    /// Where the file system keeps it.
    born: Option<(i64, u32)>,
}

/// Without these, a file has no identity.
const REQUIRED: StatxFlags = StatxFlags::INO.union(StatxFlags::SIZE).union(StatxFlags::CTIME);

impl Identity {
    fn of(file: &File) -> Option<Identity> {
        let stat: Statx = statx(file, "", AtFlags::EMPTY_PATH, REQUIRED.union(StatxFlags::BTIME)).ok()?;
        let has = |flags: StatxFlags| StatxFlags::from_bits_retain(stat.stx_mask).contains(flags);
        let time = |time: StatxTimestamp| (time.tv_sec, time.tv_nsec);
        has(REQUIRED).then(|| Identity {
            inode: stat.stx_ino,
            size_bytes: stat.stx_size,
            changed: time(stat.stx_ctime),
            born: has(StatxFlags::BTIME).then(|| time(stat.stx_btime)),
        })
    }

    /// What differs, if anything does.
    fn difference(&self, recorded: &Identity) -> Option<&'static str> {
        if self.inode != recorded.inode {
            Some("inode")
        } else if self.size_bytes != recorded.size_bytes {
            Some("size")
        } else if self.changed != recorded.changed {
            Some("time of change")
        } else if self.born != recorded.born {
            Some("time of birth")
        } else {
            None
        }
    }
}

/// The record that this machine hashed the open file `opened` as `artifact`, and that nothing changed it since; or every
/// reason against that.
pub(crate) fn record_of(opened: &OpenFile, artifact: Digest) -> Result<HashRecord, Vec<Weakness>> {
    let weaknesses = weaknesses(opened);
    if !weaknesses.is_empty() {
        return Err(weaknesses);
    }
    find(opened, artifact).map_err(|weakness| vec![weakness])
}

fn weaknesses(opened: &OpenFile) -> Vec<Weakness> {
    let mut weaknesses = opened.judgement.weaknesses().to_vec();
    weaknesses.extend(no_execution(opened));
    weaknesses.extend(file_system(opened));
    if weaknesses.is_empty() {
        weaknesses.extend(namespace());
    }
    weaknesses
}

fn find(opened: &OpenFile, artifact: Digest) -> Result<HashRecord, Weakness> {
    let unknown = || Weakness::NotRecorded(opened.real.clone());
    let Walked { directory, missing } = Directory::walk(Path::new(RECORDS.0)).map_err(|_| unknown())?;
    if !missing.is_empty() {
        return Err(unknown());
    }
    let Ok(Some(records)) = directory.directory(RECORDS.1) else { return Err(unknown()) };
    lies_beside(opened, &records)?;
    let identity = Identity::of(&opened.file).ok_or_else(unknown)?;
    let Ok(Some(file)) = records.file(name_of(artifact, identity.inode)) else { return Err(unknown()) };
    match file.judgement.weaknesses().iter().find(|weakness| !matches!(weakness, Weakness::Link(_))) {
        Some(weakness) => return Err(weakness.clone()),
        None if file.stat.st_dev != opened.stat.st_dev => return Err(unknown()),
        None => {}
    }
    let record = read(file).filter(|record| record.artifact == artifact).ok_or_else(unknown)?;
    match identity.difference(&record.file) {
        None => Ok(record),
        Some(what) => Err(Weakness::Changed { path: opened.real.clone(), what }),
    }
}

fn name_of(artifact: Digest, inode: u64) -> String {
    format!("{}-{inode}.json", artifact.hex())
}

/// No record has more than this.
const RECORD_SIZE_BYTES_MAX: u64 = 64 << 10;

fn read(file: OpenFile) -> Option<HashRecord> {
    let mut bytes = Vec::new();
    file.file.take(RECORD_SIZE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// That the file lies on the file system of `records`, and that its mount is trusted as much. On another one, what has the
/// right inode and times may have been made elsewhere.
fn lies_beside(opened: &OpenFile, records: &Directory) -> Result<(), Weakness> {
    let path = || opened.real.clone();
    let elsewhere = || Weakness::OtherFileSystem { path: path(), records: Path::new(RECORDS.0).join(RECORDS.1) };
    let fd = records.descriptor().map_err(|_| elsewhere())?;
    if !fstat(&fd).is_ok_and(|stat| stat.st_dev == opened.stat.st_dev) {
        return Err(elsewhere());
    }
    let mounted = |fd: BorrowedFd<'_>| fstatvfs(fd).map(|stat| stat.f_flag);
    let (Ok(file), Ok(beside)) = (mounted(opened.file.as_fd()), mounted(fd.as_fd())) else { return Err(elsewhere()) };
    let shows_other_owners = shows_other_owners(mount_of(&opened.file), mount_of(&fd), is_idmapped);
    match lost_option(file, beside).or(shows_other_owners.then_some("idmapped")) {
        Some(option) => Err(Weakness::Mount { path: path(), option }),
        None => Ok(()),
    }
}

/// The option of a mount for what others provide that the `file`'s has and the records' has not.
fn lost_option(file: StatVfsMountFlags, records: StatVfsMountFlags) -> Option<&'static str> {
    let options = [(StatVfsMountFlags::NOSUID, "nosuid"), (StatVfsMountFlags::NODEV, "nodev")];
    options.into_iter().find(|(flag, _)| file.contains(*flag) && !records.contains(*flag)).map(|(_, option)| option)
}

/// Whether the mount of a file may show other owners than that of the records: one mount shows both in the same way.
fn shows_other_owners(file: Option<u64>, records: Option<u64>, is_idmapped: impl Fn(u64) -> Option<bool>) -> bool {
    file.is_some() && file != records && file.and_then(is_idmapped) != Some(false)
}

/// Whether a mount shows files of other users as root's, or root's as other users'; none where that cannot be told.
fn is_idmapped(mount: u64) -> Option<bool> {
    has_option(&list()?, mount, "idmapped")
}

/// An artifact that is about to be hashed, and may be recorded afterwards.
pub(crate) struct Witness {
    records: Directory,
    identity: Identity,
}

impl Witness {
    /// Before `opened` is hashed. None where a record would not count; where that is because a process has it open for
    /// writing, the reason is added to `reasons`.
    pub(crate) fn of(opened: &OpenFile, reasons: &mut Vec<Weakness>) -> Option<Witness> {
        if !geteuid().is_root() || !weaknesses(opened).is_empty() {
            return None;
        }
        let Walked { directory, missing } = Directory::walk(Path::new(RECORDS.0)).ok()?;
        let only_links = |directory: &Directory| {
            directory.judgement().weaknesses().iter().all(|weakness| matches!(weakness, Weakness::Link(_)))
        };
        if !missing.is_empty() || !only_links(&directory) {
            return None;
        }
        // It may be a mount of its own, as in a container. It is made only where it would be beside the file.
        let records = match directory.directory(RECORDS.1).ok()? {
            Some(records) => records,
            None if lies_beside(opened, &directory).is_ok() => directory.make_directory(RECORDS.1).ok()?,
            None => return None,
        };
        if !only_links(&records) {
            return None;
        }
        lies_beside(opened, &records).ok()?;
        if !has_no_writer(&opened.file) {
            reasons.push(Weakness::OpenForWriting(opened.real.clone()));
            return None;
        }
        Some(Witness { records, identity: Identity::of(&opened.file)? })
    }

    /// After all bytes of `opened` were read and found to have the digest `artifact`. Whether it is recorded now: without
    /// a record it is hashed each time, and that is all.
    pub(crate) fn record(self, opened: &OpenFile, artifact: Digest) -> bool {
        if Identity::of(&opened.file).as_ref() != Some(&self.identity) {
            return false;
        }
        let name = name_of(artifact, self.identity.inode);
        let at = Timestamp::now().to_string();
        let record = HashRecord { artifact, at, file: self.identity, path: opened.real.clone() };
        let bytes = crate::files::json(&record);
        // What is cut by a crash does not parse, and does not count.
        let written = self.records.remove(&name).and_then(|()| self.records.write_new(&name, &bytes));
        if let Err(error) = &written {
            tracing::debug!("{} is hashed each time: {error}", opened.real.display());
        }
        written.is_ok()
    }
}

/// Removes the records of files that are gone. One that stays counts for nothing but its file.
pub(crate) fn forget_missing() {
    if geteuid().is_root()
        && let Err(error) = try_to_forget_missing()
    {
        tracing::debug!("records of files that are gone stay: {error}");
    }
}

fn try_to_forget_missing() -> Result<(), StoreError> {
    let Walked { directory, missing } = Directory::walk(Path::new(RECORDS.0))?;
    let Some(records) = directory.directory(RECORDS.1)?.filter(|_| missing.is_empty()) else { return Ok(()) };
    for name in records.names()? {
        let record = records.file(&name).ok().flatten().and_then(read);
        // Wherever this path leads: without its record, a file is hashed again.
        let exists = |record: &HashRecord| {
            fs::symlink_metadata(&record.path).is_ok_and(|metadata| metadata.ino() == record.file.inode)
        };
        if !record.as_ref().is_some_and(exists) {
            records.remove(&name)?;
        }
    }
    Ok(())
}

fn no_execution(opened: &OpenFile) -> Option<Weakness> {
    let executable = fstatvfs(&opened.file).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::NOEXEC));
    (!executable).then(|| Weakness::Mount { path: opened.real.clone(), option: "noexec" })
}

/// Those that set a file's time of change with every change, and whose files change by way of this machine's kernel
/// alone. `linux/magic.h`; the type of `f_type` differs between architectures.
fn file_system(opened: &OpenFile) -> Option<Weakness> {
    let kind = match fstatfs(&opened.file) {
        Ok(stat) => unattested(stat.f_type as u32)?,
        Err(error) => format!("a file system that cannot be examined: {error}"),
    };
    Some(Weakness::FileSystem { path: opened.real.clone(), kind })
}

/// Describes a file system of this type; none for ext4, XFS, Btrfs and tmpfs, which are trusted.
fn unattested(kind: u32) -> Option<String> {
    let words = match kind {
        0xef53 | 0x5846_5342 | 0x9123_683e | 0x0102_1994 => return None,
        0x794c_7630 => "overlayfs, where others may be able to write a lower layer",
        0x6573_5546 => "a FUSE file system, whose content a program provides",
        0x6969 => "NFS, where another machine can change it",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB, where another machine can change it",
        0x0102_1997 => "9P, where another machine can change it",
        0x00c3_6400 => "Ceph, where another machine can change it",
        other => return Some(format!("a file system of the type {other:#x}, expected ext4, XFS, Btrfs or tmpfs")),
    };
    Some(words.to_owned())
}

/// Which users the kernel says are the system's.
const USERS: &str = "/proc/self/uid_map";
const USERS_SIZE_BYTES_MAX: u64 = 4096;

/// That root, to whom files belong as this process sees it, is the system's.
fn namespace() -> Option<Weakness> {
    foreign_root(proc::read(USERS, USERS_SIZE_BYTES_MAX))
}

/// Why root is not the system's, as the content of [`USERS`] says; none of it where that is not the kernel's.
fn foreign_root(users: std::io::Result<Option<String>>) -> Option<Weakness> {
    let reason = match users {
        Ok(Some(users)) if users.split_whitespace().eq(["0", "0", "4294967295"]) => return None,
        Ok(Some(_)) => "root is not the system's root in this user namespace".to_owned(),
        Ok(None) => format!("`{USERS}` is not the kernel's, which says whether root is the system's root"),
        Err(error) => format!("cannot read `{USERS}`, which says whether root is the system's root: {error}"),
    };
    Some(Weakness::Namespace { reason })
}

/// Whether no process has the file open for writing, or mapped so. False where the file system grants no leases.
#[allow(unsafe_code)]
fn has_no_writer(file: &File) -> bool {
    // asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    let fd = file.as_raw_fd();
    // SAFETY: none of these calls reads or writes memory of this process. A lease that is broken in the moment for which
    // it is held raises SIGURG, which is ignored by default, instead of SIGIO, which is not.
    unsafe {
        libc::fcntl(fd, F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) == 0
            && libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) == 0
    }
}

#[cfg(test)]
mod tests;
