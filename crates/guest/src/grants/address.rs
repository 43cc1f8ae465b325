//! In: `db.example.com:5432`, `[2001:db8::/32]:443`. Out: which addresses, names and ports that covers.

use super::GrantError;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Which hosts a rule covers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostPattern {
    /// `*`: all.
    Any,
    /// An address or a CIDR.
    Network(IpNet),
    /// A name, in lower case.
    Name(String),
    /// `*.example.com`: every name that ends so; without the `*`, in lower case.
    Subdomains(String),
}

impl HostPattern {
    /// Whether it covers `address` by itself, without a name.
    pub fn covers_address(&self, address: IpAddr) -> bool {
        match self {
            HostPattern::Any => true,
            HostPattern::Network(network) => network.contains(&address.to_canonical()),
            HostPattern::Name(_) | HostPattern::Subdomains(_) => false,
        }
    }

    /// Whether it covers `name`, in whatever case.
    pub fn covers_name(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        match self {
            HostPattern::Any => true,
            HostPattern::Name(expected) => name == *expected,
            HostPattern::Subdomains(suffix) => name.strip_suffix(suffix.as_str()).is_some_and(|rest| !rest.is_empty()),
            HostPattern::Network(_) => false,
        }
    }

    /// Whether it is a name, which has to be resolved.
    pub fn is_name(&self) -> bool {
        matches!(self, HostPattern::Name(_) | HostPattern::Subdomains(_))
    }
}

impl FromStr for HostPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<HostPattern, GrantError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(HostPattern::Network(address.to_canonical().into()));
        }
        if text.contains('/') {
            return cidr(text).map(HostPattern::Network);
        }
        let (name, subdomains) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_label = |label: &str| {
            let fits = (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
            fits && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_number = name.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
        if name.len() > 253 || !name.split('.').all(is_label) || is_number {
            let error = GrantError::new(format!("`{text}` is neither an address, a CIDR nor a host's name"));
            return Err(error.with_hint("names are ASCII, international ones as `xn--…`; `*` alone means every host"));
        }
        Ok(if subdomains { HostPattern::Subdomains(format!(".{name}")) } else { HostPattern::Name(name) })
    }
}

fn cidr(text: &str) -> Result<IpNet, GrantError> {
    let network: IpNet = text.parse().map_err(|_| {
        GrantError::new(format!("`{text}` is not a CIDR"))
            .with_hint("write `10.0.0.0/8` or, with a port, `[fd00::/8]:443`")
    })?;
    let trimmed = network.trunc();
    if trimmed != network {
        let error = GrantError::new(format!("`{text}` has bits set after its prefix"));
        return Err(error.with_hint(format!("the network is `{trimmed}`; one address is `{}`", network.addr())));
    }
    Ok(network)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            HostPattern::Network(network) => write!(f, "{network}"),
            HostPattern::Name(name) => f.write_str(name),
            HostPattern::Subdomains(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Ports {
    /// Whether `port` is one of them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for Ports {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Ports, GrantError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first @ 1..), Ok(last)) if first <= last => Ok(Ports { first, last }),
            _ => Err(GrantError::new(format!("`{text}` is not a port; expected 1 to 65535, or a range `8000-8080`"))),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ports { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// `HOST[:PORTS]`; an IPv6 address or CIDR with ports has brackets.
pub(super) fn host_and_ports(text: &str) -> Result<(HostPattern, Option<Ports>), GrantError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| {
            GrantError::new(format!("`{text}` lacks the closing bracket")).with_hint("write `[2001:db8::1]:443`")
        })?;
        let ports = match rest {
            "" => None,
            rest => {
                let ports = rest.strip_prefix(':').ok_or_else(|| {
                    GrantError::new(format!("`{rest}` follows the bracket; expected `:PORT` or nothing"))
                })?;
                Some(ports.parse()?)
            }
        };
        return Ok((host.parse()?, ports));
    }
    let is_ipv6 = text.bytes().filter(|byte| *byte == b':').count() > 1;
    match text.split_once(':') {
        Some((host, ports)) if !is_ipv6 => Ok((host.parse()?, Some(ports.parse()?))),
        _ => Ok((text.parse()?, None)),
    }
}

/// `host` as a part of a rule: in brackets where a port could not be told from it.
pub(super) fn write_host(f: &mut fmt::Formatter<'_>, host: &HostPattern, ports: Option<Ports>) -> fmt::Result {
    match (host, ports) {
        (HostPattern::Network(IpNet::V6(_)), Some(ports)) => write!(f, "[{host}]:{ports}"),
        (host, Some(ports)) => write!(f, "{host}:{ports}"),
        (host, None) => write!(f, "{host}"),
    }
}

/// Whether an address is one of the public internet. A rule that names a host by its name alone does not cover others: who
/// controls the name's DNS must not reach into the network that this machine is in.
pub fn is_public(address: IpAddr) -> bool {
    // RFC 6890 and the registries of special-purpose addresses that it began.
    const IPV4: [(Ipv4Addr, u8); 14] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    // Of IPv6, only global unicast is public, without what tunnels IPv4 (RFC 3056, 4380, 6052) and documentation (RFC 3849,
    // 9637).
    const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    const IPV6: [(Ipv6Addr, u8); 4] = [
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    let is_in_v4 = |(network, prefix): (Ipv4Addr, u8), address| {
        Ipv4Net::new(network, prefix).is_ok_and(|network| network.contains(&address))
    };
    let is_in_v6 = |(network, prefix): (Ipv6Addr, u8), address| {
        Ipv6Net::new(network, prefix).is_ok_and(|network| network.contains(&address))
    };
    match address.to_canonical() {
        IpAddr::V4(address) => !IPV4.into_iter().any(|network| is_in_v4(network, address)),
        IpAddr::V6(address) => {
            is_in_v6(GLOBAL_UNICAST, address) && !IPV6.into_iter().any(|network| is_in_v6(network, address))
        }
    }
}
