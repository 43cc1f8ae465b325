//! What a request is for, and where its body ends. In: a request's head. Out: its host and path, as a guest is told of them; or why
//! it is refused: another server on the way may have read it in another way. Never here: which route answers it.

use super::respond::Reason;
use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

/// A request's target, as a guest is told of it.
pub(super) struct Target {
    pub(super) authority: Authority,
    pub(super) path: PathAndQuery,
}

impl Target {
    /// The target of a request, if a guest can be given it.
    pub(super) fn of<B>(request: &Request<B>) -> Result<Target, Reason> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Reason::Host);
        }
        let parse = |host: &http::HeaderValue| host.to_str().ok()?.parse::<Authority>().ok();
        let authority = match (request.uri().authority(), host) {
            // The target's own counts, and HTTP/1.1 has a `Host` beside it.
            (Some(_), None) if request.version() < Version::HTTP_2 => return Err(Reason::Host),
            // Another server on the way may have gone by the other one.
            (Some(authority), Some(host))
                if request.version() >= Version::HTTP_2
                    && !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
            {
                return Err(Reason::Host);
            }
            (Some(authority), _) => authority.clone(),
            (None, Some(host)) => parse(host).ok_or(Reason::Host)?,
            (None, None) => return Err(Reason::Host),
        };
        if authority.as_str().contains('@') || request.method() == Method::CONNECT {
            return Err(Reason::Target);
        }
        if !has_valid_port(&authority) {
            return Err(Reason::Host);
        }
        let path = match request.uri().path_and_query() {
            // `http://host?query` has an empty path, which is written as `/`.
            Some(path) if path.as_str().starts_with('?') => path.to_string().parse().ok(),
            path => path.filter(|path| path.as_str().starts_with('/')).cloned(),
        };
        Ok(Target { authority, path: path.ok_or(Reason::Target)? })
    }

    /// With the scheme by which the request arrived.
    pub(super) fn uri(self, scheme: Scheme) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority);
        parts.path_and_query = Some(self.path);
        // All three are there.
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// Whether nothing but a port's number follows the host, if anything does: the parser takes any text for one.
fn has_valid_port(authority: &Authority) -> bool {
    let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    // `port_u16` accepts a leading `+`, which the grammar of URIs does not.
    matches!(rest, "" | ":") || !rest.contains('+') && authority.port_u16().is_some()
}

/// Whether a body's end is told in a way that every server on the way understands: by its length, or by `chunked` alone. The
/// guest is not told of other codings, of which hyper removes the last.
pub(super) fn has_plain_framing<B>(request: &Request<B>) -> bool {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_is_a_slash_and_a_port_is_a_number() {
        let target =
            |uri: &str, host: &str| Target::of(&Request::get(uri).header(HOST, host).body(()).expect("it is valid"));
        for (uri, path) in [("http://any?query", "/?query"), ("http://any", "/"), ("/a?b", "/a?b")] {
            assert_eq!(target(uri, "any").expect(uri).path.as_str(), path, "{uri}");
        }
        for (host, is_valid) in [("any", true), ("any:", true), ("any:80", true), ("any:+80", false), ("any:x", false)]
        {
            assert_eq!(target("/", host).is_ok(), is_valid, "{host}");
        }
    }
}
