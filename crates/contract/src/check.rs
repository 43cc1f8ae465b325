//! In: requirements and a host. Out: every mismatch between them, not only the first.

use crate::Hinted;
use crate::engine::{self, EngineConfigError};
use crate::isa::{self, Arch};
use crate::{Host, Limit, Requirements, engine_major, name};
use serde::Serialize;
use std::fmt;

/// One reason why an artifact does not load on a host, or would give wrong results there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mismatch", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Mismatch {
    /// A different major version of wasmtime.
    Engine {
        /// The artifact's.
        needs: String,
        /// The host's.
        has: String,
    },
    /// A different instruction set.
    Architecture {
        /// The artifact's.
        needs: Arch,
        /// The host's.
        has: Arch,
    },
    /// A different operating system.
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
    /// A flag of the code generator that isomer does not know: the extension behind it cannot be probed.
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
        /// Which one, and the values that it can have.
        reason: String,
    },
    /// A limit that was required and that the code does not keep.
    Limit {
        /// Which one.
        limit: Limit,
        /// The target that it was compiled for, where that is known.
        target: Option<String>,
    },
    /// Another target was requested.
    Target {
        /// The variant's.
        has: String,
        /// The requested one.
        expected: String,
    },
}

impl Hinted for Mismatch {
    fn hint(&self) -> Option<String> {
        match self {
            Mismatch::Engine { has, .. } => {
                Some(format!("compile the module with wasmtime {has}, or update the runtime on this host"))
            }
            Mismatch::Architecture { has, .. } => {
                Some(format!("compile for a profile of {has}, or for {}", pulley_of(*has)))
            }
            Mismatch::OperatingSystem { has, .. } => Some(format!("compile for a profile whose triple names {has}")),
            Mismatch::NativeCode => Some(
                "permit it (systemd: `MemoryDenyWriteExecute=no`; SELinux: `execmem`), or compile for Pulley, which needs none"
                    .to_owned(),
            ),
            Mismatch::Extension { needs, .. } => Some(match baseline(needs) {
                Some(arch) => format!("all native code for {arch} needs it: compile for {}", pulley_of(arch)),
                None => format!("compile for a profile without `{needs}`"),
            }),
            Mismatch::UnknownFlag { .. } | Mismatch::RefusedFlag { .. } => {
                Some("compile with isomer, whose profiles set no such flag".to_owned())
            }
            Mismatch::Setting { .. } => {
                Some("compile with isomer, or with that setting left at its default".to_owned())
            }
            Mismatch::Limit { limit, target: Some(target) } => {
                Some(format!("release the module for `{}` too", name::with_overlay(target, limit.overlay())))
            }
            Mismatch::Limit { limit, target: None } => {
                Some(format!("compile for the same target with the overlay `+{}`", limit.overlay()))
            }
            Mismatch::Target { .. } => None,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Engine { needs, has } => write!(f, "needs wasmtime {needs}; this host has {has}"),
            Mismatch::Architecture { needs, has } => write!(f, "needs the architecture {needs}; this host has {has}"),
            Mismatch::OperatingSystem { needs, has } => {
                write!(f, "needs the operating system {needs}; this host has {has}")
            }
            Mismatch::NativeCode => f.write_str("needs executable memory, which this host denies"),
            Mismatch::Extension { needs, doc } => write!(f, "needs the extension `{needs}` ({doc})"),
            Mismatch::UnknownFlag { flag } => {
                write!(f, "compiled with `{flag}`, which isomer does not know and cannot probe on this CPU")
            }
            Mismatch::RefusedFlag { flag, value } => {
                write!(f, "compiled with `{flag} = {value}`, which wasmtime never loads")
            }
            Mismatch::Setting { reason } => f.write_str(reason),
            Mismatch::Limit { limit, .. } => write!(f, "does not keep {limit}: compiled without {}", limit.needs()),
            Mismatch::Target { has, expected } => write!(f, "compiled for {has}; {expected} was requested"),
        }
    }
}

fn pulley_of(arch: Arch) -> &'static str {
    if arch == Arch::S390x { "pulley64be" } else { "pulley64" }
}

/// The architecture of whose baseline the extension is a part.
fn baseline(name: &str) -> Option<Arch> {
    let rows = Arch::ALL.into_iter().filter_map(|arch| isa::by_name(arch, name));
    rows.into_iter().find(|row| row.baseline).map(|row| row.arch)
}

/// Every reason why an artifact with these requirements must not be loaded on `host`. Empty means that it is compatible.
///
/// ```
/// use isomer_contract::{Host, Kind, Profile, Requirements, check};
///
/// let host = Host::from_json(r#"{"arch": "x86_64", "os": "linux", "isa": ["fxsr", "sse", "sse2"]}"#)?;
/// let of = |name| Requirements::of_profile(&Profile::shipped(name).expect("a shipped profile"), Kind::Module);
/// assert!(check(&of("x86-64-v1"), &host).is_empty());
/// assert_eq!(check(&of("neoverse-n1"), &host)[0].to_string(), "needs the architecture aarch64; this host has x86_64");
/// # Ok::<(), isomer_contract::HostError>(())
/// ```
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
    // Another major has other settings, which only a build on that major can compare.
    if requirements.engine == engine_major() {
        let unmet = engine::unmet(requirements).into_iter();
        mismatches.extend(unmet.map(|error: EngineConfigError| Mismatch::Setting { reason: error.to_string() }));
    }
    mismatches
}

fn check_platform(requirements: &Requirements, host: &Host) -> Vec<Mismatch> {
    let Requirements { arch, os, isa, .. } = requirements;
    if *arch == host.pulley() {
        // Bytecode: the interpreter is the platform. Pulley has no extensions, so a flag that is on is unknown.
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
