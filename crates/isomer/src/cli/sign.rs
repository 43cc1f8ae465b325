//! `isomer sign DIR --key FILE`, and what `isomer release --sign` and `isomer keygen` share with it.

use super::state;
use crate::warning::warn;
use crate::wording;
use isomer_compile::records::Record;
use isomer_compile::signing::{self, Approval, DEFAULT_BUILDER, Options, Signed};
use isomer_contract::Digest;
use isomer_terminal::{Failure, Failures, print};
use isomer_trust::{Release, SigningKey, read_private};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The variable with the passphrase when no file is named.
const PASSPHRASE: &str = "ISOMER_PASSPHRASE";
/// The longest passphrase that is read from a file.
const PASSPHRASE_SIZE_BYTES_MAX: u64 = 4096;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer keygen -o farm-2026
  isomer sign dist/ --key farm-2026.key --counter 7
  isomer-run verify dist/ --key farm-2026.pub

A signature covers all modules of the release. Several keys may sign a release, one after the other; signing it again with the \
same key gives the same bytes.")]
pub(super) struct Args {
    /// The release: a directory that `isomer release` wrote
    #[arg(value_name = "DIR")]
    release: PathBuf,
    /// The private key, as `isomer keygen` writes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The release's counter, larger in each release [default: the manifest's `counter`]
    #[arg(long, value_name = "N")]
    counter: Option<u64>,
    /// Sign also modules that this user did not release on this machine: parts from other machines, copies
    #[arg(long)]
    trust_contents: bool,
    #[command(flatten)]
    signer: Signer,
}

/// What a signer declares, and how the key is decrypted.
#[derive(clap::Args)]
pub(super) struct Signer {
    /// A URI that identifies who compiled the release, for the record
    #[arg(long, value_name = "URI", default_value = DEFAULT_BUILDER, value_parser = builder, hide_default_value = true)]
    builder: String,
    /// Sign what the remote at this address compiled as if this machine had compiled it; may be given several times
    #[arg(long, value_name = "URL")]
    trust_remote: Vec<String>,
    #[command(flatten)]
    passphrase: Passphrase,
}

/// The source of a private key's passphrase.
#[derive(clap::Args)]
pub(super) struct Passphrase {
    /// The first line of this file is the private key's passphrase [default: ISOMER_PASSPHRASE, if it is set]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

fn builder(text: &str) -> Result<String, String> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let starts = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    if starts
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Ok(text.to_owned());
    }
    Err("expected a URI, for example `https://farm.example/builders/7`".to_owned())
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let key = args.signer.read_key(&args.key)?;
    let records = state::open_or_warn();
    let record = |module| records.as_ref()?.find(module);
    let signed = args.signer.sign(&args.release, &key, args.counter, &record, args.trust_contents)?;
    Ok(print(&text_of(&signed, &key))?)
}

impl Signer {
    pub(super) fn read_key(&self, path: &Path) -> Result<SigningKey, Failure> {
        let passphrase = self.passphrase.read()?;
        read_private(path, passphrase.as_deref().map(String::as_str)).map_err(wording::failure)
    }

    /// The remotes whose artifacts are signed as they come.
    pub(super) fn trusted_remotes(&self) -> &[String] {
        &self.trust_remote
    }

    /// Signs a release, of whose modules `record` says who made them; those without a record only if `contents` is true.
    pub(super) fn sign(
        &self,
        release: &Path,
        key: &SigningKey,
        counter: Option<u64>,
        record: &dyn Fn(Digest) -> Option<Record>,
        contents: bool,
    ) -> Result<Signed, Failure> {
        let remotes = self.trust_remote.iter().cloned().collect();
        let approval = Approval { record, remotes: &remotes, contents };
        let options = Options { approval, counter, builder: &self.builder };
        let signed = signing::sign(release, key, options).map_err(wording::failure)?;
        if signed.statement.release.counter == 0 {
            let what = "the release's counter is 0: servers cannot reject older releases";
            warn(&what, "raise `counter` in the manifest's [release] with each release, or pass `--counter N`");
        }
        Ok(signed)
    }
}

impl Passphrase {
    /// The passphrase, where one is given.
    pub(super) fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let Some(path) = &self.passphrase_file else {
            let Some(value) = std::env::var_os(PASSPHRASE) else { return Ok(None) };
            let value = value.into_string().map_err(|_| Failure::new(format!("{PASSPHRASE} is not UTF-8")))?;
            return Ok(Some(Zeroizing::new(value)));
        };
        let text = Zeroizing::new(isomer_file::read_text_or_pipe(path, PASSPHRASE_SIZE_BYTES_MAX)?);
        Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
    }
}

/// What was signed, for a person.
pub(super) fn text_of(signed: &Signed, key: &SigningKey) -> String {
    let Release { name, version, counter } = &signed.statement.release;
    let already = if signed.added == 0 { ", unchanged" } else { "" };
    let modules = match signed.statement.subjects.len() {
        1 => "1 module".to_owned(),
        several => format!("{several} modules"),
    };
    format!("signed {name} {version}, counter {counter}, {modules}, by the key {}{already}\n", key.public_key().id())
}
