//! Where the server is reached. In: an address. Out: its connections, as streams of bytes. Never here: HTTP.

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, socket_with};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that the system keeps until they are accepted.
pub(super) const BACKLOG: u32 = 1024;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port of an address of this machine.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: expected one such as `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/guest.sock`")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        match text.strip_prefix("unix:") {
            Some("") => Err(AddressError(text.to_owned())),
            Some(path) => Ok(Address::Unix(PathBuf::from(path))),
            None => text.parse().map(Address::Tcp).map_err(|_| AddressError(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An open socket that accepts connections.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    /// The path goes first: a socket at which no server listens is another server's to replace.
    Unix(OwnPath, UnixListener),
    /// It outlives this process.
    InheritedTcp(TcpListener),
    /// Its path is its owner's.
    InheritedUnix(UnixListener),
}

impl Listener {
    /// A socket that listens already.
    pub(super) fn inherit(socket: &OwnedFd) -> io::Result<Listener> {
        let socket = socket.try_clone()?;
        // Otherwise each attempt to accept a connection would fail, for ever.
        if !socket_acceptconn(&socket)? || socket_type(&socket)? != SocketType::STREAM {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a stream socket that listens"));
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        match rustix::net::getsockname(&socket)?.address_family() {
            AddressFamily::UNIX => UnixListener::from_std(socket.into()).map(Listener::InheritedUnix),
            AddressFamily::INET | AddressFamily::INET6 => {
                TcpListener::from_std(socket.into()).map(Listener::InheritedTcp)
            }
            // Neither could its clients' addresses be told.
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "it is neither a TCP nor a Unix socket")),
        }
    }

    /// Listens on `address`; with `reuse_port`, where others may, too.
    pub(super) fn bind(address: &Address, reuse_port: bool) -> io::Result<Listener> {
        match address {
            Address::Tcp(address) => bind_tcp(*address, reuse_port).map(Listener::Tcp),
            Address::Unix(path) => {
                let bound = bind_unix(path)?;
                Ok(Listener::Unix(OwnPath { path: path.clone(), inode: inode(path) }, bound))
            }
        }
    }

    /// Whether others accept from it after this process.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self, Listener::InheritedTcp(_) | Listener::InheritedUnix(_))
    }

    /// The socket, where it is this process's own and others may listen on the same port.
    pub(super) fn own_tcp(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Listener::Tcp(listener) => Some(listener.as_fd()),
            Listener::Unix(..) | Listener::InheritedTcp(_) | Listener::InheritedUnix(_) => None,
        }
    }

    /// Where it really listens: a port that the system chose is known only now.
    pub(super) fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Listener::Tcp(listener) | Listener::InheritedTcp(listener) => Address::Tcp(listener.local_addr()?),
            Listener::Unix(own, _) => Address::Unix(own.path.clone()),
            Listener::InheritedUnix(listener) => {
                let address = listener.local_addr()?;
                Address::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned())
            }
        })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) | Listener::InheritedTcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Stream::tcp(stream, Some(peer)))
            }
            Listener::Unix(_, listener) | Listener::InheritedUnix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream { io: Io::Unix(stream), peer: None })
            }
        }
    }

    /// The next connection of the system's queue; none where that is empty. It asks the system itself: what the executor knows of
    /// the socket may be older, and it has a task that does much pause.
    pub(super) fn accept_now(&self) -> io::Result<Option<Stream>> {
        let (socket, is_tcp) = match self {
            Listener::Tcp(listener) | Listener::InheritedTcp(listener) => (listener.as_fd(), true),
            Listener::Unix(_, listener) | Listener::InheritedUnix(listener) => (listener.as_fd(), false),
        };
        let stream = match accept_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            accepted => accepted?,
        };
        Ok(Some(if is_tcp {
            let stream = TcpStream::from_std(stream.into())?;
            let peer = stream.peer_addr().ok();
            Stream::tcp(stream, peer)
        } else {
            Stream { io: Io::Unix(UnixStream::from_std(stream.into())?), peer: None }
        }))
    }
}

