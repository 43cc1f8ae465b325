//! What a guest may use of this machine. In: texts of options, or keys of a TOML file, which are the options' names. Out:
//! [`Grants`], in which nothing is granted that was not named. Never here: a file that is opened, a name that is resolved.
//!
//! ```
//! use isomer_guest::Grants;
//!
//! let grants: Grants = toml::from_str(
//!     r#"
//!     dir = ["photos::/in:ro", { host = "/var/cache/resize", guest = "/cache", access = "read-write" }]
//!     env = ["LANG=C", "TZ"]
//!     allow-net = ["tcp:10.0.0.0/8:5432", "db.example.com:5432"]
//!     allow-http = ["https://api.example.com"]
//!     config-var = { region = "eu" }
//!     "#,
//! )?;
//! assert!(grants.allow_http[0].allows("https", "api.example.com", 443));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod clock;
mod directory;
mod environment;
mod http;
mod network;
mod pairs;

pub use address::{HostPattern, Ports, is_public};
pub use clock::FrozenClock;
pub use directory::{Access, Directory};
pub use environment::{EnvironmentError, Pattern, Variable};
pub use http::{HttpRule, HttpScheme};
pub use network::{NetworkRule, NetworkUse, Protocol};
pub use pairs::KeyValuePairs;

use isomer_contract::Hinted;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What a guest is granted. The default grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Grants {
    /// Directories of this machine.
    #[serde(rename = "dir")]
    pub directories: Vec<Directory>,
    /// Environment variables; they come before those of files, and these before inherited ones.
    #[serde(rename = "env", deserialize_with = "environment::variables")]
    pub environment: Vec<Variable>,
    /// Files of environment variables, each line `NAME=VALUE`.
    #[serde(rename = "env-file", deserialize_with = "pairs::one_or_many")]
    pub environment_files: Vec<PathBuf>,
    /// Which of this process's environment variables the guest has too.
    #[serde(deserialize_with = "environment::patterns")]
    pub inherit_env: Vec<Pattern>,
    /// Addresses and names that it may connect to or listen on.
    #[serde(deserialize_with = "pairs::one_or_many")]
    pub allow_net: Vec<NetworkRule>,
    /// Servers that it may send HTTP requests to, by `wasi:http`.
    #[serde(deserialize_with = "pairs::one_or_many")]
    pub allow_http: Vec<HttpRule>,
    /// Whether it may encrypt connections by `wasi:tls`, with the CAs that this machine trusts. Which ones it may make is
    /// for `allow_net` to say.
    pub allow_tls: bool,
    /// Files of CA certificates, in PEM: servers that it reaches by HTTPS or `wasi:tls` may have theirs from these CAs, beside
    /// the system's.
    #[serde(rename = "ca-cert", deserialize_with = "pairs::one_or_many")]
    pub ca_certificates: Vec<PathBuf>,
    /// What `wasi:config` gives.
    #[serde(rename = "config-var")]
    pub config: KeyValuePairs,
    /// A store of `wasi:keyvalue` in memory, with what it holds at first; none is a guest's that was not granted one.
    #[serde(deserialize_with = "pairs::optional")]
    pub keyvalue: Option<KeyValuePairs>,
    /// All random numbers follow from this one.
    pub random_seed: Option<u64>,
    /// The wall clock's only time; the monotonic clock counts how often it is read.
    pub frozen_clock: Option<FrozenClock>,
}

impl Grants {
    /// The keys in a file, which are the names of options.
    pub const KEYS: [&'static str; 12] = [
        "dir",
        "env",
        "env-file",
        "inherit-env",
        "allow-net",
        "allow-http",
        "allow-tls",
        "ca-cert",
        "config-var",
        "keyvalue",
        "random-seed",
        "frozen-clock",
    ];

    /// Makes paths of a file that lies in `directory` relative to that.
    pub fn resolve_paths(&mut self, directory: &Path) {
        for it in &mut self.directories {
            it.host = directory.join(&it.host);
        }
        for it in self.environment_files.iter_mut().chain(&mut self.ca_certificates) {
            *it = directory.join(&it);
        }
    }

    /// Adds what `more` grants; single values of `more` replace those here.
    pub fn extend(&mut self, more: Grants) {
        let Grants {
            directories,
            environment,
            environment_files,
            inherit_env,
            allow_net,
            allow_http,
            allow_tls,
            ca_certificates,
            config,
            keyvalue,
            random_seed,
            frozen_clock,
        } = more;
        self.directories.extend(directories);
        self.environment.extend(environment);
        self.environment_files.extend(environment_files);
        self.inherit_env.extend(inherit_env);
        self.allow_net.extend(allow_net);
        self.allow_http.extend(allow_http);
        self.allow_tls |= allow_tls;
        self.ca_certificates.extend(ca_certificates);
        self.config.extend(config);
        if let Some(keyvalue) = keyvalue {
            self.keyvalue.get_or_insert_default().extend(keyvalue);
        }
        self.random_seed = random_seed.or(self.random_seed);
        self.frozen_clock = frozen_clock.or(self.frozen_clock);
    }

    /// Grants that contradict each other.
    ///
    /// # Errors
    /// When two directories have one name in the guest.
    pub fn check(&self) -> Result<(), GrantError> {
        for (index, directory) in self.directories.iter().enumerate() {
            let earlier = self.directories.iter().take(index).find(|it| it.guest == directory.guest);
            if let Some(earlier) = earlier {
                return Err(GrantError::new(format!(
                    "`{}` and `{}` are both granted as `{}`",
                    earlier.host.display(),
                    directory.host.display(),
                    directory.guest
                ))
                .with_hint("give each directory a path of its own in the guest: HOST::GUEST"));
            }
        }
        Ok(())
    }
}

/// What is wrong with the text of a grant or limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GrantError {
    message: String,
    hint: Option<String>,
}

impl GrantError {
    pub(crate) fn new(message: impl Into<String>) -> GrantError {
        GrantError { message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> GrantError {
        GrantError { hint: Some(hint.into()), ..self }
    }
}

impl Hinted for GrantError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

#[cfg(test)]
mod tests;
