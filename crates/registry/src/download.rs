//! In: a blob's descriptor, a file that may hold its first part. Out: the file with the blob, every byte hashed. Never
//! here: a byte beyond the size that the descriptor promised.

use crate::exchange::{Pace, header};
use crate::repository::Repository;
use crate::transport::Request;
use crate::{Problem, RegistryError};
use isomer_contract::Digest;
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::manifest::Blob;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// How much of the file is read at once.
const CHUNK_SIZE_BYTES: usize = 256 << 10;

/// Fetches `blob` into `file`, from where an earlier attempt ended.
pub(crate) async fn layer(
    repository: &Repository,
    blob: Blob,
    file: &mut File,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<(), RegistryError> {
    let doing = format!("get the layer {} of `{}`", blob.digest, repository.reference);
    let error = |problem| RegistryError::transfer(&doing, problem, 1);
    if blob.size_bytes > ARTIFACT_SIZE_BYTES_MAX {
        return Err(error(Problem::Claim { found_bytes: blob.size_bytes, limit_bytes: ARTIFACT_SIZE_BYTES_MAX }));
    }
    let mut part = Part::open(blob, file, on_bytes).map_err(|source| error(Problem::File(source)))?;
    let mut backoff = repository.transport.backoff();
    let mut made_of_several = part.size_bytes > 0;
    loop {
        if part.size_bytes == blob.size_bytes {
            let found = Digest::from_hasher(part.hasher.clone());
            if found == blob.digest {
                return Ok(());
            }
            let problem = Problem::Digest { found, expected: blob.digest };
            if !made_of_several {
                return Err(error(problem));
            }
            // The first part may be wrong: fetch it once more, in one piece.
            tracing::debug!(doing, %problem, "fetching all of it again");
            made_of_several = false;
            part.restart().map_err(|source| error(Problem::File(source)))?;
        }
        let most = part.reported_bytes;
        let Err(problem) = fetch(repository, blob, &mut part).await else { continue };
        made_of_several |= part.size_bytes > 0;
        // A slow stream counts as no progress: it could go on for ever.
        let got_further = part.reported_bytes > most && !matches!(problem, Problem::Slow { .. });
        repository.transport.pause(&mut backoff, problem, got_further, &doing).await?;
    }
}

/// One request for what is missing.
async fn fetch(repository: &Repository, blob: Blob, part: &mut Part<'_>) -> Result<(), Problem> {
    let mut request = Request::new(Method::GET, repository.transport.url(&format!("blobs/{}", blob.digest)));
    if part.size_bytes > 0 {
        request = request.header(RANGE, format!("bytes={}-", part.size_bytes));
    }
    let mut response = match repository.transport.send(&request).await {
        // The registry has less than the file, or a wrong size: start from the beginning.
        Err(problem) if part.size_bytes > 0 && problem.status() == Some(416) => {
            part.restart().map_err(Problem::File)?;
            return Ok(());
        }
        result => result?,
    };
    let range = header(response.headers(), CONTENT_RANGE.as_str());
    let goes_on = range.is_some_and(|range| range.starts_with(&format!("bytes {}-", part.size_bytes)));
    if part.size_bytes > 0 && !(response.status() == StatusCode::PARTIAL_CONTENT && goes_on) {
        part.restart().map_err(Problem::File)?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            return Ok(());
        }
    }
    let mut pace = Pace::new();
    let cut = |received_bytes| Problem::Cut { received_bytes, expected_bytes: blob.size_bytes };
    loop {
        let chunk = match repository.transport.chunk(&mut response, &mut pace).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) if part.size_bytes == blob.size_bytes => return Ok(()),
            Ok(None) | Err(Problem::Connection { .. }) => return Err(cut(part.size_bytes)),
            Err(problem) => return Err(problem),
        };
        if chunk.len() as u64 > blob.size_bytes - part.size_bytes {
            return Err(Problem::TooLarge { limit_bytes: blob.size_bytes });
        }
        part.add(&chunk).map_err(Problem::File)?;
    }
}

/// The part of a blob that its file holds.
struct Part<'a> {
    file: &'a mut File,
    hasher: Sha256,
    size_bytes: u64,
    on_bytes: &'a (dyn Fn(u64) + Sync),
    /// The most that the file ever held: what comes a second time is not reported again.
    reported_bytes: u64,
}

impl<'a> Part<'a> {
    /// Hashes the contents of `file`; more than the blob's size cannot be a part of it.
    fn open(blob: Blob, file: &'a mut File, on_bytes: &'a (dyn Fn(u64) + Sync)) -> io::Result<Part<'a>> {
        if file.metadata()?.len() > blob.size_bytes {
            file.set_len(0)?;
        }
        file.seek(SeekFrom::Start(0))?;
        let mut part = Part { file, hasher: Sha256::new(), size_bytes: 0, on_bytes, reported_bytes: 0 };
        let mut buffer = vec![0; CHUNK_SIZE_BYTES];
        loop {
            match part.file.read(&mut buffer) {
                Ok(0) => return Ok(part),
                Ok(read) => part.count(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn add(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.file.write_all(chunk)?;
        self.count(chunk);
        Ok(())
    }

    fn count(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.size_bytes += chunk.len() as u64;
        if self.size_bytes > self.reported_bytes {
            (self.on_bytes)(self.size_bytes - self.reported_bytes);
            self.reported_bytes = self.size_bytes;
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.size_bytes = 0;
        Ok(())
    }
}
