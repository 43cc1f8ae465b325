//! In: an artifact, or the layer that holds it. Out: the layer, or the artifact. Never here: more bytes than promised.

use crate::LayoutError;
use crate::blob::Root;
use crate::content::{CHUNK_SIZE_BYTES, Content, Regular, io_error, read_whole};
use isomer_contract::Digest;
use isomer_contract::limits::ARTIFACT_SIZE_BYTES_MAX;
use isomer_contract::manifest::{Blob, LAYER_MEDIA_TYPE, LAYER_ZSTD_MEDIA_TYPE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// zstd's level for layers: the highest that compresses 20 MB or more in a second of CPU time.
///
/// Measured on artifacts of wasmtime 48 (quickjs 2 MB, nextpnr-ice40 9 MB, esbuild 43 MB; x86-64 cloud VM, ratio and
/// MB/s of CPU time): level 3 gives 2.5, 3.2, 3.3 at 105–146; 6 gives 2.7, 3.5, 3.6 at 51–55; 9 gives 2.7, 3.5, 3.7 at
/// 27–42; 12 gives 2.7, 3.6, 3.8 at 9–13; 15 gives 2.7, 3.6, 3.8 at 4; 19 gives 3.0, 4.1, 4.2 at 1.5–1.8. Decompressing
/// runs at 450 MB/s or more after each.
pub const COMPRESSION_LEVEL: i32 = 9;

/// The largest window that a layer may ask of its reader, as the logarithm of bytes: 8 MiB, what RFC 8878 recommends
/// every decoder to support and every encoder to stay below. zstd's level 19 reaches it.
pub const WINDOW_LOG_MAX: u32 = 23;

/// How a layer holds its artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// As it is.
    None,
    /// As one zstd frame with content size and checksum.
    Zstd,
}

impl Compression {
    /// The media type of such a layer.
    pub fn media_type(self) -> &'static str {
        match self {
            Compression::None => LAYER_MEDIA_TYPE,
            Compression::Zstd => LAYER_ZSTD_MEDIA_TYPE,
        }
    }

    /// The reverse of [`Compression::media_type`].
    pub fn from_media_type(media_type: &str) -> Option<Compression> {
        [Compression::None, Compression::Zstd].into_iter().find(|compression| compression.media_type() == media_type)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
        })
    }
}

/// A word that is not a compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid compression `{0}`: expected `zstd` or `none`")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Compression, UnknownCompression> {
        match text {
            "none" => Ok(Compression::None),
            "zstd" => Ok(Compression::Zstd),
            _ => Err(UnknownCompression(text.to_owned())),
        }
    }
}

/// The blob that holds an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub blob: Blob,
    /// How it holds the artifact.
    pub compression: Compression,
}

/// Writes `artifact` to `into`, compressed so that equal artifacts give equal bytes, and returns the blob that was read.
///
/// The size must be known before: it is in the frame's header and determines zstd's parameters.
pub(crate) fn write_layer(
    mut artifact: impl Read,
    size_bytes: u64,
    compression: Compression,
    into: &mut dyn Write,
) -> io::Result<Blob> {
    match compression {
        Compression::None => copy_hashing(&mut artifact, size_bytes, into),
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(into, COMPRESSION_LEVEL)?;
            encoder.include_checksum(true)?;
            encoder.include_contentsize(true)?;
            encoder.set_pledged_src_size(Some(size_bytes))?;
            let read = copy_hashing(&mut artifact, size_bytes, &mut encoder)?;
            // A frame of another size than declared cannot be finished; the caller refuses it by its size.
            if read.size_bytes == size_bytes {
                encoder.finish()?;
            }
            Ok(read)
        }
    }
}

/// The layer for `artifact`, with its bytes.
///
/// # Errors
/// When zstd fails, for lack of memory.
pub fn pack(artifact: &[u8], compression: Compression) -> io::Result<(Layer, Vec<u8>)> {
    let mut bytes = Vec::new();
    write_layer(artifact, artifact.len() as u64, compression, &mut bytes)?;
    Ok((Layer { blob: Blob::of(&bytes), compression }, bytes))
}

