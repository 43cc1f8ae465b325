//! `--key`, `--trust`, `--digest`, `--allow-unsigned`: what is trusted.

use isomer_contract::Digest;
use isomer_runtime::{Signers, Trust};
use isomer_terminal::Failure;
use isomer_trust::{Policy, TrustedKey, read_policy, read_public};
use std::path::PathBuf;

/// What is trusted.
#[derive(clap::Args)]
#[command(next_help_heading = "Trust")]
pub(crate) struct TrustOptions {
    /// Trust what has this digest: the module's index, or FILE
    #[arg(long, value_name = "DIGEST", conflicts_with_all = ["allow_unsigned", "keys", "trust"])]
    digest: Option<Digest>,
    /// Trust it without a key or digest: any user who can write it decides what runs
    #[arg(long, conflicts_with_all = ["keys", "trust"])]
    allow_unsigned: bool,
    #[command(flatten)]
    pub(crate) signers: SignerOptions,
}

impl TrustOptions {
    /// What the options state, where one is given.
    pub(crate) fn read(&self) -> Result<Option<Trust>, Failure> {
        match self.digest {
            Some(digest) => Ok(Some(Trust::Digest(digest))),
            None if self.allow_unsigned => Ok(Some(Trust::Unsigned)),
            None => self.signers.read(),
        }
    }
}

/// Whose signatures are trusted.
#[derive(clap::Args)]
pub(crate) struct SignerOptions {
    /// Trust what this public key signed; may be repeated
    #[arg(long = "key", value_name = "PUB", conflicts_with = "trust")]
    keys: Vec<PathBuf>,
    /// Trust what this policy allows: a TOML file with keys, their dates and modules
    #[arg(long, value_name = "POLICY")]
    trust: Option<PathBuf>,
}

impl SignerOptions {
    /// The option that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        if self.trust.is_some() { Some("--trust") } else { (!self.keys.is_empty()).then_some("--key") }
    }

    /// Reads the keys or the policy, where one is named.
    pub(crate) fn read(&self) -> Result<Option<Trust>, Failure> {
        let policy = match &self.trust {
            Some(path) => read_policy(path)?,
            None if self.keys.is_empty() => return Ok(None),
            None => {
                let key = |path: &PathBuf| Ok(TrustedKey::new(path.display().to_string(), read_public(path)?));
                Policy::of_keys(self.keys.iter().map(key).collect::<Result<Vec<_>, Failure>>()?)
            }
        };
        Ok(Some(Trust::Signed(Box::new(Signers::of(policy)))))
    }
}
