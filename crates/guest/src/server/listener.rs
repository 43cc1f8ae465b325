//! Where the server is reached. In: an address. Out: its connections, as streams of bytes. Never here: HTTP.

use rustix::net::sockopt::{socket_acceptconn, socket_type};
use rustix::net::{AddressFamily, SocketType};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

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
    Unix(UnixListener, OwnPath),
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
                let bound = UnixListener::bind(path).or_else(|error| {
                    if error.kind() != ErrorKind::AddrInUse || !is_left_over(path) {
                        return Err(error);
                    }
                    std::fs::remove_file(path)?;
                    UnixListener::bind(path)
                })?;
                Ok(Listener::Unix(bound, OwnPath { path: path.clone(), inode: inode(path) }))
            }
        }
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
            Listener::Unix(_, own) => Address::Unix(own.path.clone()),
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
                // Small frames are sent at once.
                stream.set_nodelay(true)?;
                Ok(Stream { io: Io::Tcp(stream), peer: Some(peer) })
            }
            Listener::Unix(listener, _) | Listener::InheritedUnix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Stream { io: Io::Unix(stream), peer: None })
            }
        }
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

/// Whether a socket in the file system has no process that listens on it any more.
fn is_left_over(path: &Path) -> bool {
    let is_socket = path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket());
    let connected = std::os::unix::net::UnixStream::connect(path);
    is_socket && connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
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
