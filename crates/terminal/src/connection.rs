//! The options with which both programs reach a registry. In: a command line, and the variable ISOMER_TOKEN_HOSTS. Out: their
//! values. Never here: a connection.

use std::path::PathBuf;

/// How a registry is reached.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// Connect without TLS: only to a registry on this machine
    #[arg(long)]
    pub plain_http: bool,
    /// A PEM file with CA certificates to trust in addition to the system's; may be repeated
    #[arg(long = "ca-cert", value_name = "FILE")]
    pub ca_certificates: Vec<PathBuf>,
    /// A host that gives out the registry's access tokens and may see its credentials [default: the variable
    /// ISOMER_TOKEN_HOSTS, with commas between them]; may be repeated
    #[arg(long = "token-host", value_name = "HOST[:PORT]")]
    token_hosts: Vec<String>,
}

impl Connection {
    /// The hosts beside the registry's own that may see its credentials: those of the command line, then those of the
    /// variable.
    pub fn token_hosts(&self) -> Vec<String> {
        let variable = std::env::var("ISOMER_TOKEN_HOSTS").unwrap_or_default();
        let from_variable = variable.split(',').map(str::trim).filter(|host| !host.is_empty());
        self.token_hosts.iter().map(String::as_str).chain(from_variable).map(str::to_owned).collect()
    }
}
