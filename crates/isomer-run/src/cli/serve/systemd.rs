//! systemd's side of a service. In: the variables that it sets. Out: the sockets that it opened, and its messages. Never
//! here: a wait for it; without it, nothing.

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

/// The first descriptor that systemd passes on.
const FIRST: RawFd = 3;
/// More than a service has.
const SOCKETS_MAX: RawFd = 1024;

/// The sockets that systemd opened for this process. To be called once, before this process opens anything that could have
/// taken one of their numbers.
///
/// # Errors
/// When there are fewer than systemd's variables state.
#[allow(unsafe_code, reason = "systemd names descriptors by their numbers")]
pub(super) fn sockets() -> io::Result<Vec<Arc<OwnedFd>>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<RawFd>().ok();
    // The variables of a parent are not this process's.
    let is_ours = number("LISTEN_PID").and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
    let count = if is_ours { number("LISTEN_FDS").unwrap_or(0) } else { 0 };
    if !(0..=SOCKETS_MAX).contains(&count) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("LISTEN_FDS is {count}; expected 0 to {SOCKETS_MAX}"),
        ));
    }
    for fd in FIRST..FIRST + count {
        // SAFETY: it is used for this call alone, which fails where the descriptor is not open.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    }
    let sockets = (FIRST..FIRST + count).map(|fd| {
        // SAFETY: these descriptors are open. By systemd's protocol they are for this process alone, and no other code of this
        // process knows of them.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let sockets: Vec<_> = sockets.map(Arc::new).collect();
    for socket in &sockets {
        // No process that this one starts needs it.
        let _ = fcntl_setfd(socket, FdFlags::CLOEXEC);
    }
    Ok(sockets)
}

/// Tells systemd how the service is: `READY=1`. That it is not heard changes nothing.
pub(super) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(OsStr::from_bytes(path.as_bytes())),
    };
    let _ = address.and_then(|address| socket.send_to_addr(state.as_bytes(), &address));
}
