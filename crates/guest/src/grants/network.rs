//! In: `[PROTOCOL:]HOST[:PORTS]`. Out: which use of the network a rule allows. Never here: a socket, or a name that is
//! resolved.

use super::GrantError;
use super::address::{HostPattern, Ports, host_and_ports, write_host};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Connections by TCP and datagrams by UDP: a rule that names no protocol.
    Any,
    /// Connections by TCP.
    Tcp,
    /// Datagrams to and from a peer, by UDP.
    Udp,
    /// Names that may be resolved. A rule that names a host allows that too.
    Dns,
    /// Local addresses on which connections are accepted.
    TcpListen,
    /// Local addresses on which datagrams are received from all.
    UdpListen,
}

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp:", Protocol::Tcp),
    ("udp:", Protocol::Udp),
    ("dns:", Protocol::Dns),
    ("tcp-listen:", Protocol::TcpListen),
    ("udp-listen:", Protocol::UdpListen),
];

/// One way in which a guest would use the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkUse {
    /// Connect by TCP to this peer.
    TcpConnect(SocketAddr),
    /// Exchange datagrams with this peer.
    UdpPeer(SocketAddr),
    /// Accept connections on this local address.
    TcpListen(SocketAddr),
    /// Receive datagrams on this local address.
    UdpListen(SocketAddr),
}

/// A part of the network that a guest may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct NetworkRule {
    /// For what.
    pub protocol: Protocol,
    /// Which hosts; where it listens, which local addresses.
    pub host: HostPattern,
    /// Which ports; without any, all.
    pub ports: Option<Ports>,
}

impl NetworkRule {
    /// Whether it allows this use of an address, which none of its names is needed for.
    pub fn allows(&self, how: NetworkUse) -> bool {
        let address = self.covers(how);
        address.is_some_and(|address| self.host.covers_address(address.ip()))
    }

    /// Whether it allows this use of an address to which the guest resolved `name`.
    pub fn allows_resolved(&self, how: NetworkUse, name: &str) -> bool {
        self.host.is_name() && self.covers(how).is_some() && self.host.covers_name(name)
    }

    /// Whether the guest may resolve `name`.
    pub fn allows_lookup(&self, name: &str) -> bool {
        match self.protocol {
            Protocol::Dns => self.host.covers_name(name),
            Protocol::Any | Protocol::Tcp | Protocol::Udp => self.host.covers_name(name),
            Protocol::TcpListen | Protocol::UdpListen => false,
        }
    }

    /// Whether it is about peers that are reached by TCP.
    pub fn is_tcp(&self) -> bool {
        matches!(self.protocol, Protocol::Any | Protocol::Tcp | Protocol::TcpListen)
    }

    /// Whether it is about peers that are reached by UDP.
    pub fn is_udp(&self) -> bool {
        matches!(self.protocol, Protocol::Any | Protocol::Udp | Protocol::UdpListen)
    }

    /// The address of this use, if protocol and port are this rule's.
    fn covers(&self, how: NetworkUse) -> Option<SocketAddr> {
        let (address, covered) = match how {
            NetworkUse::TcpConnect(address) => (address, matches!(self.protocol, Protocol::Any | Protocol::Tcp)),
            NetworkUse::UdpPeer(address) => (address, matches!(self.protocol, Protocol::Any | Protocol::Udp)),
            NetworkUse::TcpListen(address) => (address, self.protocol == Protocol::TcpListen),
            NetworkUse::UdpListen(address) => (address, self.protocol == Protocol::UdpListen),
        };
        let port = self.ports.is_none_or(|ports| ports.contains(address.port()));
        (covered && port).then_some(address)
    }
}

impl FromStr for NetworkRule {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<NetworkRule, GrantError> {
        let found = PROTOCOLS.iter().find_map(|(prefix, protocol)| Some((text.strip_prefix(prefix)?, *protocol)));
        let (rest, protocol) = found.unwrap_or((text, Protocol::Any));
        if rest.contains("://") {
            let error = GrantError::new(format!("`{text}` is a URL; expected [tcp:|udp:]HOST[:PORT]"));
            return Err(error.hint("requests by wasi:http have rules of their own"));
        }
        if protocol != Protocol::Any && rest.bytes().all(|byte| byte.is_ascii_digit()) {
            let error = GrantError::new(format!("`{text}` names no host"));
            return Err(error.hint(format!("for every host write `{}*:{rest}`", text.trim_end_matches(rest))));
        }
        let (host, ports) = host_and_ports(rest)?;
        let listens = matches!(protocol, Protocol::TcpListen | Protocol::UdpListen);
        if listens && host.is_name() {
            return Err(GrantError::new(format!("`{host}` is a name; a guest listens on an address or `*`")));
        }
        if protocol == Protocol::Dns && (ports.is_some() || matches!(host, HostPattern::Network(_))) {
            return Err(GrantError::new(format!("`{rest}` is not a name; expected dns:NAME, dns:*.NAME or dns:*")));
        }
        Ok(NetworkRule { protocol, host, ports })
    }
}

impl TryFrom<String> for NetworkRule {
    type Error = GrantError;

    fn try_from(text: String) -> Result<NetworkRule, GrantError> {
        text.parse()
    }
}

impl fmt::Display for NetworkRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = PROTOCOLS.iter().find(|(_, protocol)| *protocol == self.protocol);
        f.write_str(prefix.map_or("", |(prefix, _)| prefix))?;
        write_host(f, &self.host, self.ports)
    }
}
