//! Libraries' errors, as a person at this command line reads them. In: an error. Out: a [`Failure`], with hints that name
//! this program's commands and options, else the library's own. Never here: what the program itself finds wrong.

use isomer_contract::{Digest, Hinted, Mismatch, Size, name};
use isomer_guest::{GuestError, LimitKind, LimitNotCompiled};
use isomer_layout::SourceError;
use isomer_registry::Problem;
use isomer_runtime::{Excluded, LoadError, NotChosen, SelectError, TrustError};
use isomer_store::{Installed, Instead, StoreError, Weakness};
use isomer_terminal::Failure;
use isomer_trust::{Reason, Rejected};
use std::error::Error;
use std::io::ErrorKind;

/// Why a source does not give a part of a module.
pub(crate) fn source(error: SourceError) -> Failure {
    let problem = error.source.as_deref().and_then(|source| source.downcast_ref::<Problem>());
    let hint = problem.and_then(|problem| match problem {
        Problem::TokenHost { token_host, .. } => Some(format!(
            "if the registry's documentation names it: --token-host {token_host}, or the variable ISOMER_TOKEN_HOSTS"
        )),
        problem if problem.is_plain_http_to_tls() => Some("this registry has TLS: leave out --plain-http".to_owned()),
        problem if problem.is_tls_to_plain_http() => {
            Some("a registry without TLS, on this machine only, is reached with --plain-http".to_owned())
        }
        Problem::Tls { .. } => Some("--ca-cert FILE names a CA that is trusted beside the system's".to_owned()),
        _ => None,
    });
    Failure::of(&error).hint(hint.or_else(|| error.hint()))
}

/// An error of a library that has a remedy here.
pub(crate) trait Remedy: Error + Hinted + 'static {
    /// The hint with options and commands; the library's own where those add nothing.
    fn remedy(&self) -> Option<String>;
}

/// Why a store does not do what was requested.
pub(crate) fn store(error: StoreError) -> Failure {
    store_from(error, None, "on this machine")
}

/// As [`store`], where `from` is what is pulled and `on` the host that it is pulled for.
pub(crate) fn store_from(error: StoreError, from: Option<&str>, on: &str) -> Failure {
    match error {
        StoreError::Trust(error) => trust(error, from),
        StoreError::Select(error) => select(&error, on, false),
        StoreError::Source(error) => source(error),
        error => Failure::of(&error).hint(error.remedy()),
    }
}

impl Remedy for StoreError {
    fn remedy(&self) -> Option<String> {
        Some(match self {
            StoreError::NoStore { .. } => {
                "`isomer-run pull` creates it; `--store DIR` or ISOMER_STORE names another".to_owned()
            }
            StoreError::Malformed { file, .. } if file.ends_with("counters.json") => {
                "it keeps older releases out: restore it from a backup; or `isomer-run counters --repair` keeps what is valid \
                 in it and says what is not"
                    .to_owned()
            }
            StoreError::CountersFull { .. } => {
                "`isomer-run counters --forget MODULE` makes room: of modules that are not used any more".to_owned()
            }
            StoreError::Malformed { file, .. } if file.parent().is_some_and(|dir| dir.ends_with("active")) => {
                let module = file.file_stem().unwrap_or_default().to_string_lossy();
                format!(
                    "it was damaged or changed by hand: `isomer-run activate {module}:VERSION` sets the active version again, \
                 and forgets the earlier ones"
                )
            }
            StoreError::Damaged { .. } => {
                "pull it again; or `isomer-run gc --damaged` removes it, and all that is damaged beside it".to_owned()
            }
            StoreError::NotTrusted { weakness: Weakness::Writable { path, .. }, .. } => {
                format!(
                    "`chmod go-w {}`, or state what is trusted with `--key`, `--trust` or `--digest`",
                    path.display()
                )
            }
            StoreError::NotTrusted { .. } => {
                "state what is trusted with `--key`, `--trust` or `--digest`, or use a store of your own with `--store`"
                    .to_owned()
            }
            StoreError::ActiveNotTrusted { module, .. } => format!(
                "`isomer-run activate {module}:VERSION` sets the active version, and forgets the earlier ones; `isomer-run list` \
             shows what is installed"
            ),
            StoreError::NotOurs { weakness: Weakness::Writable { path, .. }, .. } => {
                format!("`chmod go-w {}`, or use a store of your own with `--store`", path.display())
            }
            StoreError::NotOurs { .. } => {
                "run it as the user who owns the store, or use one of your own with `--store`".to_owned()
            }
            StoreError::NotInstalled { nearest: None, .. } => "install it with `isomer-run pull`".to_owned(),
            StoreError::NotActive { instead, .. } => match instead.as_ref()? {
                Instead::RollBack(module) => format!("`isomer-run rollback {module}`"),
                Instead::Activate(reference) => format!("`isomer-run activate {reference}`"),
            },
            StoreError::NothingEarlier { .. } => {
                "`isomer-run list` shows what is installed; `isomer-run activate` activates any of it".to_owned()
            }
            StoreError::Space { .. } => {
                "what is installed is as it was; `isomer-run gc` removes what is not needed".to_owned()
            }
            StoreError::Io { source, .. } => match source.kind() {
                ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
                    "run it as the user who owns the store, or name another with `--store`".to_owned()
                }
                ErrorKind::NotADirectory => {
                    "a part of that path is not a directory: name another with `--store`".to_owned()
                }
                _ => return self.hint(),
            },
            _ => return self.hint(),
        })
    }
}

