//! In: a registry's host, docker's `config.json` and the credential helpers that it names. Out: the user's credential for it.
//! Never here: the network.

use crate::exchange::reason_of;
use crate::{Options, RegistryError};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The largest `config.json` that is read.
const CONFIG_SIZE_BYTES_MAX: u64 = 4 << 20;

/// The user's credential for a registry.
pub(crate) enum Credential {
    Anonymous,
    Password {
        user: String,
        password: String,
    },
    /// To be exchanged for access tokens.
    Identity(String),
}

/// The credential for `host` in docker's configuration; anonymous when it has none.
#[allow(
    clippy::disallowed_methods,
    reason = "docker's clients read its configuration's directory from the environment"
)]
pub(crate) fn credential(host: &str, options: &Options) -> Result<Credential, RegistryError> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
    let set = |value: &OsString| !value.is_empty();
    let configured = || std::env::var_os("DOCKER_CONFIG").filter(set).map(PathBuf::from);
    let Some(directory) = options.docker_config.clone().or_else(configured).or_else(home) else {
        return Ok(Credential::Anonymous);
    };
    let file = directory.join("config.json");
    let error = |reason: String| RegistryError::Credentials { host: host.to_owned(), file: file.clone(), reason };
    let config = match isomer_file::read_or_pipe(&file, CONFIG_SIZE_BYTES_MAX) {
        Ok(config) => config,
        Err(source) if source.is_missing() => return Ok(Credential::Anonymous),
        Err(source) => return Err(error(reason_of(&source))),
    };
    match get_credential_from_reader(&config[..], key(host)) {
        Ok(DockerCredential::UsernamePassword(user, password)) => Ok(Credential::Password { user, password }),
        Ok(DockerCredential::IdentityToken(token)) => Ok(Credential::Identity(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(Credential::Anonymous),
        // Docker's helpers print this, on either stream, when they have no credential for the host.
        Err(CredentialRetrievalError::HelperFailure { stdout, stderr, .. })
            if [&stdout, &stderr].iter().any(|it| it.contains("credentials not found")) =>
        {
            Ok(Credential::Anonymous)
        }
        // What a helper printed may be a secret.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(error(format!("`{helper}` failed"))),
        Err(CredentialRetrievalError::HelperCommunicationError) => {
            Err(error("the credential helper that it names cannot be run".to_owned()))
        }
        Err(CredentialRetrievalError::ConfigReadError) => {
            Err(error("it is not a valid configuration of docker's".to_owned()))
        }
        Err(other) => Err(error(other.to_string())),
    }
}

/// Docker keeps its own registry under an older name.
fn key(host: &str) -> &str {
    if host == "docker.io" { "https://index.docker.io/v1/" } else { host }
}
