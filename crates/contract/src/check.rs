//! In: requirements and a host. Out: every mismatch, not the first one.

use crate::Hinted;
use crate::engine::{self, EngineConfigError};
use crate::isa::{self, Arch};
use crate::{Host, Requirements};
use serde::Serialize;
use std::fmt;

/// One reason why an artifact does not load on a host, or would compute nonsense there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mismatch", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Mismatch {
    /// Another major version of wasmtime.
    Engine {
        /// The artifact's.
        needs: String,
        /// The host's.
        has: String,
    },
    /// Another instruction set.
    Architecture {
        /// The artifact's.
        needs: Arch,
        /// The host's.
        has: Arch,
    },
    /// Another operating system.
    OperatingSystem {
        /// The artifact's.
        needs: String,
        /// The host's.
        has: String,
    },
    /// Native code, on a host whose system lets no code become executable.
    NativeCode,
    /// An ISA extension that the host lacks.
    Extension {
        /// Its name.
        needs: String,
        /// What it is and whose manual says so.
        doc: String,
    },
    /// A flag of the code generator that isomer does not know, so that nobody can say what it needs.
    UnknownFlag {
        /// The flag.
        flag: String,
    },
    /// A flag of the code generator that wasmtime's loader never accepts.
    RefusedFlag {
        /// The flag.
        flag: String,
        /// Its value.
        value: String,
    },
    /// A setting that no runtime of this build can have.
    Setting {
        /// What wasmtime's configuration says.
        reason: String,
    },
}

impl Hinted for Mismatch {
    fn hint(&self) -> Option<String> {
        match self {
            Mismatch::Engine { has, .. } => {
                Some(format!("compile the module with an isomer on wasmtime {has}, or update this server's isomer-run"))
            }
            Mismatch::Architecture { has, .. } => {
                Some(format!("compile for a profile of {has}, or for {}", pulley_of(*has)))
            }
            Mismatch::OperatingSystem { has, .. } => Some(format!("compile for a profile whose triple names {has}")),
            Mismatch::NativeCode => Some(
                "permit it (systemd: `MemoryDenyWriteExecute=no`; SELinux: `execmem`), or compile for Pulley, which needs none"
                    .to_owned(),
            ),
            Mismatch::Extension { needs, .. } => Some(format!("compile for a profile without `{needs}`")),
            Mismatch::UnknownFlag { .. } | Mismatch::RefusedFlag { .. } => {
                Some("compile with isomer, whose profiles set no such flag".to_owned())
            }
            Mismatch::Setting { .. } => {
                Some("compile with isomer, or with that setting left at its default".to_owned())
            }
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Engine { needs, has } => write!(f, "needs wasmtime {needs}; here is {has}"),
            Mismatch::Architecture { needs, has } => write!(f, "needs the architecture {needs}; here is {has}"),
            Mismatch::OperatingSystem { needs, has } => {
                write!(f, "needs the operating system {needs}; here is {has}")
            }
            Mismatch::NativeCode => f.write_str("needs executable memory, which this system denies"),
            Mismatch::Extension { needs, doc } => write!(f, "needs the extension `{needs}` ({doc})"),
            Mismatch::UnknownFlag { flag } => {
                write!(f, "compiled with `{flag}`, which isomer does not know and so cannot look for on this CPU")
            }
            Mismatch::RefusedFlag { flag, value } => {
                write!(f, "compiled with `{flag} = {value}`, which wasmtime loads nowhere")
            }
            Mismatch::Setting { reason } => f.write_str(reason),
        }
    }
}

fn pulley_of(arch: Arch) -> &'static str {
    if arch == Arch::S390x { "pulley64be" } else { "pulley64" }
}

/// Every reason why an artifact with these requirements must not be loaded on `host`; none means that it runs.
pub fn check(requirements: &Requirements, host: &Host) -> Vec<Mismatch> {
    let mut mismatches = Vec::new();
    if requirements.engine != host.engine_major() {
        let has = host.engine_major().to_owned();
        mismatches.push(Mismatch::Engine { needs: requirements.engine.clone(), has });
    }
    mismatches.extend(check_platform(requirements, host));
    for (flag, value) in &requirements.refused_flags {
        mismatches.push(Mismatch::RefusedFlag { flag: flag.clone(), value: value.clone() });
    }
    // Another major has other settings; its own isomer-run judges them.
    if requirements.engine == engine::engine_major() {
        let unmet = engine::unmet(requirements).into_iter();
        mismatches.extend(unmet.map(|error: EngineConfigError| Mismatch::Setting { reason: error.to_string() }));
    }
    mismatches
}

fn check_platform(requirements: &Requirements, host: &Host) -> Vec<Mismatch> {
    let Requirements { arch, os, isa, .. } = requirements;
    if *arch == host.pulley() {
        // Bytecode: the interpreter is the platform. A flag that is on would be one nobody knows.
        return isa.iter().map(|flag| Mismatch::UnknownFlag { flag: flag.clone() }).collect();
    }
    if *arch != host.arch {
        // Extensions of another architecture say nothing more.
        return vec![Mismatch::Architecture { needs: *arch, has: host.arch }];
    }
    let mut mismatches = Vec::new();
    if *os != host.os {
        mismatches.push(Mismatch::OperatingSystem { needs: os.clone(), has: host.os.clone() });
    }
    if !host.native_code {
        mismatches.push(Mismatch::NativeCode);
    }
    let baseline = isa::all(*arch).filter(|row| row.baseline).map(|row| row.name);
    for name in baseline.chain(isa.iter().map(String::as_str)) {
        if host.isa.contains(name) {
            continue;
        }
        mismatches.push(match isa::by_name(*arch, name) {
            Some(row) => Mismatch::Extension { needs: name.to_owned(), doc: row.doc.to_owned() },
            None => Mismatch::UnknownFlag { flag: name.to_owned() },
        });
    }
    mismatches
}
