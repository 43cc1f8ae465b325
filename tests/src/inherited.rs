//! Sockets that a process is started with, as systemd starts a service. In: a [`Call`] and sockets that listen. Out: the same
//! call, in a process that finds them as its descriptors from 3 on. Never here: systemd.

use crate::{Call, program};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;

/// The first descriptor that systemd passes on.
const FIRST: RawFd = 3;
/// More than a test passes on.
const SOCKETS_MAX: usize = 8;

impl Call {
    /// Starts it with these sockets, by systemd's protocol. The process is named to itself by a shell, which it replaces.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn with_sockets(self, sockets: &[&OwnedFd]) -> Call {
        let script = format!("LISTEN_PID=$$ LISTEN_FDS={} exec \"$0\" \"$@\"", sockets.len());
        let mut call =
            program("sh").args(["-c", &script]).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => call.command.env(name, value),
                None => call.command.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            call.command.current_dir(directory);
        }
        let sockets: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        assert!(sockets.len() <= SOCKETS_MAX);
        // SAFETY: between fork and exec it makes system calls on memory that was allocated before, and nothing else.
        unsafe { call.command.pre_exec(move || pass_on(&sockets)) };
        call
    }
}

/// Copies the sockets to the descriptors from [`FIRST`] on, which some of them may be.
#[allow(unsafe_code)]
fn pass_on(sockets: &[RawFd]) -> io::Result<()> {
    let mut copies = [0; SOCKETS_MAX];
    for (copy, socket) in copies.iter_mut().zip(sockets) {
        // SAFETY: it takes numbers alone.
        *copy = unsafe { libc::fcntl(*socket, libc::F_DUPFD_CLOEXEC, FIRST + SOCKETS_MAX as RawFd) };
        if *copy < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (copy, to) in copies.iter().take(sockets.len()).zip(FIRST..) {
        // SAFETY: it takes numbers alone. What `to` was is closed: this process is about to become another program.
        if unsafe { libc::dup2(*copy, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
