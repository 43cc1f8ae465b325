//! Look-ups in the table of ISA extensions (`isa/table.rs`): by name, by flag, by another tool's spelling, and what an
//! extension implies. Pure data; nothing here asks a CPU.

mod arch;
mod probe;
mod table;

pub use arch::{Arch, UnknownArch};
pub use probe::{Probe, Register, XState};

use std::collections::BTreeSet;
use table::{TABLE, UNUSED};

/// One row of the table: an ISA extension of one architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Extension {
    /// Rust's target-feature name where Rust has one (`sse4.1`, `paca`, `miscellaneous-extensions-3`), else the
    /// specification's or LLVM's (`zcd`). Unique within the architecture.
    pub name: &'static str,
    /// The architecture this row belongs to.
    pub arch: Arch,
    /// Cranelift's ISA flag (`has_sse41`); none for a baseline that has no switch.
    pub flag: Option<&'static str>,
    /// Cranelift uses it in every artifact for this architecture, whatever the flags say.
    pub baseline: bool,
    /// Direct implications, names of rows of the same architecture: a set with this one must have those too.
    pub implies: &'static [&'static str],
    /// How it is probed.
    pub probe: Probe,
    /// What it is, and the manual that defines it.
    pub doc: &'static str,
    /// Other spellings that people type; /proc/cpuinfo's and wasmtime's among them.
    pub aliases: &'static [&'static str],
}

/// Every row of one architecture, in the table's order.
pub fn all(arch: Arch) -> impl Iterator<Item = &'static Extension> {
    TABLE.iter().filter(move |row| row.arch == arch)
}

/// The row with exactly this name, not an alias.
pub fn by_name(arch: Arch, name: &str) -> Option<&'static Extension> {
    all(arch).find(|row| row.name == name)
}

/// The row that Cranelift's flag (`has_sse41`) switches on.
pub fn by_flag(arch: Arch, flag: &str) -> Option<&'static Extension> {
    all(arch).find(|row| row.flag == Some(flag))
}

/// The rows that `text` may mean, by alias, flag, or another spelling: `SSE41`, `has_avx2`,
/// `mie3`. Two rows for RISC-V's `c`, which is `zca` with `zcd`.
pub fn by_alias(arch: Arch, text: &str) -> Vec<&'static Extension> {
    let typed = plain(text);
    all(arch).filter(|row| spellings(row).any(|spelling| plain(spelling) == typed)).collect()
}

/// The rows of *other* architectures with this name or alias, for "`avx2` is an x86_64 extension".
pub fn in_other_arch(arch: Arch, text: &str) -> Vec<&'static Extension> {
    Arch::ALL.into_iter().filter(|&other| other != arch).flat_map(|other| by_alias(other, text)).collect()
}

/// A real extension of this architecture that Cranelift never uses, so that profiles leave it out: the ones people
/// copy from psABI levels, RISC-V profiles and `-march` lists.
pub fn is_unused(arch: Arch, name: &str) -> bool {
    let typed = plain(name);
    UNUSED.iter().any(|(of, names)| *of == arch && names.iter().any(|unused| plain(unused) == typed))
}

/// The set and everything it implies, directly or not. Baseline rows are implied: never added, but kept.
pub fn closure(arch: Arch, set: &BTreeSet<&'static str>) -> BTreeSet<&'static str> {
    let mut closed = set.clone();
    let mut left: Vec<&'static str> = set.iter().copied().collect();
    while let Some(name) = left.pop() {
        for implied in implied_switches(arch, name) {
            if closed.insert(implied) {
                left.push(implied);
            }
        }
    }
    closed
}

/// What keeps the set from being closed: each `(extension, implied)` where the first is in the set or follows from it
/// and the second is missing. Those of the set itself come first; empty for a closed set.
pub fn missing_implied(arch: Arch, set: &BTreeSet<&'static str>) -> Vec<(&'static str, &'static str)> {
    let missing = |name| {
        implied_switches(arch, name).filter(|implied| !set.contains(implied)).map(move |implied| (name, implied))
    };
    let closed = closure(arch, set);
    set.iter().chain(closed.difference(set)).copied().flat_map(missing).collect()
}

/// Direct implications that are not baseline.
fn implied_switches(arch: Arch, name: &str) -> impl Iterator<Item = &'static str> {
    let implies = by_name(arch, name).map_or(&[][..], |row| row.implies);
    implies.iter().copied().filter(move |implied| by_name(arch, implied).is_none_or(|row| !row.baseline))
}

