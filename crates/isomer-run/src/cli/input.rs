//! What several commands read: a host file, this machine, any file up to a limit.

use isomer_contract::{Hinted, Host, HostError};
use isomer_terminal::Failure;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// A host file is a page of JSON.
const HOST_FILE_SIZE_BYTES_MAX: u64 = 1 << 20;

/// How long the writer of a pipe is waited for in silence.
const SILENT_WAIT: Duration = Duration::from_secs(3);

/// The host in `file`, or else this machine.
pub(crate) fn host(file: Option<&Path>) -> Result<Host, Failure> {
    let Some(file) = file else { return this_machine() };
    let text = read(file, HOST_FILE_SIZE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&text);
    Host::from_json(&text).map_err(|error| {
        let hint = match &error {
            HostError::Json(_) => Some("`isomer-run host --json` prints a host file".to_owned()),
            error => error.hint(),
        };
        Failure::because(format!("cannot use `{}` as a host", file.display()), &error).hint(hint)
    })
}

pub(crate) fn this_machine() -> Result<Host, Failure> {
    isomer_runtime::host::here().map_err(|error| Failure::because("cannot tell what this machine can run", &error))
}

/// A host in a sentence.
pub(crate) fn on(file: Option<&Path>) -> String {
    file.map_or_else(|| "on this machine".to_owned(), |file| format!("on the host of `{}`", file.display()))
}

/// A file's bytes, if they are no more than `size_bytes_max`.
pub(crate) fn read(file: &Path, size_bytes_max: u64) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let error = |error: std::io::Error| Failure::because(format!("cannot read `{}`", file.display()), &error);
    let mut bytes = Vec::new();
    open(file)?.take(size_bytes_max + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > size_bytes_max {
        return Err(Failure::new(format!("`{}` has more than {size_bytes_max} bytes", file.display())));
    }
    Ok(bytes)
}

/// The text of a file of settings.
pub(crate) fn read_text(file: &Path) -> Result<String, Failure> {
    let bytes = read(file, TEXT_SIZE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            isomer_contract::line_at(&String::from_utf8_lossy(error.as_bytes()), error.utf8_error().valid_up_to());
        Failure::new(format!("`{}` is not UTF-8: line {line}", file.display()))
    })
}

/// The largest file of settings, in bytes: grants and limits, routes, environment variables.
const TEXT_SIZE_BYTES_MAX: u64 = 1 << 20;

/// Opens what can be read to an end: a file or a pipe.
pub(crate) fn open(file: &Path) -> Result<std::fs::File, Failure> {
    use std::os::unix::fs::FileTypeExt;
    let error = |error: std::io::Error| Failure::because(format!("cannot open `{}`", file.display()), &error);
    let waiting = file.metadata().is_ok_and(|there| there.file_type().is_fifo()).then(|| say_if_waiting(file));
    let opened = std::fs::File::open(file).map_err(error)?;
    drop(waiting);
    let kind = opened.metadata().map_err(error)?.file_type();
    if kind.is_file() || kind.is_fifo() {
        return Ok(opened);
    }
    let found = if kind.is_dir() { "a directory" } else { "a device or socket" };
    Err(Failure::new(format!("`{}` is {found}; expected a file", file.display())))
}

/// Opening a pipe blocks until it has a writer: logs that, unless the returned value is dropped soon.
fn say_if_waiting(pipe: &Path) -> Sender<()> {
    let (opened, is_open) = channel();
    let pipe = pipe.display().to_string();
    // Where no thread can be started, the wait is silent.
    let _ = thread::Builder::new().spawn(move || {
        if is_open.recv_timeout(SILENT_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("waiting for another process to write into the pipe `{pipe}`");
        }
    });
    opened
}
