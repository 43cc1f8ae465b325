//! A server as far as code generation is concerned. In: a host file, which is a recorded host as JSON. Out: a [`Host`], or
//! why the text is not one. Never here: a probe of this machine.

use crate::Hinted;
use crate::isa::{self, Arch};
use crate::{ENGINE_VERSION, major, nearest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A machine that runs artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Host {
    /// Its architecture.
    pub arch: Arch,
    /// target-lexicon's name of its operating system.
    pub os: String,
    /// The CPU's name, for people. No decision depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The ISA extensions that CPU and operating system both support, by their names in [`isa`].
    pub isa: BTreeSet<String>,
    /// Whether the system lets code become executable. Where it does not, only Pulley runs.
    #[serde(default = "permitted", skip_serializing_if = "is_permitted")]
    pub native_code: bool,
    /// The version of wasmtime that would load artifacts there.
    #[serde(default = "engine_here")]
    pub engine: String,
}

/// As almost everywhere: host files only state the exception.
fn permitted() -> bool {
    true
}

fn is_permitted(native_code: &bool) -> bool {
    *native_code
}

fn engine_here() -> String {
    ENGINE_VERSION.to_owned()
}

/// Why text is not a host file.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Invalid JSON, or JSON of another shape.
    #[error("not a host file: {0}")]
    Json(String),
    /// An extension that the table has no row for.
    #[error("`isa` names `{name}`, an unknown extension of {arch}")]
    UnknownExtension {
        /// As written.
        name: String,
        /// The host's architecture.
        arch: Arch,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// An extension that isomer does not track, since Cranelift never uses it.
    #[error("`isa` names `{name}`, an extension of {arch} that Cranelift does not use")]
    UnusedExtension {
        /// As written.
        name: String,
        /// The host's architecture.
        arch: Arch,
    },
    /// The architecture of bytecode, which no machine has.
    #[error("`arch` is {0}, which is bytecode, expected the architecture of a machine")]
    Interpreter(Arch),
}

impl Hinted for HostError {
    fn hint(&self) -> Option<String> {
        match self {
            HostError::Json(_) => {
                Some("a host file is a recorded host as JSON, with `arch`, `os` and `isa`".to_owned())
            }
            HostError::UnknownExtension { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            HostError::UnusedExtension { name, .. } => Some(format!("remove \"{name}\" from `isa`")),
            _ => None,
        }
    }
}

impl Host {
    /// Reads a host file.
    ///
    /// # Errors
    /// When it is not JSON of this shape, or names an extension that is not in the table: otherwise a typo would silently
    /// make the host weaker than it is.
    pub fn from_json(text: &str) -> Result<Host, HostError> {
        let host: Host = serde_json::from_str(text).map_err(|error| HostError::Json(error.to_string()))?;
        if host.arch.is_pulley() {
            return Err(HostError::Interpreter(host.arch));
        }
        let unknown = host.isa.iter().find(|name| isa::by_name(host.arch, name).is_none());
        match unknown {
            None => Ok(host),
            Some(name) if isa::is_unused(host.arch, name) => {
                Err(HostError::UnusedExtension { name: name.clone(), arch: host.arch })
            }
            Some(name) => Err(HostError::UnknownExtension {
                name: name.clone(),
                arch: host.arch,
                nearest: nearest(name, isa::all(host.arch).map(|row| row.name)).map(str::to_owned),
            }),
        }
    }

    /// The Pulley bytecode that an interpreter on this host can run.
    pub fn pulley(&self) -> Arch {
        if self.arch == Arch::S390x { Arch::Pulley64be } else { Arch::Pulley64 }
    }

    /// The major of [`Host::engine`], which loaders compare.
    pub fn engine_major(&self) -> &str {
        major(&self.engine)
    }
}
