//! `--dir`, `--env`, `--allow-net` and the other options that grant a guest something of this machine. In: what was typed.
//! Out: [`Grants`], and the guest's environment. Never here: what a text means, which `isomer-guest` reads.

use super::input;
use isomer_contract::Hinted;
use isomer_guest::{
    Directory, EnvironmentError, FrozenClock, GrantError, Grants, HttpRule, KeyValuePairs, NetworkRule, Pattern,
    Variable,
};
use isomer_terminal::Failure;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What the guest is granted. Nothing is, but what an option names.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Grants (nothing by default)")]
pub(crate) struct GrantOptions {
    /// A directory, to read and write, or with `:ro` only to read
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro|:rw]", value_parser = read::<Directory>)]
    directories: Vec<Directory>,
    /// An environment variable; without a value, this process's own
    #[arg(long = "env", value_name = "NAME[=VALUE]", value_parser = read::<Variable>)]
    environment: Vec<Variable>,
    /// The environment variables in a file, one NAME=VALUE a line
    #[arg(long = "env-file", value_name = "FILE")]
    environment_files: Vec<PathBuf>,
    /// This process's environment variables whose names match, `*` for any characters; without a pattern, all
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, require_equals = true, default_missing_value = "*",
        value_parser = read::<Pattern>)]
    inherit_env: Vec<Pattern>,
    /// An address, CIDR or name to connect to; after `tcp-listen:`, one to listen on; `dns:NAME` only to resolve
    #[arg(long, value_name = "[tcp:|udp:]HOST[:PORTS]", value_parser = read::<NetworkRule>)]
    allow_net: Vec<NetworkRule>,
    /// A server to send HTTP requests to, through wasi:http
    #[arg(long, value_name = "[SCHEME://]HOST[:PORT]", value_parser = read::<HttpRule>)]
    allow_http: Vec<HttpRule>,
    /// TLS, through wasi:tls, over connections that --allow-net allows
    #[arg(long)]
    allow_tls: bool,
    /// CA certificates to trust in addition, for the servers that the guest reaches by HTTPS or TLS; may be repeated
    #[arg(long = "ca-cert", value_name = "FILE")]
    ca_certificates: Vec<PathBuf>,
    /// A value of wasi:config
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    config_var: Vec<String>,
    /// A key-value store in memory, through wasi:keyvalue; NAME=VALUE is an initial entry
    #[arg(long, value_name = "NAME=VALUE", num_args = 0..=1, require_equals = true, default_missing_value = "",
        value_parser = pair_or_nothing)]
    keyvalue: Vec<String>,
    /// The seed of the guest's random numbers, which are then the same in each run
    #[arg(long, value_name = "NUMBER")]
    random_seed: Option<u64>,
    /// A wall clock that always shows this time, and a monotonic clock that counts how often it is read
    #[arg(long, value_name = "TIME", value_parser = read::<FrozenClock>)]
    frozen_clock: Option<FrozenClock>,
}

/// A text as `isomer-guest` reads it, with its hint.
pub(crate) fn read<T: FromStr<Err = GrantError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| with_hint(&error))
}

/// clap shows one text.
pub(crate) fn with_hint(error: &GrantError) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}\n  hint: {hint}"))
}

fn pair(text: &str) -> Result<String, String> {
    KeyValuePairs::default().insert(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn pair_or_nothing(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { pair(text) }
}

impl GrantOptions {
    /// What these options grant.
    pub(crate) fn grants(&self) -> Grants {
        let mut grants = Grants::default();
        grants.directories.clone_from(&self.directories);
        grants.environment.clone_from(&self.environment);
        grants.environment_files.clone_from(&self.environment_files);
        grants.inherit_env.clone_from(&self.inherit_env);
        grants.allow_net.clone_from(&self.allow_net);
        grants.allow_http.clone_from(&self.allow_http);
        grants.allow_tls = self.allow_tls;
        grants.ca_certificates.clone_from(&self.ca_certificates);
        for text in &self.config_var {
            // It was read when the command line was.
            let _ = grants.config.insert(text);
        }
        for text in &self.keyvalue {
            let _ = grants.keyvalue.get_or_insert_default().insert(text);
        }
        grants.random_seed = self.random_seed;
        grants.frozen_clock = self.frozen_clock;
        grants
    }
}

/// The environment that `grants` give a guest of this process.
pub(crate) fn environment(grants: &Grants) -> Result<BTreeMap<String, String>, Failure> {
    let inherits = !grants.inherit_env.is_empty() || grants.environment.iter().any(|it| it.value.is_none());
    let process = if inherits { std::env::vars_os().collect() } else { BTreeMap::new() };
    let read = |path: &Path| input::read_text(path).map_err(|failure| failure.one_line().into());
    grants.environment(read, &process).map_err(|error| {
        let hint = match &error {
            EnvironmentError::NotUtf8 { name, .. } => {
                Some(format!("give the guest another value: `--env {name}=VALUE`"))
            }
            _ => None,
        };
        Failure::of(&error).hint(hint)
    })
}
