//! In: `[SCHEME://]HOST[:PORT]`. Out: which servers a guest may send HTTP requests to, by `wasi:http`. Never here: a
//! request.

use super::GrantError;
use super::address::{HostPattern, Ports, host_and_ports, write_host};
use serde::Deserialize;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Servers that a guest may send HTTP requests to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HttpRule {
    /// `http` or `https` alone; both, if it names none.
    pub scheme: Option<HttpScheme>,
    /// Which hosts.
    pub host: HostPattern,
    /// Which ports; without any, the scheme's default.
    pub ports: Option<Ports>,
}

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpScheme {
    /// In clear text.
    Http,
    /// With TLS.
    Https,
}

impl HttpScheme {
    /// As URLs write it.
    pub fn name(self) -> &'static str {
        match self {
            HttpScheme::Http => "http",
            HttpScheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            HttpScheme::Http => 80,
            HttpScheme::Https => 443,
        }
    }

    fn parse(name: &str) -> Option<HttpScheme> {
        [HttpScheme::Http, HttpScheme::Https].into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }
}

impl HttpRule {
    /// Whether a request to this host, as its URL writes it, may be sent. What a name resolves to is checked by
    /// [`HttpRule::allows_address`] when it is known.
    pub fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let Some(scheme) = HttpScheme::parse(scheme) else { return false };
        if self.scheme.is_some_and(|expected| expected != scheme) || !self.allows_port(scheme, port) {
            return false;
        }
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => self.host.covers_address(address),
            Err(_) => self.host.covers_name(host),
        }
    }

    /// Whether this rule names `address` itself, by `*`, an address or a CIDR, for this port.
    pub fn allows_address(&self, scheme: &str, address: IpAddr, port: u16) -> bool {
        let scheme = HttpScheme::parse(scheme).filter(|scheme| self.scheme.is_none_or(|expected| expected == *scheme));
        scheme.is_some_and(|scheme| self.allows_port(scheme, port) && self.host.covers_address(address))
    }

    fn allows_port(&self, scheme: HttpScheme, port: u16) -> bool {
        match self.ports {
            Some(ports) => ports.contains(port),
            None => port == scheme.default_port(),
        }
    }
}

impl FromStr for HttpRule {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<HttpRule, GrantError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((name, rest)) => {
                let scheme = HttpScheme::parse(name).ok_or_else(|| {
                    GrantError::new(format!("`{name}` is not a scheme that guests can use; expected http or https"))
                })?;
                (Some(scheme), rest)
            }
            None => (None, text),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(GrantError::new("a rule holds no user and password"));
        }
        let is_cidr =
            authority.split_once('/').is_some_and(|(_, rest)| rest.starts_with(|it: char| it.is_ascii_digit()));
        if authority.contains(['/', '?', '#']) && !is_cidr {
            let error = GrantError::new(format!("`{text}` holds a path; rules are about hosts"));
            return Err(error.hint("write SCHEME://HOST:PORT alone"));
        }
        let (host, ports) = host_and_ports(authority)?;
        Ok(HttpRule { scheme, host, ports })
    }
}

impl TryFrom<String> for HttpRule {
    type Error = GrantError;

    fn try_from(text: String) -> Result<HttpRule, GrantError> {
        text.parse()
    }
}

impl fmt::Display for HttpRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.name())?;
        }
        write_host(f, &self.host, self.ports)
    }
}
