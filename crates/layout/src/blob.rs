//! In: a directory or an archive, and a descriptor. Out: the bytes of the blob, with the size and digest in the descriptor.
//! Never here: a symbolic link followed below the directory, an allocation larger than the file.

use crate::LayoutError;
use crate::archive::Archive;
use crate::content::{CHUNK_SIZE_BYTES, Content, Regular, io_error, read_whole};
use isomer_contract::Digest;
use isomer_contract::manifest::Blob;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The directory or archive of a layout, held open.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Directory(OwnedFd),
    Archive(Archive),
}

impl Root {
    pub(crate) fn open(dir: &Path) -> Result<Root, LayoutError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, dir, flags, Mode::empty()) {
            Ok(fd) => Ok(Root { path: dir.to_owned(), files: Files::Directory(fd) }),
            Err(Errno::NOTDIR) => {
                Err(LayoutError::NotALayout { dir: dir.to_owned(), found: "it is a file, not a directory" })
            }
            Err(error) => Err(io_error(dir, error.into())),
        }
    }

    /// The directory that is open as `directory`, and called `path` in messages.
    pub(crate) fn of_directory(directory: OwnedFd, path: &Path) -> Root {
        Root { path: path.to_owned(), files: Files::Directory(directory) }
    }

    /// The archive at `path`.
    pub(crate) fn open_archive(path: &Path) -> Result<Root, LayoutError> {
        Ok(Root { path: path.to_owned(), files: Files::Archive(Archive::open(path)?) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn blob_path(&self, digest: Digest) -> PathBuf {
        blob_path(&self.path, digest)
    }

    /// The file at `names` below the directory, if it exists.
    fn open_regular(&self, names: &[&str]) -> Result<Option<Regular>, LayoutError> {
        match &self.files {
            Files::Directory(fd) => self.open_in_directory(fd, names),
            Files::Archive(archive) => archive.open_regular(names),
        }
    }

    fn open_in_directory(&self, root: &OwnedFd, names: &[&str]) -> Result<Option<Regular>, LayoutError> {
        let (file_name, dirs) = names.split_last().expect("a path has a last name");
        let mut path = self.path.clone();
        let mut parent: Option<OwnedFd> = None;
        for dir in dirs {
            path.push(dir);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(parent.as_ref().unwrap_or(root), *dir, flags, Mode::empty()) {
                Ok(fd) => parent = Some(fd),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let found = "a file or a symbolic link";
                    return Err(LayoutError::FileType { file: path, found, expected: "a directory" });
                }
                Err(error) => return Err(io_error(&path, error.into())),
            }
        }
        path.push(file_name);
        let expected = "a regular file";
        // NONBLOCK: a FIFO must not hang the reader before its type is known.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match openat(parent.as_ref().unwrap_or(root), *file_name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(LayoutError::FileType { file: path, found: "a symbolic link", expected }),
            Err(error) => return Err(io_error(&path, error.into())),
        };
        let stat = fstat(&fd).map_err(|error| io_error(&path, error.into()))?;
        let found = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
                return Ok(Some(Regular { file: Content::whole(fd.into()), size_bytes }));
            }
            FileType::Directory => "a directory",
            _ => "a device, socket or pipe",
        };
        Err(LayoutError::FileType { file: path, found, expected })
    }

    /// Whether there is a regular file of the blob's name.
    pub(crate) fn has_blob(&self, digest: Digest) -> Result<bool, LayoutError> {
        Ok(self.open_regular(&["blobs", "sha256", &digest.hex()])?.is_some())
    }

    /// The whole file `name` beside the blobs, if it exists.
    pub(crate) fn read_top(&self, name: &str, limit_bytes: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(Regular { file, size_bytes }) = self.open_regular(&[name])? else { return Ok(None) };
        let path = self.path.join(name);
        if size_bytes > limit_bytes {
            return Err(LayoutError::TooLarge { file: path, found_bytes: size_bytes, limit_bytes });
        }
        read_whole(file, size_bytes, limit_bytes, &path).map(Some)
    }

    /// Opens the blob that the document `named_by` describes, and compares its size with the description.
    pub(crate) fn open_blob(&self, blob: Blob, limit_bytes: u64, named_by: &Path) -> Result<Regular, LayoutError> {
        let path = self.blob_path(blob.digest);
        if blob.size_bytes > limit_bytes {
            return Err(LayoutError::TooLarge { file: path, found_bytes: blob.size_bytes, limit_bytes });
        }
        let Some(regular) = self.open_regular(&["blobs", "sha256", &blob.digest.hex()])? else {
            return Err(LayoutError::MissingBlob { file: path, named_by: named_by.to_owned() });
        };
        if regular.size_bytes != blob.size_bytes {
            return Err(self.wrong_size(blob, regular.size_bytes, named_by));
        }
        Ok(regular)
    }

    /// The bytes of the blob that the document `named_by` describes.
    pub(crate) fn read_blob(&self, blob: Blob, limit_bytes: u64, named_by: &Path) -> Result<Vec<u8>, LayoutError> {
        let Regular { file, size_bytes } = self.open_blob(blob, limit_bytes, named_by)?;
        let path = self.blob_path(blob.digest);
        let bytes = read_whole(file, size_bytes, size_bytes, &path)?;
        if bytes.len() as u64 != blob.size_bytes {
            return Err(self.wrong_size(blob, bytes.len() as u64, named_by));
        }
        self.check_digest(blob.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// The bytes of a document of which only the digest is known.
    pub(crate) fn read_named(&self, digest: Digest, limit_bytes: u64, named_by: &Path) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let Some(Regular { file, size_bytes }) = self.open_regular(&["blobs", "sha256", &digest.hex()])? else {
            return Err(LayoutError::MissingBlob { file: path, named_by: named_by.to_owned() });
        };
        if size_bytes > limit_bytes {
            return Err(LayoutError::TooLarge { file: path, found_bytes: size_bytes, limit_bytes });
        }
        let bytes = read_whole(file, size_bytes, limit_bytes, &path)?;
        self.check_digest(digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Reads the whole blob and compares its digest.
    pub(crate) fn check_blob(&self, blob: Blob, named_by: &Path) -> Result<(), LayoutError> {
        let Regular { mut file, .. } = self.open_blob(blob, u64::MAX, named_by)?;
        let path = self.blob_path(blob.digest);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_SIZE_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(&path, error)),
            }
        }
        self.check_digest(blob.digest, Digest::from_hasher(hasher))
    }

    pub(crate) fn check_digest(&self, expected: Digest, found: Digest) -> Result<(), LayoutError> {
        if found == expected {
            return Ok(());
        }
        Err(LayoutError::Digest { file: self.blob_path(expected), found, expected })
    }

    fn wrong_size(&self, blob: Blob, found_bytes: u64, named_by: &Path) -> LayoutError {
        let named_by = named_by.to_owned();
        let file = self.blob_path(blob.digest);
        LayoutError::Size { file, found_bytes, expected_bytes: blob.size_bytes, named_by }
    }
}

/// Where the blob is below the directory of a layout.
pub(crate) fn blob_path(dir: &Path, digest: Digest) -> PathBuf {
    dir.join("blobs").join("sha256").join(digest.hex())
}
