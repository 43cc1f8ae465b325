//! Which route answers a request. In: a request's host and path. Out: the route's index. Never here: what it serves.

use std::fmt;

/// Which requests a route answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The host, in lower case and without a port; of any host where it is none.
    host: Option<String>,
    /// The beginning of the path, whole segments of it, without a `/` at its end; any path where it is empty.
    path: String,
}

/// Why a pattern is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Its path does not begin with `/`.
    #[error("the path `{0}` does not begin with `/`")]
    Relative(String),
    /// Its path has a query, a fragment or a character that no request's path has.
    #[error("`{0}` is not the path of a request")]
    Path(String),
    /// Its host is not a host's name or address.
    #[error("`{0}` is not a host's name: expected one such as `api.example`, without a port")]
    Host(String),
}

impl Pattern {
    /// Requests to `host`, or to any, whose path is `path` or lies below it.
    ///
    /// # Errors
    /// When a request cannot have such a host or path.
    pub fn new(host: Option<&str>, path: &str) -> Result<Pattern, PatternError> {
        if !path.starts_with('/') {
            return Err(PatternError::Relative(path.to_owned()));
        }
        let parsed = path.parse::<http::uri::PathAndQuery>();
        if parsed.is_err() || path.contains(['?', '#']) {
            return Err(PatternError::Path(path.to_owned()));
        }
        let host = host.map(|host| {
            let parsed = host.parse::<http::uri::Authority>().ok();
            let is_host = parsed.is_some_and(|it| it.host() == host);
            is_host.then(|| host.to_ascii_lowercase()).ok_or_else(|| PatternError::Host(host.to_owned()))
        });
        Ok(Pattern { host: host.transpose()?, path: path.trim_end_matches('/').to_owned() })
    }

    fn matches(&self, host: &str, path: &str) -> bool {
        let rest = path.strip_prefix(self.path.as_str());
        let below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        below && self.host.as_ref().is_none_or(|own| host.eq_ignore_ascii_case(own))
    }

    /// A route for one host comes before one for all, and a longer path before a shorter one.
    fn precedence(&self) -> (bool, usize) {
        (self.host.is_some(), self.path.len())
    }
}

/// `api.example/v1`, `/`
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "{}{path}", self.host.as_deref().unwrap_or(""))
    }
}

/// All routes of a server.
#[derive(Debug)]
pub(super) struct Routes {
    /// With the index of each, in the order in which they are tried.
    patterns: Vec<(Pattern, usize)>,
}

impl Routes {
    pub(super) fn new(patterns: impl IntoIterator<Item = Pattern>) -> Routes {
        let mut patterns: Vec<_> = patterns.into_iter().enumerate().map(|(index, pattern)| (pattern, index)).collect();
        patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.precedence()));
        Routes { patterns }
    }

    /// The index of the route that answers requests to `host`, without a port, for `path`.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<usize> {
        self.patterns.iter().find(|(pattern, _)| pattern.matches(host, path)).map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(host: Option<&str>, path: &str) -> Pattern {
        Pattern::new(host, path).expect("it is valid")
    }

    #[test]
    fn the_most_specific_route_answers() {
        let routes = Routes::new([
            pattern(None, "/"),
            pattern(None, "/api"),
            pattern(Some("API.example"), "/"),
            pattern(Some("api.example"), "/api/v1/"),
        ]);
        for (host, path, expected) in [
            ("other", "/", 0),
            ("other", "/apix", 0),
            ("other", "/api", 1),
            ("other", "/api/v1", 1),
            ("api.example", "/", 2),
            ("Api.Example", "/api", 2),
            ("api.example", "/api/v1", 3),
            ("api.example", "/api/v1/x", 3),
            ("api.example", "/api/v10", 2),
        ] {
            assert_eq!(routes.find(host, path), Some(expected), "{host}{path}");
        }
        assert_eq!(Routes::new([pattern(None, "/api")]).find("other", "/"), None);
    }

    #[test]
    fn a_pattern_is_what_a_request_can_have() {
        for (host, path) in
            [(None, "api"), (None, "/a?b"), (None, "/a b"), (Some("a:80"), "/"), (Some("http://a"), "/")]
        {
            assert!(Pattern::new(host, path).is_err(), "{host:?} {path}");
        }
        assert_eq!(pattern(Some("[::1]"), "/a/").to_string(), "[::1]/a");
    }
}