/// The artifact in `layer`, the bytes of a layer from an untrusted source.
///
/// # Errors
/// When it does not hold exactly the `expected` artifact.
pub fn unpack(layer: &[u8], compression: Compression, expected: Blob) -> io::Result<Vec<u8>> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut artifact = Vec::new();
    match compression {
        Compression::None => artifact.extend_from_slice(layer),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(layer)?.single_frame();
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            // One byte more than expected is enough to see that there are more.
            decoder.take(expected.size_bytes.min(ARTIFACT_SIZE_BYTES_MAX) + 1).read_to_end(&mut artifact)?;
        }
    }
    let found = Blob::of(&artifact);
    if found != expected {
        return Err(invalid(format!(
            "it holds {} of {} bytes, expected {}",
            found.digest, found.size_bytes, expected.digest
        )));
    }
    Ok(artifact)
}

/// The blob that all bytes of `from` make.
///
/// # Errors
/// When `from` cannot be read.
pub fn measure(mut from: impl Read) -> io::Result<Blob> {
    copy_hashing(&mut from, u64::MAX, &mut io::sink())
}

/// Copies at most `limit_bytes`, and counts more than that if there is more.
pub(crate) fn copy_hashing(from: &mut dyn Read, limit_bytes: u64, into: &mut dyn Write) -> io::Result<Blob> {
    let mut hasher = Sha256::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; CHUNK_SIZE_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size_bytes += read as u64;
        hasher.update(&buffer[..read]);
        if size_bytes > limit_bytes {
            break;
        }
        into.write_all(&buffer[..read])?;
    }
    Ok(Blob { digest: Digest::from_hasher(hasher), size_bytes })
}

/// Yields an artifact out of its layer: the bytes of the `.cwasm`, uncompressed.
///
/// The last bytes are returned only after the layer's size and digest were checked, so that a reader with all bytes has
/// the right ones; a reader that used the first bytes before must undo that on an error. A compressed layer is
/// hashed before its first byte is decompressed. Errors are [`io::Error`]s around a [`LayoutError`].
///
/// The artifact is determined by the layer, whose digest was checked. For compressed layers it is not compared with the
/// artifact's digest in the config: a caller that stores artifacts by that digest must hash them.
///
/// Reading into one buffer as large as the artifact is the quickest: zstd then writes into it in one pass.
pub struct ArtifactReader {
    source: Source,
    file: PathBuf,
    size_bytes: u64,
    left_bytes: u64,
    checked: bool,
}

enum Source {
    Plain { file: Content, hasher: Sha256, expected: Digest },
    Zstd(Box<zstd::Decoder<'static, Cursor<Vec<u8>>>>),
}

impl Source {
    /// A frame whose bytes were checked, and whose declared size, if any, is right.
    fn zstd(compressed: Vec<u8>, size_bytes: u64, file: &Path) -> Result<Source, LayoutError> {
        let error =
            |reason: String| LayoutError::Decompress { file: file.to_owned(), expected_bytes: size_bytes, reason };
        match zstd::zstd_safe::get_frame_content_size(&compressed) {
            Ok(None) => {}
            Ok(Some(found)) if found == size_bytes => {}
            Ok(Some(found)) => return Err(error(format!("its frame holds {found}"))),
            Err(_) => return Err(error("it is not a zstd frame".to_owned())),
        }
        let decoder = zstd::Decoder::with_buffer(Cursor::new(compressed)).and_then(|mut decoder| {
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Ok(decoder.single_frame())
        });
        Ok(Source::Zstd(Box::new(decoder.map_err(|source| io_error(file, source))?)))
    }
}

impl fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ArtifactReader { source: _, file, size_bytes, left_bytes, checked } = self;
        f.debug_struct("ArtifactReader")
            .field("file", file)
            .field("size_bytes", size_bytes)
            .field("left_bytes", left_bytes)
            .field("checked", checked)
            .finish_non_exhaustive()
    }
}

