//! `isomer keygen [--algorithm A] [-o NAME]`.

use super::sign::Passphrase;
use isomer_terminal::{Failures, print};
use isomer_trust::{Algorithm, KeyError, SigningKey, write_pair};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer keygen -o farm-2026                                  farm-2026.key, farm-2026.pub
  isomer keygen -o farm-2026 --passphrase-file passphrase     the private key encrypted
  isomer keygen --algorithm ecdsa-p256                        where Ed25519 is not approved

The private key (PKCS#8) is readable only by its owner and never overwrites a file. Give the public key to servers: \
`isomer-run run --key`, or a policy's [[key]].")]
pub(super) struct Args {
    /// ed25519 or ecdsa-p256
    #[arg(long, value_name = "ALGORITHM", default_value = "ed25519")]
    algorithm: Algorithm,
    /// The files to write: NAME.key and NAME.pub
    #[arg(long, short, value_name = "NAME", default_value = "isomer")]
    output: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let passphrase = args.passphrase.read()?;
    // An empty file or variable must not mean an unencrypted key.
    if passphrase.as_ref().is_some_and(|passphrase| passphrase.is_empty()) {
        return Err(KeyError::EmptyPassphrase.into());
    }
    let (private, public) = (with_extension(&args.output, ".key"), with_extension(&args.output, ".pub"));
    let key = SigningKey::generate(args.algorithm)?;
    write_pair(&private, &public, &key, passphrase.as_deref().map(String::as_str))?;
    let access = match passphrase {
        Some(_) => "encrypted: signing needs the file and its passphrase",
        None => "not encrypted: signing needs only the file",
    };
    let text = format!(
        "{}  the private key, {access}\n{}  the public key, for servers\nkey id: {}\n",
        private.display(),
        public.display(),
        key.public_key().id(),
    );
    Ok(print(&text)?)
}

/// Appends, so that a name such as `farm.2026` is kept whole.
fn with_extension(name: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(name);
    name.push(extension);
    PathBuf::from(name)
}
