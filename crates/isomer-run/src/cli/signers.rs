//! `--key`, `--trust`, `--digest`, `--allow-unsigned`: on whose word something is taken, and how a person is told that it
//! does not suffice.

use isomer_contract::{Digest, Hinted};
use isomer_runtime::{Signers, Trust, TrustError};
use isomer_terminal::Failure;
use isomer_trust::{Policy, TrustedKey, read_policy, read_public};
use std::path::PathBuf;

/// On whose word something is taken.
#[derive(clap::Args)]
pub(crate) struct Word {
    /// Trust what has this digest: a module's index, or FILE
    #[arg(long, value_name = "DIGEST", conflicts_with_all = ["allow_unsigned", "keys", "trust"])]
    digest: Option<Digest>,
    /// Trust whatever is there: you vouch for the place it is stored in
    #[arg(long, conflicts_with_all = ["keys", "trust"])]
    allow_unsigned: bool,
    #[command(flatten)]
    pub(crate) signers: Believed,
}

impl Word {
    /// What the options say is trusted, where one is given.
    pub(crate) fn read(&self) -> Result<Option<Trust>, Failure> {
        match self.digest {
            Some(digest) => Ok(Some(Trust::Digest(digest))),
            None if self.allow_unsigned => Ok(Some(Trust::Unsigned)),
            None => self.signers.read(),
        }
    }
}

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

/// Why a module is not trusted, every reason with its own hint. `release` is where it is from; none is the store.
pub(crate) fn failure(release: Option<&str>, error: TrustError) -> Failure {
    let module = |name: &str| match release {
        Some(release) => format!("`{name}` of `{release}`"),
        None => format!("the installed `{name}`"),
    };
    match error {
        TrustError::OtherDigest { module: ref name, .. } => {
            Failure::because(format!("{} is not the module that `--digest` names", module(name)), &error)
                .hint(error.hint())
        }
        TrustError::Layout(error) => Failure::from(error),
        TrustError::Untrusted { module: name, untrusted } => Failure::new(format!("{} is not trusted", module(&name)))
            .reasons(&untrusted.refusals)
            .reasons(&untrusted.rejected),
    }
}

/// That nothing was said to be trusted.
pub(crate) fn untrusted(what: &str, options: &str, whose: &str, digest: Digest) -> Failure {
    Failure::new(format!("nothing says that {what} may be trusted"))
        .caused_by(format!("expected {options} or `--allow-unsigned`; {whose} has the digest {digest}"))
        .hint(format!("if that is the digest you were told, pass `--digest {digest}`"))
}
