//! `--key`, `--trust`, `--digest`, `--allow-unsigned`: what is trusted.

use isomer_contract::Digest;
use isomer_runtime::{Signers, Trust};
use isomer_terminal::Failure;
use isomer_trust::{Policy, TrustedKey, read_policy, read_public};
use std::path::PathBuf;

/// What is trusted.
#[derive(clap::Args)]
pub(crate) struct TrustOptions {
    /// Trust what has this digest: a module's index, or FILE
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
    /// Trust what this public key has signed; each time it is given, one more key
    #[arg(long = "key", value_name = "PUB", conflicts_with = "trust")]
    keys: Vec<PathBuf>,
    /// Trust what this policy, a TOML file, trusts
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
