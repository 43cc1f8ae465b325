//! In: a registry's challenge, the user's credential. Out: what the next request shows. Never here: a password or a
//! refresh token sent without TLS, through a redirect, or to a host that is not known to belong to the registry.

use crate::Problem;
use crate::credentials::Credential;
use crate::exchange::{Exchange, authority, header, is_safe, protocol};
use http_auth::{ChallengeRef, parse_challenges};
use isomer_contract::shorten;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

/// Registries whose token service is documented to be another host, as a reference names them. Docker Hub's is the
/// example of the [specification](https://distribution.github.io/distribution/spec/auth/token/).
const DOCUMENTED: [(&str, &str); 1] = [("docker.io", "auth.docker.io")];

/// What a request shows of the user.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// The user's name and password.
    Basic,
    /// An access token.
    Bearer(String),
}

/// What a registry requires.
enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

/// The user's credential, and the token that the registry's token service gave for it.
pub(crate) struct Authorizer {
    credential: Credential,
    /// The registry's own address, host and port.
    address: String,
    /// Other hosts that the user named as this registry's token service.
    token_hosts: Vec<String>,
    current: Mutex<Option<Authorization>>,
}

impl Authorizer {
    /// For the registry at `base`.
    pub(crate) fn new(credential: Credential, base: &Url, token_hosts: &[String]) -> Authorizer {
        Authorizer {
            credential,
            address: authority(base),
            token_hosts: token_hosts.to_owned(),
            current: Mutex::new(None),
        }
    }

    /// What the registry accepted last.
    pub(crate) async fn current(&self) -> Option<Authorization> {
        self.current.lock().await.clone()
    }

    /// `request` with what it shows.
    pub(crate) fn authorize(&self, request: RequestBuilder, authorization: &Authorization) -> RequestBuilder {
        match (authorization, &self.credential) {
            (Authorization::Bearer(token), _) => request.bearer_auth(token),
            (Authorization::Basic, Credential::Password { user, password }) => request.basic_auth(user, Some(password)),
            (Authorization::Basic, _) => request,
        }
    }

    /// The registry answered 401 with `headers` to what was `shown_before`: what to show instead, or none when there
    /// is nothing else.
    pub(crate) async fn answer(
        &self,
        exchange: &Exchange,
        headers: &HeaderMap,
        shown_before: Option<Authorization>,
    ) -> Result<Option<Authorization>, Problem> {
        let mut current = self.current.lock().await;
        // Another request was faster.
        if *current != shown_before {
            return Ok(current.clone());
        }
        let next = match challenge(exchange, headers)? {
            Some(Challenge::Bearer { realm, service, scope }) => {
                Some(Authorization::Bearer(self.token(exchange, realm, service, scope).await?))
            }
            Some(Challenge::Basic) if matches!(self.credential, Credential::Password { .. }) => {
                Some(Authorization::Basic)
            }
            _ => None,
        };
        // Basic credentials that were refused are refused again.
        if next.is_none() || next == shown_before {
            return Ok(None);
        }
        current.clone_from(&next);
        Ok(next)
    }

    /// Requests an access token, as the token and OAuth2 specifications of Docker's registry define it.
    async fn token(
        &self,
        exchange: &Exchange,
        mut realm: Url,
        service: Option<String>,
        scope: Option<String>,
    ) -> Result<String, Problem> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        self.check_realm(exchange, &realm)?;
        let asked = realm.clone();
        realm.query_pairs_mut().extend_pairs(service.iter().map(|it| ("service", it)));
        realm.query_pairs_mut().extend_pairs(scope.iter().map(|it| ("scope", it)));
        let client = &exchange.token_client;
        let request = match &self.credential {
            Credential::Anonymous => client.get(realm),
            Credential::Password { user, password } => client.get(realm).basic_auth(user, Some(password)),
            Credential::Identity(token) => {
                let fields = [("grant_type", "refresh_token"), ("client_id", "isomer"), ("refresh_token", token)];
                realm.query_pairs_mut().extend_pairs(fields);
                let form = realm.query().unwrap_or_default().to_owned();
                client.post(asked.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
        };
        let response = exchange.send(request, None).await?;
        let status = response.status();
        if status.is_redirection() {
            let to = shorten(header(response.headers(), LOCATION.as_str()).unwrap_or_default());
            return Err(Problem::TokenRedirect { realm: shorten(asked.as_str()), to });
        }
        let (text, refusal) = exchange.message(response).await?;
        if !status.is_success() {
            let (host, realm) = (exchange.host.clone(), asked.to_string());
            return Err(Problem::Login { host, realm: shorten(&realm), status, refusal });
        }
        let answer: Option<Answer> = serde_json::from_slice(&text).ok();
        let token = answer.and_then(|it| it.token.or(it.access_token));
        let token = token.filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_graphic()));
        token.ok_or_else(|| protocol(&asked, "its answer to the request for a token has no token"))
    }

    /// That the credential may be sent to `realm`: the registry itself, the host that its documentation names, or one
    /// that the user named. Without a credential there is nothing to keep.
    fn check_realm(&self, exchange: &Exchange, realm: &Url) -> Result<(), Problem> {
        let host = authority(realm);
        let known = host == self.address
            || DOCUMENTED.contains(&(exchange.host.as_str(), host.as_str()))
            || self.token_hosts.contains(&host);
        if known || matches!(self.credential, Credential::Anonymous) {
            return Ok(());
        }
        Err(Problem::TokenHost { host: exchange.host.clone(), token_host: shorten(&host) })
    }
}

/// The first challenge that can be met: tokens before passwords.
fn challenge(exchange: &Exchange, headers: &HeaderMap) -> Result<Option<Challenge>, Problem> {
    let texts: Vec<&str> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok()).collect();
    let challenges: Vec<ChallengeRef<'_>> = texts.iter().filter_map(|it| parse_challenges(it).ok()).flatten().collect();
    let named = |scheme: &str| challenges.iter().find(|it| it.scheme.eq_ignore_ascii_case(scheme));
    if let Some(bearer) = named("Bearer") {
        let parameter = |name: &str| {
            let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").unwrap_or_default();
        let url = Url::parse(&realm).ok().filter(|url| is_safe(url, exchange.plain_http));
        let Some(realm) = url else {
            let reason = format!("it names `{}` as its token service, expected an https:// URL", shorten(&realm));
            return Err(Problem::Protocol { host: exchange.host.clone(), reason });
        };
        return Ok(Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") }));
    }
    Ok(named("Basic").map(|_| Challenge::Basic))
}