impl ArtifactReader {
    pub(crate) fn open(
        root: &Root,
        layer: Layer,
        size_bytes: u64,
        named_by: &Path,
    ) -> Result<ArtifactReader, LayoutError> {
        let limit_bytes = ARTIFACT_SIZE_BYTES_MAX;
        let file = root.blob_path(layer.blob.digest);
        let source = match layer.compression {
            Compression::None => {
                let Regular { file, .. } = root.open_blob(layer.blob, limit_bytes, named_by)?;
                Source::Plain { file, hasher: Sha256::new(), expected: layer.blob.digest }
            }
            Compression::Zstd => {
                let compressed = root.read_blob(layer.blob, limit_bytes, named_by)?;
                Source::zstd(compressed, size_bytes, &file)?
            }
        };
        Ok(ArtifactReader { source, file, size_bytes, left_bytes: size_bytes, checked: false })
    }

    /// Reads the artifact of `size_bytes` out of `file`, which holds `layer` from its first byte on and is `path` in
    /// messages.
    ///
    /// # Errors
    /// When the file cannot be read or is not that layer. An uncompressed layer is checked while it is read.
    pub fn of_file(file: File, layer: Layer, size_bytes: u64, path: &Path) -> Result<ArtifactReader, LayoutError> {
        let file = Content::whole(file);
        let source = match layer.compression {
            Compression::None => Source::Plain { file, hasher: Sha256::new(), expected: layer.blob.digest },
            Compression::Zstd => {
                let compressed = read_whole(file, layer.blob.size_bytes, ARTIFACT_SIZE_BYTES_MAX, path)?;
                let (found, expected) = (Digest::of(&compressed), layer.blob.digest);
                if found != expected {
                    return Err(LayoutError::Digest { file: path.to_owned(), found, expected });
                }
                Source::zstd(compressed, size_bytes, path)?
            }
        };
        Ok(ArtifactReader { source, file: path.to_owned(), size_bytes, left_bytes: size_bytes, checked: false })
    }

    /// The artifact's size in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn decompress_error(&self, reason: impl Into<String>) -> io::Error {
        let reason = reason.into();
        let error = LayoutError::Decompress { file: self.file.clone(), expected_bytes: self.size_bytes, reason };
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match &mut self.source {
            Source::Plain { file, hasher, .. } => {
                let chunk = buffer.len().min(CHUNK_SIZE_BYTES);
                file.read(&mut buffer[..chunk]).inspect(|read| hasher.update(&buffer[..*read]))
            }
            Source::Zstd(decoder) => decoder.read(buffer),
        };
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(source) if matches!(self.source, Source::Plain { .. }) => {
                Err(io::Error::new(source.kind(), io_error(&self.file, source)))
            }
            Err(error) => Err(self.decompress_error(format!("zstd: {error}"))),
            Ok(read) => Ok(read),
        }
    }

    /// That nothing follows the artifact's last byte, and that the layer was the right one.
    fn check_end(&mut self) -> io::Result<()> {
        let more = loop {
            match self.read_source(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if more != 0 {
            return Err(self.decompress_error("it holds more"));
        }
        match &mut self.source {
            Source::Plain { hasher, expected, .. } => {
                let (found, expected) = (Digest::from_hasher(hasher.clone()), *expected);
                if found != expected {
                    let error = LayoutError::Digest { file: self.file.clone(), found, expected };
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            Source::Zstd(decoder) => {
                if !decoder.get_mut().fill_buf()?.is_empty() {
                    return Err(self.decompress_error("bytes follow its frame"));
                }
            }
        }
        self.checked = true;
        Ok(())
    }
}

impl Read for ArtifactReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.checked || buffer.is_empty() {
            return Ok(0);
        }
        let wanted = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let mut read = 0;
        if wanted != 0 {
            read = self.read_source(&mut buffer[..wanted])?;
            if read == 0 {
                let found = self.size_bytes - self.left_bytes;
                return Err(self.decompress_error(format!("it ends after {found}")));
            }
            self.left_bytes -= read as u64;
        }
        if self.left_bytes == 0 {
            self.check_end()?;
        }
        Ok(read)
    }
}
