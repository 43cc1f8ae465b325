//! The interfaces of WASI that guests are given, as data: what the run side links, and what both sides say of an
//! artifact's imports. In: the name of an import. Out: whether it is provided. Never here: what an interface does. A test
//! of `crates/guest` compares this with what wasmtime-wasi adds to a linker.

use std::fmt::Write;

/// The version of WASI 0.2 whose interfaces components are given. Earlier ones of 0.2 are parts of it.
pub const WASI_0_2_VERSION: &str = "0.2.12";

/// The version of WASI 0.3 whose interfaces components are given. Later ones of 0.3 add to it.
pub const WASI_0_3_VERSION: &str = "0.3.0";

/// The modules that core modules import WASI from, previews 1 and 0.
pub const CORE_MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Which versions of a package are provided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Every release whose number begins so: `0.2`. A draft, `0.2.0-rc-2023-11-10`, is something else.
    Released(&'static str),
    /// This draft alone.
    Draft(&'static str),
}

impl Version {
    /// Whether `version` is one of these.
    pub fn includes(self, version: &str) -> bool {
        match self {
            Version::Released(minor) => {
                let patch = version.strip_prefix(minor).and_then(|rest| rest.strip_prefix('.'));
                patch.is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
            }
            Version::Draft(draft) => version == draft,
        }
    }

    /// A version of these that the interfaces are linked as.
    pub fn linked(self) -> &'static str {
        match self {
            Version::Released("0.3") => WASI_0_3_VERSION,
            Version::Released(_) => WASI_0_2_VERSION,
            Version::Draft(draft) => draft,
        }
    }
}

/// WASI 0.2.
pub const WASI_0_2: Version = Version::Released("0.2");
/// WASI 0.3.
pub const WASI_0_3: Version = Version::Released("0.3");

/// A package of WASI, and those of its interfaces that components are given.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// `wasi:io`
    pub name: &'static str,
    /// Which versions of it.
    pub version: Version,
    /// `streams`
    pub interfaces: &'static [&'static str],
}

const fn package(name: &'static str, version: Version, interfaces: &'static [&'static str]) -> Package {
    Package { name, version, interfaces }
}

/// The interfaces of `wasi:cli`: 0.3 has one more than 0.2.
const CLI_0_3: &[&str] = &[
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
    "types",
];
const CLI_0_2: &[&str] = CLI_0_3.split_last().expect("it is not empty").1;

/// What components are given.
pub const PACKAGES: &[Package] = &[
    package("wasi:cli", WASI_0_2, CLI_0_2),
    package("wasi:clocks", WASI_0_2, &["monotonic-clock", "wall-clock"]),
    package("wasi:filesystem", WASI_0_2, &["preopens", "types"]),
    package("wasi:http", WASI_0_2, &["outgoing-handler", "types"]),
    package("wasi:io", WASI_0_2, &["error", "poll", "streams"]),
    package("wasi:random", WASI_0_2, &["insecure", "insecure-seed", "random"]),
    package(
        "wasi:sockets",
        WASI_0_2,
        &["instance-network", "ip-name-lookup", "network", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
    package("wasi:cli", WASI_0_3, CLI_0_3),
    package("wasi:clocks", WASI_0_3, &["monotonic-clock", "system-clock", "types"]),
    package("wasi:filesystem", WASI_0_3, &["preopens", "types"]),
    package("wasi:http", WASI_0_3, &["client", "types"]),
    package("wasi:random", WASI_0_3, &["insecure", "insecure-seed", "random"]),
    package("wasi:sockets", WASI_0_3, &["ip-name-lookup", "types"]),
    package("wasi:config", Version::Draft("0.2.0-rc.1"), &["store"]),
    package("wasi:keyvalue", Version::Draft("0.2.0-draft"), &["atomics", "batch", "store"]),
];

/// Whether guests are given what `import` names: the module that a core module imports from, or an import of a
/// component, `wasi:io/streams@0.2.3`.
pub fn is_provided(import: &str) -> bool {
    let Some(interface) = Interface::parse(import) else { return CORE_MODULES.contains(&import) };
    PACKAGES.iter().any(|package| {
        package.name == interface.package
            && package.version.includes(interface.version)
            && package.interfaces.contains(&interface.name)
    })
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

/// What components are given, in words: `wasi:cli, … and wasi:sockets of WASI 0.2 (up to 0.2.12) and 0.3; …`.
pub fn provided_to_components() -> String {
    let mut released = String::new();
    let mut drafts = String::new();
    let of_0_2 = || PACKAGES.iter().filter(|package| package.version == WASI_0_2);
    for (index, package) in of_0_2().enumerate() {
        let before = if index == 0 {
            ""
        } else if index + 1 == of_0_2().count() {
            " and "
        } else {
            ", "
        };
        // Writing to a string cannot fail.
        let _ = write!(released, "{before}{}", package.name);
    }
    for package in PACKAGES {
        if let Version::Draft(draft) = package.version {
            let _ = write!(drafts, ", {}@{draft}", package.name);
        }
    }
    format!("{released} of WASI 0.2 (up to {WASI_0_2_VERSION}) and 0.3 ({WASI_0_3_VERSION}){drafts}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_released_versions_of_known_interfaces_are_provided() {
        for provided in [
            "wasi_snapshot_preview1",
            "wasi_unstable",
            "wasi:io/streams@0.2.0",
            "wasi:cli/exit@0.2.99",
            "wasi:cli/types@0.3.2",
            "wasi:http/types@0.2.0",
            "wasi:config/store@0.2.0-rc.1",
        ] {
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
            "wasi:cli/types@0.2.0",
            "wasi:cli/exit@0.3.0-rc-2025-09-16",
            "wasi:cli/exit@0.4.0",
            "wasi:config/store@0.2.0-draft",
            "wasi:keyvalue/store@0.2.0",
            "example:io/streams@0.2.0",
        ] {
            assert!(!is_provided(missing), "{missing}");
        }
    }

    #[test]
    fn the_list_for_people_is_a_sentence() {
        assert_eq!(
            provided_to_components(),
            "wasi:cli, wasi:clocks, wasi:filesystem, wasi:http, wasi:io, wasi:random and wasi:sockets of WASI 0.2 (up to \
             0.2.12) and 0.3 (0.3.0), wasi:config@0.2.0-rc.1, wasi:keyvalue@0.2.0-draft"
        );
    }
}
