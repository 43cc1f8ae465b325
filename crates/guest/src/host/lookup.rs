//! `wasi:sockets/ip-name-lookup` of WASI 0.2 and 0.3 as wasmtime-wasi implements it, for the names that rules allow. In: a
//! name. Out: addresses, which [`Network`] remembers. Never here: an implementation of its own.

use super::Host;
use super::network::Network;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::p2;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup as p2_lookup;
use wasmtime_wasi::p2::bindings::sockets::network as p2_network;
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3_lookup;
use wasmtime_wasi::p3::bindings::sockets::types as p3_types;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtxView, WasiSocketsView};

/// The names of the lookups that are not finished, by the handle of their stream.
pub(super) type Lookups = HashMap<u32, String>;

pub(super) fn add_to_linker_p2(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    p2_lookup::add_to_linker::<Host, Checked>(linker, Host::lookup)
}

pub(super) fn add_to_linker_p3(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    p3_lookup::add_to_linker::<Host, Checked>(linker, Host::lookup)
}

impl Host {
    fn lookup(&mut self) -> CheckedView<'_> {
        CheckedView { sockets: self.wasi.sockets(), network: &self.network, lookups: &mut self.lookups }
    }
}

struct Checked;

impl HasData for Checked {
    type Data<'a> = CheckedView<'a>;
}

struct CheckedView<'a> {
    sockets: WasiSocketsCtxView<'a>,
    network: &'a Arc<Network>,
    lookups: &'a mut Lookups,
}

impl p2_lookup::Host for CheckedView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<p2::Network>,
        name: String,
    ) -> Result<Resource<p2_lookup::ResolveAddressStream>, p2::SocketError> {
        if !self.network.allows_lookup(&name) {
            return Err(p2_network::ErrorCode::AccessDenied.into());
        }
        let stream = p2_lookup::Host::resolve_addresses(&mut self.sockets, network, name.clone())?;
        self.lookups.insert(stream.rep(), name);
        Ok(stream)
    }
}

impl p2_lookup::HostResolveAddressStream for CheckedView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<p2_lookup::ResolveAddressStream>,
    ) -> Result<Option<p2_network::IpAddress>, p2::SocketError> {
        let name = self.lookups.get(&stream.rep());
        let found = p2_lookup::HostResolveAddressStream::resolve_next_address(&mut self.sockets, stream)?;
        if let (Some(name), Some(address)) = (name, &found) {
            self.network.was_resolved(name, of_p2(address));
        }
        Ok(found)
    }

    fn subscribe(
        &mut self,
        stream: Resource<p2_lookup::ResolveAddressStream>,
    ) -> wasmtime::Result<Resource<p2::DynPollable>> {
        p2_lookup::HostResolveAddressStream::subscribe(&mut self.sockets, stream)
    }

    fn drop(&mut self, stream: Resource<p2_lookup::ResolveAddressStream>) -> wasmtime::Result<()> {
        self.lookups.remove(&stream.rep());
        p2_lookup::HostResolveAddressStream::drop(&mut self.sockets, stream)
    }
}

impl p2_network::Host for CheckedView<'_> {
    fn convert_error_code(&mut self, error: p2::SocketError) -> wasmtime::Result<p2_network::ErrorCode> {
        p2_network::Host::convert_error_code(&mut self.sockets, error)
    }

    fn network_error_code(&mut self, error: Resource<p2::IoError>) -> wasmtime::Result<Option<p2_network::ErrorCode>> {
        p2_network::Host::network_error_code(&mut self.sockets, error)
    }
}

impl p2_network::HostNetwork for CheckedView<'_> {
    fn drop(&mut self, network: Resource<p2::Network>) -> wasmtime::Result<()> {
        p2_network::HostNetwork::drop(&mut self.sockets, network)
    }
}

impl p3_lookup::Host for CheckedView<'_> {}

impl p3_lookup::HostWithStore<Host> for Checked {
    async fn resolve_addresses(
        store: &Accessor<Host, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Vec<p3_types::IpAddress>, p3_lookup::ErrorCode>> {
        let network = store.with(|mut access| access.get().network.clone());
        if !network.allows_lookup(&name) {
            return Ok(Err(p3_lookup::ErrorCode::AccessDenied));
        }
        let sockets = store.with_getter::<WasiSockets>(|host: &mut Host| host.wasi.sockets());
        let found = <WasiSockets as p3_lookup::HostWithStore<Host>>::resolve_addresses(&sockets, name.clone()).await?;
        for address in found.iter().flatten() {
            network.was_resolved(&name, of_p3(address));
        }
        Ok(found)
    }
}

fn of_p2(address: &p2_network::IpAddress) -> IpAddr {
    match *address {
        p2_network::IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        p2_network::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}

fn of_p3(address: &p3_types::IpAddress) -> IpAddr {
    match *address {
        p3_types::IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
        p3_types::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => Ipv6Addr::new(a, b, c, d, e, f, g, h).into(),
    }
}
