//! In: what [`crate::probe`] read. Out: this machine as an [`isomer_contract::Host`].

use crate::executable::{CodePermission, code_permission};
use crate::probe::{self, ProbeError};
use isomer_contract::{ENGINE_VERSION, Host};
use std::collections::BTreeSet;

/// This machine, without its CPU's name: all that a choice or a check needs, and the cheapest to measure.
///
/// Where the operating system reports no extensions, the host has none, not even the architecture's baseline, so that it
/// runs Pulley and nothing else.
///
/// # Errors
/// When this program was built for an architecture that wasmtime generates no code for.
pub fn here() -> Result<Host, ProbeError> {
    let arch = probe::host_arch().ok_or(ProbeError::Architecture(std::env::consts::ARCH))?;
    let isa = match probe::host_extensions() {
        Ok(found) => found,
        Err(ProbeError::OperatingSystem { .. }) => BTreeSet::new(),
        Err(error) => return Err(error),
    };
    Ok(Host {
        arch,
        os: os().to_owned(),
        cpu: None,
        isa: isa.into_iter().map(str::to_owned).collect(),
        native_code: code_permission() != CodePermission::Denied,
        engine: ENGINE_VERSION.to_owned(),
    })
}

/// This machine with its CPU's name, for people: [`here`] and a read of /proc/cpuinfo.
///
/// # Errors
/// As [`here`].
pub fn described() -> Result<Host, ProbeError> {
    Ok(Host { cpu: probe::cpu_model(), ..here()? })
}

/// target-lexicon's name of the operating system that this program was built for.
fn os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_back() {
        let host = described().expect("tests run where wasmtime has native code");
        let json = serde_json::to_string(&host).expect("a host is plain data");
        assert_eq!(Host::from_json(&json), Ok(host));
    }
}
