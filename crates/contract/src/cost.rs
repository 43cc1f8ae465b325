//! What the settings of a form cost at run time. In: its requirements, and the settings that only the code generator saw.
//! Out: every [`Cost`]. Never here: which form is chosen.

use crate::settings::Value;
use crate::{Requirements, Size};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The least reservation and guard with which an access to a 32-bit memory needs no explicit bounds check, whatever its
/// offset: those of wasmtime's guide to fast execution.
pub(crate) const RESERVATION_MIN: Size = Size::gib(4);
pub(crate) const GUARD_MIN: Size = Size::mib(32);

/// Something that makes a form slower than the same module compiled without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cost {
    /// Instrumented for a debugger of the guest.
    GuestDebug,
    /// `opt-level` is `none`.
    Unoptimized,
    /// `regalloc-algorithm` is `single-pass`.
    SinglePassRegisters,
    /// Memory accesses are checked explicitly: no signals, or a reservation or guard below the minimum.
    BoundsChecks,
    /// Counts what it executes.
    Fuel,
    /// Checks the epoch at loops and calls.
    EpochInterruption,
    /// Every NaN is brought to one bit pattern.
    NanCanonicalization,
    /// Relaxed SIMD gives the same results on every CPU.
    DeterministicSimd,
    /// Native DWARF, or the module's own, is kept: larger, and values live longer in native code.
    DebugInfo,
}

impl Cost {
    /// By about how many percent it slows a guest down, so that costs can be added and compared. These are estimates for
    /// the sake of an order: how much a setting really costs depends on the guest. Epochs and fuel are paid at every loop and
    /// call, bounds checks at every access; a debugger's instrumentation stores every local and operand.
    pub fn percent(self) -> u32 {
        match self {
            Cost::GuestDebug => 400,
            Cost::Unoptimized => 80,
            Cost::SinglePassRegisters => 60,
            Cost::BoundsChecks => 40,
            Cost::Fuel => 50,
            Cost::EpochInterruption => 25,
            Cost::NanCanonicalization => 10,
            Cost::DeterministicSimd => 5,
            Cost::DebugInfo => 1,
        }
    }

    /// Every cost of a form with these requirements. `code_generation` has the settings that only the code generator saw,
    /// by key, where they differ from wasmtime's defaults.
    pub fn of(requirements: &Requirements, code_generation: &BTreeMap<String, Value>) -> Vec<Cost> {
        let Requirements { arch, tunables, .. } = requirements;
        let is = |key: &str, value: bool| tunables.get(key) == Some(&Value::Bool(value));
        let below = |key: &str, min: Size| matches!(tunables.get(key), Some(Value::Integer(bytes)) if *bytes < min.0);
        let generated = |key: &str, value: Value| code_generation.get(key) == Some(&value);
        let word = |word: &str| Value::Text(word.to_owned());
        // An interpreter checks every access in any case.
        let bounds_checks = !arch.is_pulley()
            && (is("signals-based-traps", false)
                || below("memory-reservation", RESERVATION_MIN)
                || below("memory-guard-size", GUARD_MIN));
        let all = [
            (Cost::GuestDebug, is("guest-debug", true)),
            (Cost::Unoptimized, generated("opt-level", word("none"))),
            (Cost::SinglePassRegisters, generated("regalloc-algorithm", word("single-pass"))),
            (Cost::BoundsChecks, bounds_checks),
            (Cost::Fuel, is("fuel", true)),
            (Cost::EpochInterruption, is("epoch-interruption", true)),
            (Cost::NanCanonicalization, generated("nan-canonicalization", Value::Bool(true))),
            (Cost::DeterministicSimd, is("relaxed-simd-deterministic", true)),
            (Cost::DebugInfo, is("debug-info", true) || is("backtrace-details", true)),
        ];
        all.into_iter().filter_map(|(cost, has)| has.then_some(cost)).collect()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cost::GuestDebug => "guest debugging",
            Cost::Unoptimized => "unoptimized code",
            Cost::SinglePassRegisters => "single-pass register allocation",
            Cost::BoundsChecks => "explicit bounds checks",
            Cost::Fuel => "fuel counting",
            Cost::EpochInterruption => "epoch checks",
            Cost::NanCanonicalization => "NaN canonicalization",
            Cost::DeterministicSimd => "deterministic relaxed SIMD",
            Cost::DebugInfo => "debug information",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{ProfileText, find_shipped, shipped_names};
    use crate::{Kind, Profile};

    fn costs(text: &str) -> Vec<Cost> {
        let text = ProfileText { name: "p".to_owned(), path: "p.toml".to_owned(), text: text.to_owned() };
        let profile = Profile::resolve(&text, &find_shipped).expect("a profile");
        Cost::of(&Requirements::of_profile(&profile, Kind::Module), &profile.code_generation())
    }

    #[test]
    fn shipped_profiles_cost_nothing() {
        for name in shipped_names() {
            assert_eq!(costs(&format!("inherits = '{name}'")), [], "{name}");
        }
    }

    #[test]
    fn each_setting_that_costs_is_found() {
        let no_signals = "[optimize]\nsignals-based-traps = false\n[codegen]\nheap-access-spectre-mitigation = false\n\
             table-access-spectre-mitigation = false";
        for (text, expected) in [
            ("[optimize]\nopt-level = 'none'", Cost::Unoptimized),
            ("[optimize]\nregalloc-algorithm = 'single-pass'", Cost::SinglePassRegisters),
            (no_signals, Cost::BoundsChecks),
            ("[optimize]\nmemory-reservation = '3GiB'", Cost::BoundsChecks),
            ("[optimize]\nmemory-guard-size = '16MiB'", Cost::BoundsChecks),
            ("[wasm]\nfuel = true", Cost::Fuel),
            ("[wasm]\nepoch-interruption = true", Cost::EpochInterruption),
            ("[codegen]\nnan-canonicalization = true", Cost::NanCanonicalization),
            ("[wasm]\nrelaxed-simd-deterministic = true", Cost::DeterministicSimd),
            ("[codegen]\ndebug-info = true", Cost::DebugInfo),
            ("[codegen]\nbacktrace-details = true", Cost::DebugInfo),
        ] {
            assert_eq!(costs(&format!("inherits = 'x86-64-v3'\n{text}")), [expected], "{text}");
        }
        // What makes no guest slower.
        for text in ["[optimize]\nopt-level = 'speed-and-size'", "[codegen]\ncollector = 'drc'", "[wasm]\nsimd = true"]
        {
            assert_eq!(costs(&format!("inherits = 'x86-64-v3'\n{text}")), [], "{text}");
        }
        // Larger than the minimum, and bytecode, which is interpreted.
        assert_eq!(costs("inherits = 'x86-64-v3'\n[optimize]\nmemory-reservation = '8GiB'"), []);
        assert_eq!(costs("inherits = 'pulley64'\n[wasm]\nfuel = true"), [Cost::Fuel]);
    }

    #[test]
    fn an_artifact_of_another_tool_may_be_made_for_a_debugger() {
        let profile = Profile::shipped("x86-64-v3").expect("a profile");
        let mut requirements = Requirements::of_profile(&profile, Kind::Module);
        requirements.tunables.insert("guest-debug".to_owned(), Value::Bool(true));
        assert_eq!(Cost::of(&requirements, &BTreeMap::new()), [Cost::GuestDebug]);
    }
}
