//! In: an address as a user wrote it. Out: what of it makes a connection, or what is wrong with it and how it would be
//! right. Never here: the network: a host name that does not resolve is valid.

use crate::error::RemoteError;
use std::net::IpAddr;

/// Where a remote is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Whether TLS is spoken there.
    pub(crate) tls: bool,
    /// Host and port, as in any URL.
    pub(crate) authority: String,
    host: String,
}

impl Address {
    /// Takes schemes in any case, hosts by name or by number, and a port where there is one.
    pub(crate) fn parse(url: &str) -> Result<Address, RemoteError> {
        let bad = |reason: &str, hint: String| RemoteError::Options {
            what: format!("the address `{url}`"),
            reason: reason.to_owned(),
            hint: Some(hint),
        };
        let with_scheme = |host: &str| format!("write `grpc://{host}`, or `grpcs://{host}` for TLS");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme", with_scheme(url)))?;
        let rest = rest.trim_end_matches('/');
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "grpc" => false,
            "grpcs" => true,
            // Other tools speak another protocol there.
            _ => {
                let reason = format!("`{scheme}://` is neither grpc:// nor grpcs://");
                return Err(bad(&reason, with_scheme(rest)));
            }
        };
        let form = || format!("write `{scheme}://HOST:PORT`");
        if rest.contains(['/', '?', '#', '@']) {
            return Err(bad("expected host and port alone; an instance name is an option of its own", form()));
        }
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => {
                (host, Some(rest.strip_prefix(':').ok_or_else(|| bad("expected a port after `]`", form()))?))
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err(bad("it has no host", form()));
        }
        if !rest.starts_with('[') && port.is_some_and(|port| port.contains(':')) {
            return Err(bad(
                "more than one `:`",
                format!("write an IPv6 address in brackets: `{scheme}://[::1]:PORT`"),
            ));
        }
        if let Some(port) = port
            && !(port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0))
        {
            return Err(bad(&format!("`{port}` is not a valid port, expected a number from 1 to 65535"), form()));
        }
        Ok(Address { tls, authority: rest.to_owned(), host: host.to_owned() })
    }

    /// Whether it is this machine: what is sent there does not leave it.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_parsed() {
        for (url, tls, authority, loopback) in [
            ("grpc://farm:8980", false, "farm:8980", false),
            ("GRPCS://farm.example", true, "farm.example", false),
            ("grpcs://farm.example/", true, "farm.example", false),
            ("grpc://127.0.0.1:1", false, "127.0.0.1:1", true),
            ("grpc://localhost:65535", false, "localhost:65535", true),
            ("grpc://[::1]:8980", false, "[::1]:8980", true),
            ("grpc://[2001:db8::1]", false, "[2001:db8::1]", false),
            ("grpc://127.0.0.1.example:1", false, "127.0.0.1.example:1", false),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.tls, address.authority.as_str(), address.is_loopback()), (tls, authority, loopback));
        }
    }

    #[test]
    fn invalid_addresses_get_a_hint() {
        for (url, reason, hint) in [
            ("127.0.0.1:1", "it has no scheme", "write `grpc://127.0.0.1:1`, or `grpcs://127.0.0.1:1` for TLS"),
            ("ftp://farm", "`ftp://` is neither grpc:// nor grpcs://", "write `grpc://farm`"),
            ("http://h:1", "`http://` is neither grpc://", "write `grpc://h:1`, or `grpcs://h:1` for TLS"),
            ("grpc://", "it has no host", "write `grpc://HOST:PORT`"),
            ("grpc://:", "it has no host", "write `grpc://HOST:PORT`"),
            ("grpcs://:443", "it has no host", "write `grpcs://HOST:PORT`"),
            ("grpc://h:", "`` is not a valid port", "write `grpc://HOST:PORT`"),
            (
                "grpc://h:99999",
                "`99999` is not a valid port, expected a number from 1 to 65535",
                "write `grpc://HOST:PORT`",
            ),
            ("grpc://h:-1", "`-1` is not a valid port", "write `grpc://HOST:PORT`"),
            ("grpc://h:+1", "`+1` is not a valid port", "write `grpc://HOST:PORT`"),
            ("grpc://h:0", "`0` is not a valid port", "write `grpc://HOST:PORT`"),
            ("grpc://[::1]8980", "expected a port after `]`", "write `grpc://HOST:PORT`"),
            ("grpc://::1", "it has no host", "write `grpc://HOST:PORT`"),
            ("grpc://fe80::1", "more than one `:`", "write an IPv6 address in brackets: `grpc://[::1]:PORT`"),
            ("grpc://h/main", "an instance name is an option of its own", "write `grpc://HOST:PORT`"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.to_string().contains(reason), "{url}: {error}");
            assert!(error.hint().unwrap().starts_with(hint), "{url}: {:?}", error.hint());
        }
    }
}
