//! The interfaces of WASI that guests are given, as data: what the run side links, and what both sides say of an
//! artifact's imports. In: the name of an import. Out: whether it is provided. Never here: what an interface does. A test
//! of `crates/guest` compares this with what wasmtime-wasi adds to a linker.

use std::fmt::Write;

/// The version of WASI 0.2 whose interfaces components are given. Earlier ones of 0.2 are parts of it.
pub const WASI_0_2_VERSION: &str = "0.2.12";

/// The modules that core modules import WASI from, previews 1 and 0.
pub const CORE_MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Each package of WASI 0.2 with those of its interfaces that components are given.
pub const INTERFACES: &[(&str, &[&str])] = &[
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stderr",
            "stdin",
            "stdout",
            "terminal-input",
            "terminal-output",
            "terminal-stderr",
            "terminal-stdin",
            "terminal-stdout",
        ],
    ),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:filesystem", &["preopens", "types"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:random", &["insecure", "insecure-seed", "random"]),
    (
        "wasi:sockets",
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];

/// Whether guests are given what `import` names: the module that a core module imports from, or an import of a
/// component, `wasi:io/streams@0.2.3`.
pub fn is_provided(import: &str) -> bool {
    let Some(interface) = Interface::parse(import) else { return CORE_MODULES.contains(&import) };
    let provided = INTERFACES.iter().find(|(package, _)| *package == interface.package);
    is_released_0_2(interface.version) && provided.is_some_and(|(_, names)| names.contains(&interface.name))
}

/// Whether `version` is one of WASI 0.2's releases. A draft, `0.2.0-rc-2023-11-10`, is something else.
pub fn is_released_0_2(version: &str) -> bool {
    version
        .strip_prefix("0.2.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The name of an interface with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// `wasi:io`
    pub package: &'a str,
    /// `streams`
    pub name: &'a str,
    /// `0.2.3`
    pub version: &'a str,
}

impl Interface<'_> {
    /// Reads `wasi:io/streams@0.2.3`; none is what has no package or no version.
    pub fn parse(name: &str) -> Option<Interface<'_>> {
        let (package, rest) = name.split_once('/')?;
        let (name, version) = rest.split_once('@')?;
        package.contains(':').then_some(Interface { package, name, version })
    }
}

/// What components are given, in words: `wasi:cli, … and wasi:sockets of WASI 0.2 (up to 0.2.12)`.
pub fn provided_to_components() -> String {
    let mut text = String::new();
    for (index, (package, _)) in INTERFACES.iter().enumerate() {
        let before = if index == 0 {
            ""
        } else if index + 1 == INTERFACES.len() {
            " and "
        } else {
            ", "
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}{package}");
    }
    format!("{text} of WASI 0.2 (up to {WASI_0_2_VERSION})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_released_versions_of_known_interfaces_are_provided() {
        for provided in ["wasi_snapshot_preview1", "wasi_unstable", "wasi:io/streams@0.2.0", "wasi:cli/exit@0.2.99"] {
            assert!(is_provided(provided), "{provided}");
        }
        for missing in [
            "env",
            "wasi_snapshot_preview2",
            "wasi:io/streams",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams@0.2.",
            "wasi:io/streams@0.2.0-rc-2023-11-10",
            "wasi:io/other@0.2.0",
            "wasi:http/types@0.2.0",
            "wasi:config/store@0.2.0-draft",
            "example:io/streams@0.2.0",
        ] {
            assert!(!is_provided(missing), "{missing}");
        }
    }

    #[test]
    fn the_list_for_people_is_a_sentence() {
        assert_eq!(
            provided_to_components(),
            "wasi:cli, wasi:clocks, wasi:filesystem, wasi:io, wasi:random and wasi:sockets of WASI 0.2 (up to 0.2.12)"
        );
    }
}