/// Listens on a TCP port; with `reuse_port`, where others may, too.
pub(super) fn bind_tcp(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The path of a socket, removed with it.
#[derive(Debug)]
pub(super) struct OwnPath {
    path: PathBuf,
    /// Which socket was bound there.
    inode: Option<(u64, u64)>,
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        // What has the path now may be the socket of another server, which came after this one.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            // A path that is gone is as it should be.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What a path leads to, itself where it is a link.
fn inode(path: &Path) -> Option<(u64, u64)> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Listens at a path. A socket there that its server left behind is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        bound => return bound,
    }
    // Servers that start at once replace it one after the other: what one found left behind may be the socket of the next by the
    // time that it removes it.
    let _lock = lock_directory(path);
    match UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_over(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// How often the lock is tried that another server has while it replaces its socket, for five seconds in all: a process that has it for
/// longer does something else.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The lock on the directory of a path, until it is dropped. None where there is no such lock, or it is not released.
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    for _ in 0..LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(LOCK_PAUSE),
            Err(_) => return None,
        }
    }
    None
}

/// Whether a socket in the file system has no process that listens on it any more. One whose queue is full is not waited for.
fn is_left_over(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket());
    let tried = || {
        let client =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        connect(&client, &SocketAddrUnix::new(path)?)
    };
    is_socket && tried() == Err(Errno::CONNREFUSED)
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    io: Io,
    /// The client's address, of TCP.
    pub(super) peer: Option<SocketAddr>,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn tcp(stream: TcpStream, peer: Option<SocketAddr>) -> Stream {
        // Small frames are sent at once. What fails with this connection does not fail with the next.
        let _ = stream.set_nodelay(true);
        Stream { io: Io::Tcp(stream), peer }
    }

    /// Whether it came over a network.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.io, Io::Tcp(_))
    }
}

macro_rules! on_io {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().io {
            Io::Tcp(it) => {
                let $stream = Pin::new(it);
                $call
            }
            Io::Unix(it) => {
                let $stream = Pin::new(it);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_io!(self, stream => stream.poll_read(context, to))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        on_io!(self, stream => stream.poll_write(context, from))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_io!(self, stream => stream.poll_write_vectored(context, from))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_io!(self, stream => stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::Barrier;
    use tokio::time::timeout;

    /// A socket that its server left behind, in a directory of its own.
    fn left_over(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("isomer-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("there is room");
        let path = directory.join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("its name is free"));
        path
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("it starts")
    }

    #[test]
    fn a_socket_that_another_server_replaces_is_left_to_it() {
        let (runtime, path) = (runtime(), left_over("replaced"));
        let lock = lock_directory(&path).expect("directories have locks");
        let bind = || {
            let _context = runtime.enter();
            Listener::bind(&Address::Unix(path.clone()), false)
        };
        thread::scope(|scope| {
            let starting = scope.spawn(bind);
            // It has seen that no server listens.
            thread::sleep(Duration::from_millis(200));
            fs::remove_file(&path).expect("it is there");
            let other = std::os::unix::net::UnixListener::bind(&path).expect("its name is free");
            drop(lock);
            let refused = starting.join().expect("no panic");
            assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::AddrInUse));
            let _client = std::os::unix::net::UnixStream::connect(&path).expect("it is there");
            other.accept().expect("it is the other one's");
        });
        fs::remove_dir_all(path.parent().expect("it has one")).expect("it is there");
    }

    #[test]
    fn of_servers_that_start_at_once_one_replaces_a_socket_that_was_left() {
        let (runtime, path) = (runtime(), left_over("left"));
        let address = Address::Unix(path.clone());
        let all = Barrier::new(4);
        let start = || {
            let _context = runtime.enter();
            all.wait();
            Listener::bind(&address, false)
        };
        let bound: Vec<_> = thread::scope(|scope| {
            let started = [(); 4].map(|()| scope.spawn(start));
            started.into_iter().map(|it| it.join().expect("no panic")).collect()
        });
        let (serving, refused): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        for refused in refused {
            assert_eq!(refused.map(drop).map_err(|error| error.kind()), Err(ErrorKind::AddrInUse));
        }
        let [Ok(serving)] = &serving[..] else { panic!("{serving:?}") };
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
        let accepted = runtime.block_on(async { timeout(Duration::from_secs(10), serving.accept()).await });
        accepted.expect("it is the one at the path").expect("it accepts");
        drop(runtime);
        fs::remove_dir_all(path.parent().expect("it has one")).expect("it is there");
    }
}
