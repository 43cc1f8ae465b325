//! The store's documents. In: an open directory and a name. Out: the document's content, and whether another user could
//! have written it. Never here: a final name before the bytes are on disk.

use crate::StoreError;
use crate::directory::{Directory, OpenFile};
use crate::error::io_error;
use crate::weakness::Weakness;
use isomer_trust::strict_json::{self, JsonError};
use rustix::fs::{FileType, Stat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

/// The store's own documents are a page of JSON.
const DOCUMENT_SIZE_BYTES_MAX: usize = 1 << 20;

/// The content of a document.
#[derive(Clone, Debug)]
pub(crate) struct Judged<T> {
    pub(crate) value: T,
    /// By which weakness another user could have written it, or put it there.
    pub(crate) foreign: Option<Weakness>,
}

impl Directory {
    /// The document `name` in this directory, or none when it does not exist. A duplicate key makes it malformed: after a
    /// correction by hand that leaves the old value in, either of them could count.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Judged<T>>, StoreError> {
        let Some(Judged { value: bytes, foreign }) = self.read_bytes(name, DOCUMENT_SIZE_BYTES_MAX)? else {
            return Ok(None);
        };
        let malformed =
            |error: JsonError| StoreError::Malformed { file: self.path_of(name), reason: error.to_string() };
        let value = strict_json::read(&bytes, DOCUMENT_SIZE_BYTES_MAX).map_err(malformed)?;
        Ok(Some(Judged { value, foreign }))
    }

    /// The first `limit_bytes` and one more of the file `name`, or none when it does not exist.
    pub(crate) fn read_bytes(&self, name: &str, limit_bytes: usize) -> Result<Option<Judged<Vec<u8>>>, StoreError> {
        let Some(OpenFile { file, judgement, .. }) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit_bytes as u64 + 1).read_to_end(&mut bytes).map_err(io_error("read", &self.path_of(name)))?;
        Ok(Some(Judged { value: bytes, foreign: judgement.foreign().cloned() }))
    }

    /// Writes the new file `name`, which may lie in directories that are made for it. Its bytes are on disk afterwards.
    pub(crate) fn write_new(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<(), StoreError> {
        let name = name.as_ref();
        let mut names = name.components();
        if let (Some(Component::Normal(first)), rest) = (names.next(), names.as_path())
            && !rest.as_os_str().is_empty()
        {
            return self.make_directory(first)?.write_new(rest, bytes);
        }
        let mut file = self.new_file(name)?;
        let readable = file.set_permissions(Permissions::from_mode(0o644));
        let written = readable.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
        written.map_err(io_error("write", &self.path_of(name)))
    }

    /// Puts its names, and those in every directory below it, on disk.
    pub(crate) fn sync_tree(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            if self.stat(&name)?.is_some_and(|stat| is_directory(&stat))
                && let Some(below) = self.directory(&name)?
            {
                below.sync_tree()?;
            }
        }
        self.sync()
    }
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    (isomer_contract::canonical_json(value) + "\n").into_bytes()
}