/// Why a module is not trusted, every reason with its own hint. `release` is where it is from; none is the store.
pub(crate) fn trust(error: TrustError, release: Option<&str>) -> Failure {
    let module = |name: &str| match release {
        Some(release) => format!("`{name}` of `{release}`"),
        None => format!("the installed `{name}`"),
    };
    match error {
        TrustError::DigestMismatch { module: ref name, .. } => {
            Failure::because(format!("{} is not the module that `--digest` names", module(name)), &error)
                .hint(error.hint())
        }
        TrustError::Untrusted { module: name, untrusted } => {
            let failure = Failure::new(format!("{} is not trusted", module(&name))).reasons(&untrusted.refusals);
            untrusted
                .rejected
                .iter()
                .fold(failure, |failure, rejected| failure.caused_by(rejected.to_string()).hint(remedy_of(rejected)))
        }
        error => Failure::from(error),
    }
}

/// What can be done about a signature that does not count, with this program's options.
pub(crate) fn remedy_of(rejected: &Rejected) -> Option<String> {
    match &rejected.reason {
        Reason::UnknownKey { .. } => {
            Some("if the key is to be trusted, add its public half to the policy, or name it with `--key`".to_owned())
        }
        Reason::Replayed { .. } => Some("to go back to this older release, pull it with `--allow-rollback`".to_owned()),
        _ => rejected.hint(),
    }
}

/// No option states what is trusted.
pub(crate) fn untrusted(what: &str, options: &str, whose: &str, digest: Digest) -> Failure {
    Failure::new(format!("no basis to trust {what}"))
        .caused_by(format!("expected {options} or `--allow-unsigned`; {whose} has the digest {digest}"))
        .hint(format!("if you expect that digest, pass `--digest {digest}`"))
}

/// Why nothing was chosen, with every reason unless they were shown already.
pub(crate) fn select(error: &SelectError, on: &str, brief_only: bool) -> Failure {
    match error {
        SelectError::NoneRuns { module, rejected, excluded } => {
            let mut failure = match (rejected.is_empty(), excluded.is_empty()) {
                (true, false) => Failure::new(format!("the policy excludes every variant of `{module}`")),
                _ => Failure::new(format!("no variant of `{module}` runs {on}")),
            };
            if rejected.is_empty() && excluded.is_empty() {
                failure = failure.caused_by("the release holds none");
            }
            for (target, mismatches) in rejected.iter().filter(|_| !brief_only) {
                let reasons: Vec<_> = mismatches.iter().map(|mismatch| format!("  {mismatch}")).collect();
                failure = failure.caused_by(format!("{target}\n{}", reasons.join("\n")));
            }
            for Excluded { variant, refusals } in excluded.iter().filter(|_| !brief_only) {
                let reasons: Vec<_> = refusals.iter().map(|refusal| format!("  {refusal}")).collect();
                failure = failure.caused_by(format!("{}\n{}", variant.target, reasons.join("\n")));
            }
            if let Some(hint) = excluded.iter().flat_map(|it| &it.refusals).find_map(Hinted::hint) {
                return failure.hint(hint);
            }
            // The variants that would run if they kept the limits that were asked for.
            let is_limit = |mismatch: &Mismatch| matches!(mismatch, Mismatch::Limit { .. });
            let limited = rejected.iter().filter(|(_, mismatches)| mismatches.iter().all(is_limit));
            let nearest = limited.min_by_key(|(_, mismatches)| mismatches.len());
            if let Some(hint) = nearest.and_then(|(_, mismatches)| mismatches.first()).and_then(Hinted::hint) {
                return failure.hint(hint);
            }
            // Pulley runs everywhere, unless it was tried and something else is in the way.
            let pulley = rejected.iter().any(|(target, _)| target.starts_with("pulley"));
            let helps = !pulley && !rejected.is_empty();
            failure.hint(
                helps.then(|| "release it for pulley64 too, which runs everywhere (pulley64be on s390x)".to_owned()),
            )
        }
        SelectError::NoVariant { module, target, why } => {
            not_chosen(Failure::new(format!("no variant of `{module}` is for {target}")), target, why)
        }
        SelectError::NotRequired { module, required, chosen, why } => {
            let message = format!("`{module}` is required as {required}; the best that runs {on} is {chosen}");
            not_chosen(Failure::new(message), required, why)
        }
        error => Failure::of(error),
    }
}

