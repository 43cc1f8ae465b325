//! The frames between a pool and its workers: the size of a header, the header as JSON, the size of a body, the body.
//! Both ends are of the same build, and frames are never stored.

use crate::cache::FunctionsUse;
use crate::codegen::CodegenError;
use isomer_contract::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};

/// A job for a worker; the body is the WebAssembly.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The digest that both ends must compute from the rest.
    pub(super) job: Digest,
    /// The module's name, for messages.
    pub(super) module: String,
    /// The profile's name.
    pub(super) target: String,
    /// The profile as one file.
    pub(super) profile: String,
    /// How many threads generate code.
    pub(super) threads: usize,
    /// The memory that the job may use beyond the worker's own.
    pub(super) memory_bytes: Option<u64>,
    /// The functions that earlier builds compiled.
    pub(super) functions: Option<FunctionsAt>,
}

/// The file with a job's functions, and the key that seals it. It goes through a pipe to a process of the same user.
#[derive(Serialize, Deserialize)]
pub(super) struct FunctionsAt {
    /// The file.
    pub(super) path: String,
    /// The key, in hexadecimal.
    pub(super) key: String,
}

impl fmt::Debug for FunctionsAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionsAt").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The result of a job; the body is the artifact.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The artifact follows.
    Done(FunctionsUse),
    /// The compiler failed.
    Failed(CodegenError),
    /// The worker could not start the job.
    Unable(String),
}

/// The longest header: a profile and some names.
const HEADER_SIZE_BYTES_MAX: u32 = 1 << 20;

pub(super) fn write_frame(to: &mut impl Write, header: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let size = u32::try_from(header.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    to.write_all(&size.to_le_bytes())?;
    to.write_all(&header)?;
    to.write_all(&(body.len() as u64).to_le_bytes())?;
    to.write_all(body)?;
    to.flush()
}

/// The next frame, or `None` when the other end has closed the stream between two frames.
pub(super) fn read_frame<H: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<(H, Vec<u8>)>> {
    let mut size = [0; 4];
    match from.read_exact(&mut size) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let size = u32::from_le_bytes(size);
    if size > HEADER_SIZE_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a header of {size} bytes")));
    }
    let mut header = vec![0; size as usize];
    from.read_exact(&mut header)?;
    let header = serde_json::from_slice(&header)?;
    let mut size = [0; 8];
    from.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    // Not `vec![0; size]`: the announced size need not be true.
    let mut body = Vec::new();
    if from.take(size).read_to_end(&mut body)? as u64 != size {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((header, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_written_and_a_cut_frame_is_an_error() {
        let mut stream = Vec::new();
        write_frame(&mut stream, &Answer::Done(FunctionsUse::default()), b"artifact").unwrap();
        write_frame(&mut stream, &Answer::Failed(CodegenError::Compile("no".to_owned())), b"").unwrap();
        let mut from = stream.as_slice();
        assert!(matches!(read_frame(&mut from), Ok(Some((Answer::Done(_), body))) if body == b"artifact"));
        assert!(matches!(read_frame(&mut from), Ok(Some((Answer::Failed(_), _)))));
        assert!(matches!(read_frame::<Answer>(&mut from), Ok(None)));
        for length in 4..20 {
            assert!(read_frame::<Answer>(&mut &stream[..length]).is_err(), "{length}");
        }
        assert!(read_frame::<Answer>(&mut [255; 64].as_slice()).is_err());
    }
}
