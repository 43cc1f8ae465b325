//! Ports that another process takes over. In: listeners of this process, beside which others may listen on the same ports. Out:
//! none of these gets a new connection any more, and it can be closed without resetting one. Never here: a connection.
//!
//! The kernel distributes new connections among all sockets that listen on a port, and resets those that a socket has not
//! accepted when it is closed. So a socket that is to be closed first gives up new ones, in two ways: the kernel is told to
//! choose the port's second socket, which is that of the process that takes over, as sockets are kept in the order in which they
//! were bound; and this socket ignores whatever connects to it nevertheless, which the client's system repeats a second later.

use super::drain::wait_within;
use super::listener::Listener;
use libc::{BPF_ABS, BPF_B, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, sock_filter, sock_fprog};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// How long connections are accepted that had begun before.
const TIME: Duration = Duration::from_millis(500);

/// Which socket of a port gets a connection, from 0. A number that no socket has leaves the choice to the kernel.
const SECOND: [sock_filter; 1] = [step(BPF_RET | BPF_K, 1, 0, 0)];

/// In TCP's header.
const FLAGS_OFFSET: u32 = 13;
const SYN: u32 = 2;
/// Ignores what begins a connection. What belongs to one that has begun passes.
const NO_SYN: [sock_filter; 4] = [
    step(BPF_LD | BPF_B | BPF_ABS, FLAGS_OFFSET, 0, 0),
    step(BPF_JMP | BPF_JSET | BPF_K, SYN, 0, 1),
    step(BPF_RET | BPF_K, 0, 0, 0),
    step(BPF_RET | BPF_K, u32::MAX, 0, 0),
];

/// An instruction; `jt` and `jf` are how many are skipped if a condition holds, or does not.
const fn step(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// Leaves new connections to the other processes that listen on the same ports. They are accepted meanwhile, and the caller
/// closes the listeners then; also once `is_ended`.
pub(super) fn hand_over(listeners: &[Arc<Listener>], is_ended: impl Fn() -> bool) {
    for socket in listeners.iter().filter_map(|listener| listener.own_tcp()) {
        let attached = attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &SECOND)
            .and_then(|()| attach(socket, libc::SO_ATTACH_FILTER, &NO_SYN));
        if let Err(error) = attached {
            tracing::warn!(
                "connections that arrive now may be reset: the kernel does not give them to others: {error}"
            );
        }
    }
    wait_within(TIME, is_ended);
}

#[allow(unsafe_code, reason = "no crate has these options")]
fn attach(socket: BorrowedFd<'_>, option: libc::c_int, program: &[sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let size = size_of::<sock_fprog>() as libc::socklen_t;
    let value: *const sock_fprog = &raw const program;
    // SAFETY: the option takes a `sock_fprog` of that size, whose filter has as many instructions as it states. The kernel
    // copies them, and does not write.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), size) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
