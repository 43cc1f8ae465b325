//! In: the rules of the network, and each address that a guest would use. Out: whether it may. Never here: a name that is
//! resolved; `lookup.rs` says which addresses the guest was given for a name.

use crate::denials::Denials;
use crate::grants::{NetworkRule, NetworkUse, Protocol, is_public};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

/// A guest that resolves ever more names, or is written to by ever more peers, must not fill this machine's memory.
const REMEMBERED_MAX: usize = 10_000;

/// What of the network guests may use, and what they were told of it.
#[derive(Debug)]
pub struct Network {
    rules: Vec<NetworkRule>,
    resolved: Mutex<Resolved>,
    /// Who sent datagrams to an address that a guest listens on, and may be answered.
    peers: Mutex<HashSet<SocketAddr>>,
    denials: Denials,
}

/// The names that were resolved to each address.
#[derive(Debug, Default)]
struct Resolved {
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// How many names of all addresses.
    count: usize,
}

impl Resolved {
    fn add(&mut self, name: &str, address: IpAddr) {
        if self.count >= REMEMBERED_MAX {
            *self = Resolved::default();
        }
        self.count += usize::from(self.names.entry(address).or_default().insert(name.to_owned()));
    }
}

impl Network {
    /// A network of which these rules allow something.
    pub fn new(rules: Vec<NetworkRule>) -> Network {
        Network::reporting(rules, Denials::default())
    }

    /// The same, which reports there what it denies.
    pub(super) fn reporting(rules: Vec<NetworkRule>, denials: Denials) -> Network {
        Network { rules, resolved: Mutex::default(), peers: Mutex::default(), denials }
    }

    pub(super) fn apply(self: &Arc<Network>, wasi: &mut WasiCtxBuilder) {
        wasi.allow_tcp(self.has_tcp());
        wasi.allow_udp(self.has_udp());
        // Which names is `lookup.rs`'s to check.
        wasi.allow_ip_name_lookup(!self.rules.is_empty());
        let network = self.clone();
        wasi.socket_addr_check(move |address, how| Box::pin(std::future::ready(network.allows(address, how))));
    }

    /// Reports that the guest opens a TCP socket, if that is denied.
    pub(super) fn opens_tcp_socket(&self) {
        if !self.has_tcp() {
            self.denials.report("opening a TCP socket", "no rule allows TCP");
        }
    }

    /// Reports that the guest opens a UDP socket, if that is denied.
    pub(super) fn opens_udp_socket(&self) {
        if !self.has_udp() {
            self.denials.report("opening a UDP socket", "no rule allows UDP");
        }
    }

    fn has_tcp(&self) -> bool {
        self.rules.iter().any(NetworkRule::is_tcp)
    }

    fn has_udp(&self) -> bool {
        self.rules.iter().any(NetworkRule::is_udp)
    }

    /// Whether any rule allows the guest to resolve `name`.
    pub fn allows_lookup(&self, name: &str) -> bool {
        // What is an address already tells the guest nothing.
        let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        let allowed = is_address || self.rules.iter().any(|rule| rule.allows_lookup(name));
        if !allowed {
            self.denials.report_name("resolving", name, "no rule allows this name");
        }
        allowed
    }

    /// Remembers what the guest was told that `name` is.
    pub(super) fn was_resolved(&self, name: &str, address: IpAddr) {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner).add(name, address.to_canonical());
    }

    fn allows(&self, address: SocketAddr, how: SocketAddrUse) -> bool {
        match how {
            // A socket that connects is bound to any address first.
            SocketAddrUse::TcpBind if is_any(address) => true,
            SocketAddrUse::UdpBind if is_any(address) => true,
            SocketAddrUse::TcpBind | SocketAddrUse::TcpListen => self.allows_use(NetworkUse::TcpListen(address)),
            SocketAddrUse::UdpBind => self.allows_use(NetworkUse::UdpListen(address)),
            SocketAddrUse::TcpAccept => self.listens(Protocol::TcpListen),
            SocketAddrUse::TcpConnect => self.allows_use(NetworkUse::TcpConnect(address)),
            SocketAddrUse::UdpSend => self.is_peer(address) || self.allows_use(NetworkUse::UdpPeer(address)),
            SocketAddrUse::UdpReceive if self.listens(Protocol::UdpListen) => {
                let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
                if peers.len() >= REMEMBERED_MAX {
                    peers.clear();
                }
                peers.insert(address);
                true
            }
            SocketAddrUse::UdpReceive => self.allows_use(NetworkUse::UdpPeer(address)),
        }
    }

    fn listens(&self, protocol: Protocol) -> bool {
        self.rules.iter().any(|rule| rule.protocol == protocol)
    }

    fn is_peer(&self, address: SocketAddr) -> bool {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    fn allows_use(&self, how: NetworkUse) -> bool {
        if self.rules.iter().any(|rule| rule.allows(how)) {
            return true;
        }
        let (verb, address) = match how {
            NetworkUse::TcpConnect(address) => ("connecting to", address),
            NetworkUse::UdpPeer(address) => ("exchanging datagrams with", address),
            NetworkUse::TcpListen(address) => ("accepting connections on", address),
            NetworkUse::UdpListen(address) => ("receiving datagrams on", address),
        };
        let named = {
            let resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            let names = resolved.names.get(&address.ip().to_canonical());
            let allowed = |name: &&String| self.rules.iter().any(|rule| rule.allows_resolved(how, name));
            names.and_then(|names| names.iter().find(allowed).cloned())
        };
        match named {
            Some(_) if is_public(address.ip()) => true,
            Some(name) => {
                // Of a name that was resolved, all is shown: DNS has none that is long.
                let reason = format!(
                    "`{name}` is allowed, but it is an address of this network, which a rule has to name as well"
                );
                self.denials.report_name(verb, &address.to_string(), &reason);
                false
            }
            None => {
                self.denials.report_name(verb, &address.to_string(), "no rule allows it");
                false
            }
        }
    }
}

