//! In: a registry's challenge, our credential. Out: what the next request shows. Never here: a password to a host that
//! is reached without TLS, unless both are this machine.

use crate::Problem;
use crate::credentials::Credential;
use crate::transport::{Exchange, is_safe, protocol};
use http_auth::{ChallengeRef, parse_challenges};
use isomer_contract::shorten;
use reqwest::header::{CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

/// What a request shows of us.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// The user's name and password.
    Basic,
    /// An access token.
    Bearer(String),
}

/// What a registry wants to see.
enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

/// Knows who we are, and what the registry gave us for that.
pub(crate) struct Authorizer {
    credential: Credential,
    current: Mutex<Option<Authorization>>,
}

impl Authorizer {
    pub(crate) fn new(credential: Credential) -> Authorizer {
        Authorizer { credential, current: Mutex::new(None) }
    }

    /// What the registry was last content with.
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

    /// Asks for an access token, as the Docker token and OAuth2 specifications of registries say.
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
        let asked = realm.clone();
        realm.query_pairs_mut().extend_pairs(service.iter().map(|it| ("service", it)));
        realm.query_pairs_mut().extend_pairs(scope.iter().map(|it| ("scope", it)));
        let request = match &self.credential {
            Credential::Anonymous => exchange.client.get(realm),
            Credential::Password { user, password } => exchange.client.get(realm).basic_auth(user, Some(password)),
            Credential::Identity(token) => {
                let fields = [("grant_type", "refresh_token"), ("client_id", "isomer"), ("refresh_token", token)];
                realm.query_pairs_mut().extend_pairs(fields);
                let form = realm.query().unwrap_or_default().to_owned();
                exchange.client.post(asked.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
        };
        let response = exchange.send(request, None).await?;
        let (status, message) = (response.status(), exchange.message(response).await);
        let (text, message) = message?;
        if !status.is_success() {
            let (host, realm) = (exchange.host.clone(), asked.to_string());
            return Err(Problem::Login { host, realm: shorten(&realm), status, message });
        }
        let answer: Option<Answer> = serde_json::from_slice(&text).ok();
        let token = answer.and_then(|it| it.token.or(it.access_token));
        let token = token.filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_graphic()));
        token.ok_or_else(|| protocol(&asked, "its answer to the request for a token holds none"))
    }
}

/// The first challenge that isomer can meet: tokens before passwords.
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
            let reason = format!("it sends us for a token to `{}`, expected an https:// URL", shorten(&realm));
            return Err(Problem::Protocol { host: exchange.host.clone(), reason });
        };
        return Ok(Some(Challenge::Bearer { realm, service: parameter("service"), scope: parameter("scope") }));
    }
    Ok(named("Basic").map(|_| Challenge::Basic))
}