fn spellings(row: &'static Extension) -> impl Iterator<Item = &'static str> {
    let flag = row.flag.into_iter().flat_map(|flag| [flag, flag.strip_prefix("has_").unwrap_or(flag)]);
    [row.name].into_iter().chain(flag).chain(row.aliases.iter().copied())
}

/// Lower case, without the punctuation on which spellings differ.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '.' | '-' | '_')).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&'static str]) -> BTreeSet<&'static str> {
        names.iter().copied().collect()
    }

    #[test]
    fn names_and_flags_are_unique_within_an_architecture() {
        for arch in Arch::ALL {
            let names: BTreeSet<_> = all(arch).map(|row| row.name).collect();
            assert_eq!(names.len(), all(arch).count(), "{arch}: a name twice");
            let flags: Vec<_> = all(arch).filter_map(|row| row.flag).collect();
            let unique: BTreeSet<_> = flags.iter().collect();
            assert_eq!(unique.len(), flags.len(), "{arch}: a flag twice");
        }
    }

    #[test]
    fn every_row_can_be_found_and_is_documented_with_a_source() {
        const SOURCES: [&str; 4] = ["Intel SDM vol. ", "Arm ARM DDI 0487", "RISC-V unpriv", "z/Architecture PoP"];
        for row in TABLE {
            assert_eq!(by_name(row.arch, row.name), Some(row));
            assert!(!row.arch.is_pulley(), "{}: Pulley has no extensions", row.name);
            assert!(SOURCES.iter().any(|source| row.doc.contains(source)), "{}: no source in {:?}", row.name, row.doc);
            assert!(row.baseline || row.flag.is_some(), "{}: nothing would ever switch it on", row.name);
            if let Some(flag) = row.flag {
                assert!(flag.starts_with("has_"), "{flag}");
                assert_eq!(by_flag(row.arch, flag), Some(row));
            }
            for spelling in spellings(row) {
                assert!(by_alias(row.arch, spelling).contains(&row), "{spelling} doesn't lead to {}", row.name);
            }
            assert!(!is_unused(row.arch, row.name), "{} is in both tables", row.name);
        }
    }

    #[test]
    fn an_alias_is_no_other_rows_name() {
        for row in TABLE {
            for alias in row.aliases {
                let named = by_name(row.arch, alias).map(|other| other.name);
                assert_eq!(named, None, "alias {alias} of {}", row.name);
                assert!(!is_unused(row.arch, alias), "alias {alias} of {} is in the other table", row.name);
            }
        }
    }

    #[test]
    fn implications_resolve_without_cycles() {
        fn walk(row: &'static Extension, above: &mut Vec<&'static str>) {
            assert!(!above.contains(&row.name), "{}: implied by itself through {above:?}", row.name);
            above.push(row.name);
            for implied in row.implies {
                let implied = by_name(row.arch, implied).unwrap_or_else(|| panic!("{}: no row {implied}", row.name));
                assert!(!row.baseline || implied.baseline, "{} is baseline, {} isn't", row.name, implied.name);
                walk(implied, above);
            }
            above.pop();
        }
        for row in TABLE {
            walk(row, &mut Vec::new());
        }
    }

    #[test]
    fn probes_fit_their_architecture() {
        for row in TABLE {
            let fits = match row.probe {
                Probe::Cpuid { bit, .. } => row.arch == Arch::X86_64 && bit < 32,
                Probe::Hwcap { word, all_of } => {
                    row.arch == Arch::Aarch64 && matches!(word, 1 | 2) && !all_of.is_empty()
                }
                Probe::RiscvHwprobe { any_of, .. } => row.arch == Arch::Riscv64 && !any_of.is_empty(),
                Probe::RiscvVector | Probe::RiscvVectorBits(_) => row.arch == Arch::Riscv64,
                Probe::Facility { number, vector } => row.arch == Arch::S390x && vector == (number >= 129),
            };
            assert!(fits, "{}: {:?}", row.name, row.probe);
        }
    }

    #[test]
    fn closing_a_set_adds_what_cranelift_needs() {
        let closed = closure(Arch::X86_64, &set(&["avx512vnni"]));
        let expected = ["avx512vnni", "avx512vl", "avx512f", "avx2", "fma", "avx", "sse4.2", "sse4.1", "ssse3", "sse3"];
        assert_eq!(closed, set(&expected));
        assert_eq!(missing_implied(Arch::X86_64, &closed), []);
        assert_eq!(closure(Arch::Riscv64, &set(&["zvl128b"])), set(&["v", "zvl32b", "zvl64b", "zvl128b"]));
        assert_eq!(closure(Arch::S390x, &set(&[])), set(&[]));
    }

    #[test]
    fn what_is_missing_says_who_asked() {
        let missing = missing_implied(Arch::X86_64, &set(&["avx2", "sse3", "ssse3"]));
        assert_eq!(missing, [("avx2", "avx"), ("avx", "sse4.2"), ("sse4.2", "sse4.1")]);
        assert_eq!(missing_implied(Arch::Aarch64, &set(&["fp16"])), [], "baseline is taken for granted");
    }

    #[test]
    fn other_spellings_lead_to_the_row() {
        let names = |arch, text| by_alias(arch, text).iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(Arch::X86_64, "SSE41"), ["sse4.1"]);
        assert_eq!(names(Arch::X86_64, "has_avx_vnni"), ["avxvnni"]);
        assert_eq!(names(Arch::X86_64, "avx512_vnni"), ["avx512vnni"]);
        assert_eq!(names(Arch::Aarch64, "pauth"), ["paca"]);
        assert_eq!(names(Arch::Riscv64, "c"), ["zca", "zcd"]);
        assert_eq!(names(Arch::S390x, "mie3"), ["miscellaneous-extensions-3"]);
        assert_eq!(names(Arch::X86_64, "neon"), [""; 0]);
        assert_eq!(in_other_arch(Arch::X86_64, "neon")[0].arch, Arch::Aarch64);
        assert!(is_unused(Arch::X86_64, "movbe") && !is_unused(Arch::Aarch64, "movbe"));
    }

    #[test]
    fn architectures_are_written_as_they_are_read() {
        for arch in Arch::ALL {
            assert_eq!(arch.to_string().parse(), Ok(arch));
        }
        let error = "amd64".parse::<Arch>().unwrap_err().to_string();
        assert!(error.contains("\"amd64\"") && error.contains("x86_64, aarch64"), "{error}");
    }
}