fn not_chosen(failure: Failure, required: &str, why: &NotChosen) -> Failure {
    match why {
        NotChosen::Mismatches(mismatches) => failure.reasons(mismatches),
        NotChosen::Excluded(refusals) => failure.reasons(refusals),
        NotChosen::Outranked(why) => failure.caused_by(format!("{required} {why}")),
        NotChosen::NotInRelease(targets) => {
            let nearest = isomer_contract::nearest(required, targets.iter().map(String::as_str));
            failure.caused_by(format!("the release has it for {}", targets.join(", "))).hint(match nearest {
                Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                None => targets.first().map(|target| format!("name one of them, for example `{target}`")),
            })
        }
        _ => failure,
    }
}

/// Why none of the installed variants is chosen, where another variant of the module may be.
pub(crate) fn select_installed(error: &SelectError, on: &str, installed: &Installed) -> Failure {
    match error {
        SelectError::NoneRuns { module, rejected, excluded } if excluded.is_empty() => {
            let failure = Failure::new(format!("no installed variant of `{module}` runs {on}"));
            let add = |failure: Failure, (target, mismatches): &(String, Vec<Mismatch>)| {
                let reasons: Vec<_> = mismatches.iter().map(|mismatch| format!("  {mismatch}")).collect();
                failure.caused_by(format!("{target}\n{}", reasons.join("\n")))
            };
            let from = &installed.record().from;
            let limits = missing_limits(rejected);
            rejected.iter().fold(failure, add).hint(format!("pull the one that does: `isomer-run pull {from}{limits}`"))
        }
        SelectError::NoVariant { module, target, why: NotChosen::NotInRelease(installed_for) } => {
            let from = &installed.record().from;
            Failure::new(format!("no installed variant of `{module}` is for {target}"))
                .caused_by(format!("it is installed for {}", installed_for.join(", ")))
                .hint(format!("pull that one too: `isomer-run pull {from} --target {target}`"))
        }
        error => select(error, on, false),
    }
}

/// The options that pull a variant with the limits that alone are missing.
fn missing_limits(rejected: &[(String, Vec<Mismatch>)]) -> String {
    let limit = |mismatch: &Mismatch| match mismatch {
        Mismatch::Limit { limit, .. } => Some(*limit),
        _ => None,
    };
    let all = rejected.iter().map(|(_, mismatches)| mismatches.iter().map(limit).collect::<Option<Vec<_>>>());
    let fewest = all.flatten().min_by_key(Vec::len).unwrap_or_default();
    fewest.iter().map(|limit| format!(" --limit {}", limit.name())).collect()
}

/// Why the artifact of `name` does not load here.
pub(crate) fn load(name: &str, error: &LoadError) -> Failure {
    match error {
        LoadError::Mismatch(mismatches) => {
            Failure::new(format!("`{name}` does not run on this machine")).reasons(mismatches)
        }
        other => Failure::because(format!("cannot load `{name}`"), other).hint(other.hint()),
    }
}

/// Why the guest `name`, in the form for `target`, did not run, or not to its end.
pub(crate) fn guest(name: &str, target: Option<&str>, error: &GuestError) -> Failure {
    match error {
        GuestError::Failed(error) => Failure::because(format!("`{name}` did not run to its end"), error.as_ref()),
        GuestError::LimitNotCompiled(LimitNotCompiled { limit }) => {
            let failure = Failure::because(format!("cannot run `{name}`"), error);
            failure.hint(overlay_hint(target, limit.overlay()))
        }
        GuestError::ProfileNotCompiled => {
            Failure::because(format!("cannot run `{name}`"), error).hint(overlay_hint(target, "epoch"))
        }
        error => Failure::because(format!("cannot run `{name}`"), error).hint(error.remedy()),
    }
}

impl Remedy for GuestError {
    fn remedy(&self) -> Option<String> {
        match self {
            GuestError::NotACommand { exports, .. } => {
                exports.first().map(|name| format!("call one of them: `--invoke '{name}'`"))
            }
            GuestError::ServesHttp(_) => Some("`isomer-run serve` answers HTTP requests with it".to_owned()),
            GuestError::SharedMemory { maximum_bytes } => {
                let maximum = Size(*maximum_bytes);
                Some(format!("`--max-memory {maximum}` or more, or build it with a smaller maximum"))
            }
            _ => self.hint(),
        }
    }
}

/// The option that raises a limit.
pub(crate) fn limit_option(limit: LimitKind) -> String {
    format!("`--{}`", limit.key())
}

/// What to do about a limit that was reached.
pub(crate) fn limit_hint(limit: LimitKind) -> String {
    format!("{} raises the limit", limit_option(limit))
}

/// How a guest comes to trap at its deadline.
pub(crate) fn epoch_hint(target: Option<&str>) -> String {
    let form =
        target.map_or_else(|| "a form with the overlay `+epoch`".to_owned(), |it| format!("the form `{it}+epoch`"));
    format!("{form} would trap there, and show where it was")
}

/// Which form does what this one was not compiled for.
fn overlay_hint(target: Option<&str>, overlay: &str) -> String {
    match target {
        Some(target) => format!("release it for `{}`, too", name::with_overlay(target, overlay)),
        None => format!("compile it for a target with the overlay `+{overlay}`"),
    }
}
