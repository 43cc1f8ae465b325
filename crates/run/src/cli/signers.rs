//! `--key` and `--trust`: whose signatures are believed, and how a person is told that they do not suffice.

use isomer_contract::{Digest, Hinted};
use isomer_run::{Signers, Trust, TrustError};
use isomer_terminal::Failure;
use isomer_trust::{Policy, TrustedKey, read_policy, read_public};
use std::path::{Path, PathBuf};

/// Whose signatures are believed.
#[derive(clap::Args)]
pub(crate) struct Believed {
    /// Trust what this public key has signed; each time it is given, one more key
    #[arg(long = "key", value_name = "PUB", conflicts_with = "trust")]
    keys: Vec<PathBuf>,
    /// Trust what this policy says, a TOML file
    #[arg(long, value_name = "POLICY")]
    trust: Option<PathBuf>,
}

impl Believed {
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

/// Why the module is not trusted, every reason with its own hint.
pub(crate) fn failure(release: &Path, error: TrustError) -> Failure {
    let release = release.display();
    match error {
        TrustError::OtherDigest { .. } => {
            Failure::because(format!("`{release}` does not hold the module that `--digest` names"), &error)
                .hint(error.hint())
        }
        TrustError::Layout(error) => Failure::from(error),
        TrustError::Untrusted { module, untrusted } => {
            Failure::new(format!("`{module}` of `{release}` is not trusted"))
                .reasons(&untrusted.refusals)
                .reasons(&untrusted.rejected)
        }
    }
}

/// That nothing was said to be trusted.
pub(crate) fn untrusted(what: &str, options: &str, whose: &str, digest: Digest) -> Failure {
    Failure::new(format!("nothing says that {what} may be trusted"))
        .caused_by(format!("expected {options} or `--allow-unsigned`; {whose} has the digest {digest}"))
        .hint(format!("if that is the digest you were told, pass `--digest {digest}`"))
}
