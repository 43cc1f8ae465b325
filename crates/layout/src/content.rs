//! A file, or a part of one, to be read once from its beginning. In: an open file. Out: its bytes, as far as a limit goes.
//! Never here: where it is opened, an allocation larger than the file.

use crate::LayoutError;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// How much is read at once where bytes are hashed on their way: a part of a second-level cache.
pub(crate) const CHUNK_SIZE_BYTES: usize = 256 << 10;

/// A regular file, and its size when it was opened.
pub(crate) struct Regular {
    pub(crate) file: Content,
    pub(crate) size_bytes: u64,
}

/// A file, or a part of one, to be read from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Content {
    file: File,
    position: u64,
    left_bytes: u64,
}

impl Content {
    /// All of `file`, as long as it may become.
    pub(crate) fn whole(file: File) -> Content {
        Content { file, position: 0, left_bytes: u64::MAX }
    }

    /// The `size_bytes` of `file` that begin at `position`.
    pub(crate) fn part(file: File, position: u64, size_bytes: u64) -> Content {
        Content { file, position, left_bytes: size_bytes }
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += read as u64;
        self.left_bytes -= read as u64;
        Ok(read)
    }
}

pub(crate) fn io_error(file: &Path, source: io::Error) -> LayoutError {
    LayoutError::Io { file: file.to_owned(), source }
}

/// Reads a file that had `size_bytes` when it was opened; one that grows meanwhile yields at most `limit_bytes` + 1.
pub(crate) fn read_whole(
    file: Content,
    size_bytes: u64,
    limit_bytes: u64,
    path: &Path,
) -> Result<Vec<u8>, LayoutError> {
    let mut bytes = Vec::new();
    let reserved = usize::try_from(size_bytes).map_err(|_| ()).and_then(|size| {
        // One more, so that the read that finds the end needs no larger buffer.
        bytes.try_reserve_exact(size.saturating_add(1)).map_err(|_| ())
    });
    if reserved.is_err() {
        return Err(io_error(path, io::ErrorKind::OutOfMemory.into()));
    }
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > limit_bytes {
        return Err(LayoutError::TooLarge { file: path.to_owned(), found_bytes: bytes.len() as u64, limit_bytes });
    }
    Ok(bytes)
}
