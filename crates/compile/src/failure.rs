//! What a person sees when something failed: `error:`, what caused it, and a `hint:`, once, on standard error.

use anstream::eprintln;
use anstyle::{AnsiColor, Effects, Style};
use std::collections::BTreeMap;
use std::error::Error;

const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const CAUSE: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);
const HINT: Style = AnsiColor::Cyan.on_default().effects(Effects::BOLD);

/// One thing that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), causes: Vec::new(), hint: None }
    }

    /// The error with its chain of sources.
    pub(crate) fn of(error: &dyn Error) -> Failure {
        let mut failure = Failure::new(error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            failure.causes.push(cause.to_string());
            source = cause.source();
        }
        failure
    }

    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Failure {
        self.hint = hint.into();
        self
    }

    pub(crate) fn caused_by(mut self, cause: impl Into<String>) -> Failure {
        self.causes.push(cause.into());
        self
    }

    fn print(&self) {
        eprintln!("{ERROR}error:{ERROR:#} {}", self.message);
        for cause in &self.causes {
            eprintln!("  {CAUSE}caused by:{CAUSE:#} {cause}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("  {HINT}hint:{HINT:#} {hint}");
        }
    }
}

/// What failed cell by cell: a reason that many targets share is said once for a module.
#[derive(Default)]
pub(crate) struct CellFailures<'a> {
    by_module_and_reason: BTreeMap<(String, String), FailedTargets<'a>>,
}

#[derive(Default)]
struct FailedTargets<'a> {
    targets: Vec<&'a str>,
    hint: Option<String>,
}

impl<'a> CellFailures<'a> {
    /// The module in the file `path` has no artifact for `target`.
    pub(crate) fn add(&mut self, path: String, target: &'a str, reason: String, hint: Option<String>) {
        let failed = self.by_module_and_reason.entry((path, reason)).or_default();
        failed.targets.push(target);
        failed.hint = hint;
    }

    /// One failure for each module and reason; `consequence` ends each message.
    pub(crate) fn into_failures(self, consequence: &str) -> Vec<Failure> {
        let failures = self.by_module_and_reason.into_iter().map(|((path, reason), failed)| {
            let message = format!("{path} has no artifact for {}{consequence}", failed.targets.join(", "));
            Failure::new(message).caused_by(reason).hint(failed.hint)
        });
        failures.collect()
    }
}

/// Everything that failed in one call.
#[derive(Debug)]
pub(crate) struct Failures(pub(crate) Vec<Failure>);

impl Failures {
    pub(crate) fn print(&self) {
        self.0.iter().for_each(Failure::print);
    }
}

impl From<Failure> for Failures {
    fn from(failure: Failure) -> Failures {
        Failures(vec![failure])
    }
}

/// Errors of the libraries that know a hint.
macro_rules! failures_with_hints {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                let hint = error.hint();
                Failure::of(&error).hint(hint)
            }
        }
        impl From<$error> for Failures {
            fn from(error: $error) -> Failures {
                Failure::from(error).into()
            }
        })+
    };
}

failures_with_hints![
    isomer_compile::codegen::CodegenError,
    isomer_compile::express::Refused,
    isomer_compile::input::InputError,
    isomer_compile::release::ReleaseError,
    isomer_compile::release_manifest::ReleaseManifestError,
    isomer_compile::targets::TargetError,
    isomer_contract::artifact::ArtifactError,
    isomer_release::LayoutError,
    isomer_release::WriteError,
];
