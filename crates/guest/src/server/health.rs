//! Whether a version works. In: a version that was instantiated once, and its route's health request. Out: that it is answered
//! with success, or how else. Never here: a request of a client.

use super::clock::Clock;
use super::error::ServeError;
use super::exchange::Exchange;
use super::settings::RouteSettings;
use super::version::Version;
use isomer_contract::one_line;
use std::sync::Arc;

/// Sends the version its route's health request, where there is one, within the limits of any other request.
pub(super) async fn check(version: &Version, route: &RouteSettings, clock: &Arc<Clock>) -> Result<(), ServeError> {
    let Some(path) = &route.health else { return Ok(()) };
    let exchange = Arc::new(Exchange::new(route.pattern.to_string().into(), Arc::new(route.limits.clone())));
    let watched = clock.watch(Arc::clone(&exchange));
    let status = version.ask(Arc::clone(&exchange), path).await;
    drop(watched);
    exchange.complete();
    let found = match status {
        Ok(status) if status.is_success() || status.is_redirection() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => one_line(&*error),
    };
    Err(ServeError::Unhealthy { path: path.clone(), found })
}
