//! `isomer push DIR REGISTRY/REPOSITORY[:TAG]`.

use crate::warning::warn;
use crate::wording::failure;
use isomer_layout::{Count, Layout, ModuleEntry, Part};
use isomer_registry::{Options, PushOptions, Pushed, Reference, RegistryError, Remote, Step, push};
use isomer_terminal::{Connection, Failure, Failures, TransferProgress, bytes, print, print_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  isomer push dist/ registry.example/acme               all: registry.example/acme/NAME:VERSION
  isomer push dist/ registry.example/acme:edge --module resize
  isomer push dist/ 127.0.0.1:5000/acme --plain-http    a registry on this machine

Each module has its own repository below the named one. Its tag is written last, after everything that it refers to; TAG-wasm \
is the plain WebAssembly alone, for clients that read no indexes. Signatures are pushed too. Blobs that the registry has are not \
sent again: repeat a push that was interrupted.

A tag that is a version, such as 1.4.0, is written once: raise the version for other content. Tags that begin with a letter, such \
as stable, may be moved from one version to the next.

Credentials are docker's: `config.json` in $DOCKER_CONFIG or ~/.docker, as `docker login` writes it, with its credential \
helpers.")]
pub(super) struct Args {
    /// The release: a directory that `isomer release` wrote
    #[arg(value_name = "DIR")]
    release: PathBuf,
    /// The repository above those of the modules, and their tag [default tag: the release's version]
    #[arg(value_name = "REGISTRY/REPOSITORY[:TAG]")]
    repository: String,
    /// Push only this module; may be repeated
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Move tags of versions that name other content; servers that have pulled that content keep it
    #[arg(long)]
    move_tag: bool,
    #[command(flatten)]
    connection: Connection,
    /// Print what was pushed as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    let Connection { plain_http, ca_certificates, .. } = &args.connection;
    let options = Options {
        plain_http: *plain_http,
        ca_certificates: ca_certificates.clone(),
        token_hosts: args.connection.token_hosts(),
        ..Options::default()
    };
    if Path::new(&args.repository).is_dir() && !args.release.exists() {
        let (dir, repository) = (&args.repository, args.release.display());
        let failure = Failure::new(format!("`{dir}` is a directory, expected REGISTRY/REPOSITORY"));
        return Err(failure.hint(format!("the release comes first: `isomer push {dir} {repository}`")).into());
    }
    let base: Reference = args.repository.parse().map_err(RegistryError::from)?;
    if base.digest().is_some() {
        let failure = Failure::new(format!("`{base}` has a digest; expected a reference without one"));
        return Err(failure.hint("leave out the digest: a push computes it".to_owned()).into());
    }
    let layout = Layout::open(&args.release)?;
    if let Some(Part { number, count, .. }) = layout.identity().and_then(|identity| identity.part) {
        let found =
            format!("`{}` is part {number} of {count} of a release; expected the whole", args.release.display());
        return Err(Failure::new(found).hint("join all parts first, with `isomer merge`".to_owned()).into());
    }
    let chosen = choose(&layout, args)?;
    let targets = targets(&base, &chosen)?;
    warn_of_unsigned(&layout, &chosen)?;
    let mut pushed = Vec::new();
    for (module, reference) in chosen.iter().zip(&targets) {
        let remote = Remote::connect(reference, &options).map_err(failure)?;
        let progress = TransferProgress::new("pushing", &module.reference);
        let on_step = |step| match step {
            Step::Planned(size_bytes) => progress.planned(size_bytes),
            Step::Done(size_bytes) => progress.done(size_bytes),
        };
        let result = {
            let options = PushOptions { move_version_tag: args.move_tag, on_step: &on_step };
            push(&layout, &module.reference, &remote, &options)
        };
        drop(progress);
        let result = result.map_err(failure)?;
        // At once: another module may fail, and this one is pushed.
        if !args.json {
            print(&text_of(&result))?;
        }
        pushed.push(json_of(module, &result));
    }
    if args.json {
        print_json(&pushed)?;
    }
    Ok(())
}

fn choose<'a>(layout: &'a Layout, args: &Args) -> Result<Vec<&'a ModuleEntry>, Failures> {
    if args.modules.is_empty() {
        let all: Vec<_> = layout.modules().iter().collect();
        if all.is_empty() {
            return Err(Failure::new(format!("`{}` holds no module", args.release.display())).into());
        }
        return Ok(all);
    }
    let mut chosen = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &args.modules {
        let entry = layout.entry(name)?;
        if seen.insert(&entry.reference) {
            chosen.push(entry);
        }
    }
    Ok(chosen)
}

/// The reference of each module. All are known before anything is sent.
fn targets(base: &Reference, modules: &[&ModuleEntry]) -> Result<Vec<Reference>, Failures> {
    let mut targets = Vec::new();
    for module in modules {
        let repository = base.below(&module.name).map_err(RegistryError::from)?;
        let version = module.reference.rsplit_once(':').map(|(_, version)| version);
        let Some(tag) = base.tag().or(version) else {
            return Err(RegistryError::NoTag(repository.to_string()).into());
        };
        let target = repository.with_tag(tag).map_err(RegistryError::from)?;
        if targets.contains(&target) {
            let failure = Failure::new(format!("two modules would be `{target}`"));
            return Err(failure.hint("push one of them with --module, or both without a tag".to_owned()).into());
        }
        targets.push(target);
    }
    Ok(targets)
}

fn warn_of_unsigned(layout: &Layout, modules: &[&ModuleEntry]) -> Result<(), Failures> {
    let mut unsigned = Vec::new();
    for entry in modules {
        if layout.signatures(&layout.module(&entry.reference)?)?.is_empty() {
            unsigned.push(entry.reference.as_str());
        }
    }
    if !unsigned.is_empty() {
        let what = format!("no signature of {}", unsigned.join(", "));
        warn(&what, "servers refuse unsigned modules without --allow-unsigned; `isomer sign` signs before a push");
    }
    Ok(())
}

fn text_of(pushed: &Pushed) -> String {
    let Pushed { reference, wasm, sent, present, signatures } = pushed;
    let size = |count: &Count| bytes(count.size_bytes);
    let sent = match sent.blobs {
        0 => "nothing sent".to_owned(),
        1 => format!("1 blob of {} sent", size(sent)),
        several => format!("{several} blobs of {} sent", size(sent)),
    };
    let present = match present.blobs {
        0 => String::new(),
        1 => format!(", 1 blob of {} already present", size(present)),
        several => format!(", {several} blobs of {} already present", size(present)),
    };
    let signatures = match signatures {
        0 => "no signature".to_owned(),
        1 => "1 signature".to_owned(),
        several => format!("{several} signatures"),
    };
    let wasm = wasm.as_ref().and_then(Reference::tag).map_or_else(String::new, |tag| format!(", also as {tag}"));
    format!("{reference}\n  {sent}{present}; {signatures}{wasm}\n")
}

fn json_of(module: &ModuleEntry, pushed: &Pushed) -> Value {
    let Pushed { reference, wasm, sent, present, signatures } = pushed;
    let count = |Count { blobs, size_bytes }: &Count| json!({"blobs": blobs, "size-bytes": size_bytes});
    json!({
        "module": module.name,
        "reference": reference.to_string(),
        "wasm": wasm.as_ref().map(Reference::to_string),
        "sent": count(sent),
        "present": count(present),
        "signatures": signatures,
    })
}
