//! The sockets of WASI 0.2 and 0.3 as wasmtime-wasi opens them, which denies those of a protocol that no rule is about. In: a
//! guest's request for one. Out: the same socket or denial, and for a denial a warning of [`Network`]. Never here: what may be
//! reached by a socket.
//!
//! [`Network`]: super::Network

use super::Host;
use isomer_contract::wasi::{WASI_0_2_VERSION, WASI_0_3_VERSION};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode as P2Error, IpAddressFamily as P2Family};
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode as P3Error, HostTcpSocket, HostUdpSocket, IpAddressFamily as P3Family,
};
use wasmtime_wasi::sockets::{TcpSocket, UdpSocket, WasiSocketsView};

/// What a function of WASI returns: one result.
type Returned<T, E> = wasmtime::Result<(Result<T, E>,)>;

/// To be called after wasmtime-wasi's own functions were added, which these replace.
pub(super) fn add_to_linker_p2(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let tcp =
        |mut store: StoreContextMut<'_, Host>, (family,): (P2Family,)| -> Returned<Resource<p2::TcpSocket>, P2Error> {
            let host = store.data_mut();
            host.network.opens_tcp_socket();
            returned(tcp_create_socket::Host::create_tcp_socket(&mut host.wasi.sockets(), family))
        };
    let interface = |name: &str| format!("wasi:sockets/{name}@{WASI_0_2_VERSION}");
    linker.instance(&interface("tcp-create-socket"))?.func_wrap("create-tcp-socket", tcp)?;
    linker.instance(&interface("udp-create-socket"))?.func_wrap_async(
        "create-udp-socket",
        |mut store: StoreContextMut<'_, Host>, (family,): (P2Family,)| {
            Box::new(async move {
                let host = store.data_mut();
                host.network.opens_udp_socket();
                let opened = udp_create_socket::Host::create_udp_socket(&mut host.wasi.sockets(), family).await;
                returned::<Resource<p2::UdpSocket>, P2Error>(opened)
            })
        },
    )
}

/// To be called after wasmtime-wasi's own functions were added, which these replace.
pub(super) fn add_to_linker_p3(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut types = linker.instance(&format!("wasi:sockets/types@{WASI_0_3_VERSION}"))?;
    let tcp =
        |mut store: StoreContextMut<'_, Host>, (family,): (P3Family,)| -> Returned<Resource<TcpSocket>, P3Error> {
            let host = store.data_mut();
            host.network.opens_tcp_socket();
            returned(HostTcpSocket::create(&mut host.wasi.sockets(), family))
        };
    types.func_wrap("[static]tcp-socket.create", tcp)?;
    types.func_wrap_async(
        "[static]udp-socket.create",
        |mut store: StoreContextMut<'_, Host>, (family,): (P3Family,)| {
            Box::new(async move {
                let host = store.data_mut();
                host.network.opens_udp_socket();
                let opened = HostUdpSocket::create(&mut host.wasi.sockets(), family).await;
                returned::<Resource<UdpSocket>, P3Error>(opened)
            })
        },
    )
}

/// An error of the socket is the guest's to see; any other one ends it.
fn returned<T, E>(opened: Result<T, TrappableError<E>>) -> Returned<T, E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Ok((match opened {
        Ok(socket) => Ok(socket),
        Err(error) => Err(error.downcast()?),
    },))
}
