//! `isomer-run pull`: install modules for this machine.

use super::{input, signers, source, store, wording};
use isomer_contract::manifest::Blob;
use isomer_contract::{Demand, Digest, Host, Limit};
use isomer_layout::Source;
use isomer_runtime::Trust;
use isomer_store::{Progress, Pulled, Store, TrustBasis, Wanted};
use isomer_terminal::{Connection, Failure, TransferProgress, bytes};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run pull registry.example/acme/resize:1.4.0 --key farm-2026.pub --activate
  isomer-run pull registry.example/acme/resize@sha256:9f86d0… --trust trust.toml
  isomer-run pull oci-dir:/media/usb/dist:resize:1.4.0 --trust trust.toml
  isomer-run pull oci-archive:dist.tar:resize --key farm-2026.pub
  isomer-run pull oci-dir:dist:resize --key farm-2026.pub --limit deadline
  isomer-run pull oci-dir:dist --digest sha256:9f86d0…    # its only module
  isomer-run run resize

JSON: an array of what was installed, even if a later REF fails: `module`, `reference`, `digest` (of its index), `target`, \
`artifact` (its digest), `size-bytes`, `trust-basis` as in `list --json`, `transferred-bytes`, `new` (it was not installed \
before), `activated`, and `resolved`, the requested tag if that is not a version.")]
pub(crate) struct Arguments {
    /// Where from: REGISTRY/REPOSITORY[:TAG][@DIGEST], oci-dir:PATH[:NAME[:VERSION]] or
    /// oci-archive:FILE.tar[:NAME[:VERSION]]
    #[arg(value_name = "REF", required = true)]
    references: Vec<String>,
    /// Activate what was installed
    #[arg(long)]
    activate: bool,
    /// Install the variant for this target, whether or not it runs here
    #[arg(long, value_name = "TARGET", conflicts_with = "host")]
    target: Option<String>,
    /// Install also the variant that supports this limit: `deadline` or `fuel`; may be repeated
    #[arg(long = "limit", value_name = "LIMIT", value_delimiter = ',', conflicts_with = "target")]
    limits: Vec<Limit>,
    /// Install for the machine that this file describes (see `isomer-run host --json`)
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Print what was installed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    store: store::Location,
    #[command(flatten)]
    trust: signers::TrustOptions,
    /// Accept a release that is older than the last one of its name; later ones are compared with it
    #[arg(long, conflicts_with_all = ["digest", "allow_unsigned"], help_heading = "Trust")]
    allow_rollback: bool,
}

/// What was installed.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    module: String,
    reference: String,
    digest: Digest,
    target: String,
    artifact: Digest,
    size_bytes: u64,
    trust_basis: TrustBasis,
    transferred_bytes: u64,
    new: bool,
    activated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<String>,
}

impl Row {
    fn of(pulled: Pulled, activated: bool) -> Row {
        let Pulled {
            module,
            reference,
            index: digest,
            target,
            artifact,
            trust_basis,
            transferred_bytes,
            new,
            resolved,
        } = pulled;
        let Blob { digest: artifact, size_bytes } = artifact;
        Row {
            module,
            reference,
            digest,
            target,
            artifact,
            size_bytes,
            trust_basis,
            transferred_bytes,
            new,
            activated,
            resolved,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut done = Vec::new();
    let ended = pull_each(arguments, &mut done);
    // What is installed is installed, whatever became of the next one.
    if arguments.json {
        isomer_terminal::print_json(&done)?;
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// One after the other; `done` is what was installed before one failed.
fn pull_each(arguments: &Arguments, done: &mut Vec<Row>) -> Result<(), Failure> {
    let trust = trust(arguments)?;
    let host = input::host(arguments.host.as_deref())?;
    for reference in &arguments.references {
        let source = source::source(reference, &arguments.connection)?;
        let store = Store::create(&arguments.store.dir()).map_err(wording::store)?;
        // The fastest variant, and one for each limit.
        let limited = arguments.limits.iter().map(|limit| Demand::required(&[*limit]));
        for demand in std::iter::once(Demand::default()).chain(limited) {
            let pulled = pull(arguments, &store, &*source, trust.as_ref(), &host, &demand)?;
            if !arguments.json {
                isomer_terminal::print(&text(&pulled, arguments.activate))?;
            }
            done.push(Row::of(pulled, arguments.activate));
        }
    }
    Ok(())
}

fn trust(arguments: &Arguments) -> Result<Option<Trust>, Failure> {
    let mut trust = arguments.trust.read()?;
    if let Some(Trust::Signed(signers)) = &mut trust {
        signers.allow_rollback = arguments.allow_rollback;
    }
    Ok(trust)
}

fn pull(
    arguments: &Arguments,
    store: &Store,
    source: &dyn Source,
    trust: Option<&Trust>,
    host: &Host,
    demand: &Demand,
) -> Result<Pulled, Failure> {
    let Some(trust) = trust else {
        let digest = Digest::of(&source.index().map_err(wording::source)?);
        return Err(wording::untrusted(&format!("`{source}`"), "`--key`, `--trust`, `--digest`", "its index", digest));
    };
    let bar = OnceLock::new();
    let progress = |progress| match progress {
        Progress::Layer { size_bytes } => {
            bar.get_or_init(|| TransferProgress::new("pulling", &source.to_string())).planned(size_bytes);
        }
        Progress::Bytes(bytes) => bar.get().into_iter().for_each(|bar| bar.done(bytes)),
    };
    let wanted = Wanted { trust, host, demand, target: arguments.target.as_deref(), activate: arguments.activate };
    let pulled = store.pull(source, &wanted, &progress);
    drop(bar);
    pulled.map_err(|error| wording::store_from(error, Some(&source.to_string()), &input::on(arguments.host.as_deref())))
}

fn text(pulled: &Pulled, activated: bool) -> String {
    let Pulled { reference, index, target, artifact, trust_basis, transferred_bytes, new, resolved, module: _ } =
        pulled;
    let what = if *new { "installed" } else { "was installed already" };
    let fetched = match transferred_bytes {
        0 => "nothing".to_owned(),
        fetched => bytes(*fetched),
    };
    let active = if activated { format!("{reference} is active\n") } else { String::new() };
    let version = reference.rsplit_once(':').map_or("", |(_, version)| version);
    let resolved = resolved.as_ref().map_or_else(String::new, |tag| format!("{tag} is {version}\n"));
    format!(
        "{resolved}{reference} {index}\n  {what} for {target}, trusted by {}: {}, {fetched} fetched\n{active}",
        trusted_by(trust_basis),
        bytes(artifact.size_bytes)
    )
}

fn trusted_by(basis: &TrustBasis) -> String {
    match basis {
        TrustBasis::Unsigned => "--allow-unsigned alone".to_owned(),
        TrustBasis::Digest => "its digest".to_owned(),
        TrustBasis::Keys(names) => names.join(", "),
    }
}
