//! In: a tar file that holds an OCI image layout. Out: the offset of each of the layout's files in it. Never here: a file
//! unpacked, a link followed, a size that was not compared with the archive's own.
//!
//! Only names that two readers of tar cannot disagree on are accepted: no extension header that renames or resizes a
//! member, no second member of the same name. An archive with a member that is neither a file nor a directory, or with a
//! name that leads out of it, is refused. Files that are not part of a layout are ignored.

use crate::LayoutError;
use crate::content::{Content, Regular, io_error};
use isomer_contract::shorten;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tar::{EntryType, PaxExtensions};

/// The most members of an archive: a release of a thousand modules has fewer.
pub(crate) const MEMBERS_MAX: usize = 1 << 16;

const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// The largest extension header.
const EXTENSION_SIZE_BYTES_MAX: u64 = 64 << 10;

/// An archive, held open.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    file: File,
    members: BTreeMap<String, Member>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    position: u64,
    size_bytes: u64,
}

impl Archive {
    /// Reads the headers of the archive at `path`, not the data between them.
    pub(crate) fn open(path: &Path) -> Result<Archive, LayoutError> {
        let error = |error| io_error(path, error);
        // NONBLOCK: a pipe must not hang the reader before its type is known.
        let mut file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path).map_err(error)?;
        let there = file.metadata().map_err(error)?;
        if !there.is_file() {
            let found = if there.is_dir() { "a directory" } else { "a device, socket or pipe" };
            return Err(LayoutError::FileType { file: path.to_owned(), found, expected: "a tar file" });
        }
        let mut magic = [0; 4];
        let compressed = match file.read(&mut magic).map_err(error)? {
            2.. if magic.starts_with(&[0x1f, 0x8b]) => Some("gzip"),
            4 if magic == [0x28, 0xb5, 0x2f, 0xfd] => Some("zstd"),
            _ => None,
        };
        if let Some(program) = compressed {
            let reason = format!("it is compressed with {program}, expected an uncompressed tar file");
            return Err(LayoutError::Malformed { file: path.to_owned(), reason });
        }
        file.seek(SeekFrom::Start(0)).map_err(error)?;
        let members = members(path, &file, there.len())?;
        Ok(Archive { path: path.to_owned(), file, members })
    }

    /// The member whose name is `names` joined by `/`, if it exists.
    pub(crate) fn open_regular(&self, names: &[&str]) -> Result<Option<Regular>, LayoutError> {
        let Some(Member { position, size_bytes }) = self.members.get(&names.join("/")).copied() else {
            return Ok(None);
        };
        let file = self.file.try_clone().map_err(|error| io_error(&self.path, error))?;
        Ok(Some(Regular { file: Content::part(file, position, size_bytes), size_bytes }))
    }
}

fn members(path: &Path, file: &File, file_size_bytes: u64) -> Result<BTreeMap<String, Member>, LayoutError> {
    let malformed = |reason: String| LayoutError::Malformed { file: path.to_owned(), reason };
    let not_tar = |error: std::io::Error| malformed(format!("it is not a tar file: {}", shorten(&error.to_string())));
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for (number, entry) in archive.entries_with_seek().map_err(not_tar)?.raw(true).enumerate() {
        if number == MEMBERS_MAX {
            return Err(malformed(format!("it has more than {MEMBERS_MAX} members")));
        }
        let mut entry = entry.map_err(not_tar)?;
        let shown = shorten(&String::from_utf8_lossy(&entry.path_bytes()));
        let (position, size_bytes) = (entry.raw_file_position(), entry.size());
        if position.checked_add(size_bytes).is_none_or(|end| end > file_size_bytes) {
            return Err(malformed(format!(
                "its member `{shown}` of {size_bytes} bytes ends after the end of the archive"
            )));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Directory => {}
            EntryType::XHeader | EntryType::XGlobalHeader => {
                check_extensions(&mut entry, size_bytes).map_err(|reason| malformed(format!("`{shown}`: {reason}")))?;
                continue;
            }
            other => {
                return Err(malformed(format!("its member `{shown}` is {}, expected a file", kind_name(other))));
            }
        }
        let name =
            name(&entry.path_bytes()).ok_or_else(|| malformed(format!("its member `{shown}` leads out of it")))?;
        if kind == EntryType::Regular && members.insert(name, Member { position, size_bytes }).is_some() {
            return Err(LayoutError::Duplicate { file: path.to_owned(), what: format!("the member `{shown}`") });
        }
    }
    Ok(members)
}

/// A member's name without the `./` that `tar .` writes, or none if it leads out of the archive.
fn name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes).ok()?;
    if name.starts_with('/') || name.contains('\0') {
        return None;
    }
    let parts: Vec<_> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// Refuses an extension header with a name or size. Times and owners are ignored.
fn check_extensions(entry: &mut impl Read, size_bytes: u64) -> Result<(), String> {
    if size_bytes > EXTENSION_SIZE_BYTES_MAX {
        return Err(format!("an extension header of {size_bytes} bytes, expected at most {EXTENSION_SIZE_BYTES_MAX}"));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| shorten(&error.to_string()))?;
    for extension in PaxExtensions::new(&bytes) {
        let extension = extension
            .map_err(|error| format!("an extension header that does not parse: {}", shorten(&error.to_string())))?;
        let key = String::from_utf8_lossy(extension.key_bytes());
        if ["path", "linkpath", "size"].contains(&&*key) || key.starts_with("GNU.sparse") {
            return Err(format!("an extension header with `{}`, which isomer does not read", key.escape_debug()));
        }
    }
    Ok(())
}

fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse => "a file with holes",
        EntryType::GNULongName | EntryType::GNULongLink => "a header with a long name",
        _ => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Layout;
    use tar::{Builder, Header};

    fn member(archive: &mut Builder<Vec<u8>>, name: &[u8], kind: EntryType, bytes: &[u8]) {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // The crate's own setter refuses what is to be refused here.
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        archive.append(&header, bytes).expect("vectors take all");
    }

    /// What is wrong with an archive that is a layout but for what `add` adds.
    fn problem(add: impl FnOnce(&mut Builder<Vec<u8>>)) -> Option<String> {
        let mut archive = Builder::new(Vec::new());
        member(&mut archive, b"./", EntryType::Directory, b"");
        member(&mut archive, b"./oci-layout", EntryType::Regular, crate::document::LAYOUT_FILE.as_bytes());
        member(&mut archive, b"index.json", EntryType::Regular, br#"{"schemaVersion":2,"manifests":[]}"#);
        add(&mut archive);
        opened(&archive.into_inner().expect("vectors take all"))
    }

    fn opened(bytes: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().expect("there is room");
        let path = dir.path().join("a.tar");
        std::fs::write(&path, bytes).expect("there is room");
        Layout::open_archive(&path).err().map(|error| error.to_string())
    }

    fn extension(key: &str, value: &str) -> Vec<u8> {
        // A record begins with its own length: here always two digits.
        let rest = format!(" {key}={value}\n");
        let record = format!("{}{rest}", rest.len() + 2);
        assert!(record.len() < 100);
        record.into_bytes()
    }

    #[test]
    fn a_layout_in_an_archive_may_have_other_files_beside_it() {
        assert_eq!(problem(|_| {}), None);
        assert_eq!(problem(|it| member(it, b"SHA256SUMS", EntryType::Regular, b"text")), None);
        assert_eq!(problem(|it| member(it, b"x", EntryType::XHeader, &extension("mtime", "1700000000.5"))), None);
    }

    #[test]
    fn what_two_readers_could_disagree_on_is_refused() {
        type Add = fn(&mut Builder<Vec<u8>>);
        let cases: [(&str, Add); 16] = [
            ("leads out of it", |it| member(it, b"../oci-layout", EntryType::Regular, b"")),
            ("leads out of it", |it| member(it, b"blobs/../../x", EntryType::Regular, b"")),
            ("leads out of it", |it| member(it, b"/etc/passwd", EntryType::Regular, b"")),
            ("leads out of it", |it| member(it, b"a\xff", EntryType::Regular, b"")),
            ("leads out of it", |it| member(it, b"..", EntryType::Directory, b"")),
            ("a symbolic link", |it| member(it, b"blobs", EntryType::Symlink, b"")),
            ("a hard link", |it| member(it, b"blobs/sha256/00", EntryType::Link, b"")),
            ("a device", |it| member(it, b"null", EntryType::Char, b"")),
            ("a pipe", |it| member(it, b"pipe", EntryType::Fifo, b"")),
            ("a file with holes", |it| member(it, b"sparse", EntryType::GNUSparse, b"")),
            ("a long name", |it| member(it, b"././@LongLink", EntryType::GNULongName, b"index.json\0")),
            ("of an unknown kind", |it| member(it, b"odd", EntryType::new(b'Z'), b"")),
            ("`path`", |it| member(it, b"x", EntryType::XHeader, &extension("path", "index.json"))),
            ("`size`", |it| member(it, b"x", EntryType::XGlobalHeader, &extension("size", "1"))),
            ("`GNU.sparse.major`", |it| member(it, b"x", EntryType::XHeader, &extension("GNU.sparse.major", "1"))),
            ("does not parse", |it| member(it, b"x", EntryType::XHeader, b"nonsense")),
        ];
        for (words, add) in cases {
            let problem = problem(add).unwrap_or_else(|| panic!("{words}: it was taken"));
            assert!(problem.contains(words), "{words}: {problem}");
        }
        for name in [&b"oci-layout"[..], b"./index.json", b"blobs//../index.json", b".//oci-layout"] {
            assert!(problem(|it| member(it, name, EntryType::Regular, b"{}")).is_some());
        }
        let long = vec![b' '; 1 << 17];
        let problem = problem(|it| member(it, b"x", EntryType::XHeader, &long)).expect("it is too long");
        assert!(problem.contains("expected at most 65536"), "{problem}");
    }

    #[test]
    fn an_archive_that_is_cut_or_lies_about_sizes_is_refused() {
        let mut archive = Builder::new(Vec::new());
        member(&mut archive, b"oci-layout", EntryType::Regular, crate::document::LAYOUT_FILE.as_bytes());
        member(&mut archive, b"index.json", EntryType::Regular, br#"{"schemaVersion":2,"manifests":[]}"#);
        let whole = archive.into_inner().expect("vectors take all");
        assert_eq!(opened(&whole), None);
        for end in (0..=whole.len()).step_by(256) {
            let all_there = end >= 3 * 512 + 34;
            assert!(all_there || opened(&whole[..end]).is_some(), "{end}");
        }
        for size in [1 << 20, (1_u64 << 33) - 1, u64::MAX, u64::MAX - 511] {
            let mut header = Header::new_gnu();
            header.set_path("oci-layout").expect("it is a name");
            header.set_size(size);
            header.set_cksum();
            let bytes = [header.as_bytes(), &whole[512..]].concat();
            assert!(opened(&bytes).is_some(), "{size}");
        }
        assert!(opened(b"no tar file at all, and long enough to be taken for a part of a header").is_some());
        assert!(Layout::open_archive(Path::new("/dev/null")).is_err());
    }
}