fn is_any(address: SocketAddr) -> bool {
    address.ip().is_unspecified() && address.port() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(rules: &[&str]) -> Network {
        Network::new(rules.iter().map(|rule| rule.parse().expect("a rule")).collect())
    }

    #[test]
    fn a_name_covers_what_it_resolved_to_unless_that_is_in_this_network() {
        let address = |text: &str| text.parse::<SocketAddr>().expect(text);
        let network = network(&["db.example.com:5432", "10.0.0.7:5432"]);
        assert!(!network.allows(address("93.184.216.34:5432"), SocketAddrUse::TcpConnect));
        network.was_resolved("db.example.com", "93.184.216.34".parse().expect("an address"));
        network.was_resolved("db.example.com", "127.0.0.1".parse().expect("an address"));
        network.was_resolved("db.example.com", "10.0.0.7".parse().expect("an address"));
        assert!(network.allows(address("93.184.216.34:5432"), SocketAddrUse::TcpConnect));
        assert!(!network.allows(address("93.184.216.34:5433"), SocketAddrUse::TcpConnect));
        assert!(!network.allows(address("127.0.0.1:5432"), SocketAddrUse::TcpConnect));
        assert!(network.allows(address("10.0.0.7:5432"), SocketAddrUse::TcpConnect));
    }

    #[test]
    fn as_many_names_are_remembered_as_addresses() {
        let mut resolved = Resolved::default();
        let address = |number: usize| IpAddr::from(std::net::Ipv6Addr::from(number as u128));
        for number in 0..3 * REMEMBERED_MAX {
            // Many names of one address, and one name of many.
            resolved.add(&number.to_string(), address(0));
            resolved.add("one", address(number));
            let count: usize = resolved.names.values().map(BTreeSet::len).sum();
            assert!(number % 1000 != 0 || count == resolved.count && count <= REMEMBERED_MAX, "{count}");
        }
    }

    #[test]
    fn nothing_is_listened_on_that_was_not_granted() {
        let address = |text: &str| text.parse::<SocketAddr>().expect(text);
        let connects = network(&["tcp:*", "udp:*"]);
        assert!(connects.allows(address("0.0.0.0:0"), SocketAddrUse::TcpBind));
        assert!(!connects.allows(address("0.0.0.0:80"), SocketAddrUse::TcpBind));
        assert!(!connects.allows(address("0.0.0.0:40000"), SocketAddrUse::TcpListen));
        assert!(!connects.allows(address("127.0.0.1:9"), SocketAddrUse::TcpAccept));
        assert!(!connects.allows(address("127.0.0.1:53"), SocketAddrUse::UdpBind));
        let listens = network(&["tcp-listen:127.0.0.1:8080", "udp-listen:127.0.0.1:53"]);
        assert!(listens.allows(address("127.0.0.1:8080"), SocketAddrUse::TcpListen));
        assert!(!listens.allows(address("0.0.0.0:8080"), SocketAddrUse::TcpListen));
        assert!(!listens.allows(address("127.0.0.1:8080"), SocketAddrUse::TcpConnect));
        assert!(!listens.allows(address("192.0.2.1:9"), SocketAddrUse::UdpSend));
        assert!(listens.allows(address("192.0.2.1:9"), SocketAddrUse::UdpReceive));
        assert!(listens.allows(address("192.0.2.1:9"), SocketAddrUse::UdpSend));
    }

    #[test]
    fn names_are_resolved_that_a_rule_names() {
        let network = network(&["tcp:a.example:80", "dns:*.b.example", "10.0.0.0/8"]);
        assert!(network.allows_lookup("a.example") && network.allows_lookup("x.b.example"));
        assert!(network.allows_lookup("10.0.0.1") && network.allows_lookup("[::1]"));
        assert!(!network.allows_lookup("c.example"));
    }
}
