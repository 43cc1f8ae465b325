//! x86-64: CPUID, and XCR0 for the register state that the operating system saves.
//!
//! In a virtual machine each CPUID leaves to the hypervisor, tens of microseconds every time, so each leaf is asked for
//! once.

use isomer_contract::isa::{self, Arch, Probe, Register, XState};
use std::collections::BTreeMap;

/// CPUID.01H:ECX: XGETBV may be executed.
const OSXSAVE: u32 = 1 << 27;

/// EAX, EBX, ECX, EDX.
type Registers = [u32; 4];

/// What CPUID and XGETBV say.
pub(super) struct Cpu {
    /// EAX, EBX, ECX, EDX by leaf and subleaf; leaves that this CPU lacks are missing.
    leaves: BTreeMap<(u32, u32), Registers>,
    /// 0 where the operating system has not enabled XSAVE.
    xcr0: u64,
}

/// CPUID with the answers that it gave.
struct Cpuid<F> {
    execute: F,
    answers: BTreeMap<(u32, u32), Registers>,
}

impl<F: FnMut(u32, u32) -> Registers> Cpuid<F> {
    /// Executed at most once.
    fn ask(&mut self, leaf: u32, subleaf: u32) -> Registers {
        *self.answers.entry((leaf, subleaf)).or_insert_with(|| (self.execute)(leaf, subleaf))
    }

    /// None for a leaf beyond the CPU's last, for which Intel's CPUs would answer with another leaf's data, and for a
    /// subleaf beyond the last of leaf 7.
    fn get(&mut self, leaf: u32, subleaf: u32) -> Option<Registers> {
        let [leaf_max, ..] = self.ask(leaf & 0x8000_0000, 0);
        if leaf > leaf_max || leaf == 7 && subleaf > self.ask(7, 0)[0] {
            return None;
        }
        Some(self.ask(leaf, subleaf))
    }
}

impl Cpu {
    /// Asks for the leaves that the table names.
    fn ask(execute: impl FnMut(u32, u32) -> Registers, xcr0: impl FnOnce() -> u64) -> Cpu {
        let mut cpuid = Cpuid { execute, answers: BTreeMap::new() };
        let wanted = isa::all(Arch::X86_64).filter_map(|row| match row.probe {
            Probe::Cpuid { leaf, subleaf, .. } => Some((leaf, subleaf)),
            _ => None,
        });
        let leaves: BTreeMap<_, _> =
            wanted.filter_map(|(leaf, subleaf)| Some(((leaf, subleaf), cpuid.get(leaf, subleaf)?))).collect();
        let osxsave = cpuid.get(1, 0).is_some_and(|[_, _, ecx, _]| ecx & OSXSAVE != 0);
        Cpu { leaves, xcr0: if osxsave { xcr0() } else { 0 } }
    }

    pub(super) fn has(&self, probe: Probe) -> bool {
        match probe {
            Probe::Cpuid { leaf, subleaf, register, bit, state } => {
                self.leaves.get(&(leaf, subleaf)).is_some_and(|registers| {
                    let value = registers[match register {
                        Register::Eax => 0,
                        Register::Ebx => 1,
                        Register::Ecx => 2,
                        Register::Edx => 3,
                    }];
                    value & (1 << bit) != 0 && self.saves(state)
                })
            }
            _ => false,
        }
    }

    /// SDM volume 1, 14.3 and 15.2: all bits of the state must be set.
    fn saves(&self, state: XState) -> bool {
        let bits = match state {
            XState::None => 0,
            XState::Avx => 0b0000_0110,
            XState::Avx512 => 0b1110_0110,
        };
        self.xcr0 & bits == bits
    }
}

#[cfg(target_arch = "x86_64")]
mod read {
    use super::*;
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    impl Cpu {
        /// This machine's.
        pub(crate) fn read() -> Option<Cpu> {
            Some(Cpu::ask(cpuid, xcr0))
        }
    }

    fn cpuid(leaf: u32, subleaf: u32) -> Registers {
        let result = __cpuid_count(leaf, subleaf);
        [result.eax, result.ebx, result.ecx, result.edx]
    }

    /// Callers have seen OSXSAVE.
    #[allow(unsafe_code, reason = "std's _xgetbv must be compiled with the feature that we ask for")]
    fn xcr0() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: with OSXSAVE set, XGETBV of register 0 is defined at every privilege level and only writes EAX, EDX.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
        };
        u64::from(high) << 32 | u64::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::extensions;
    use isomer_contract::isa::Arch;

    /// A Xeon of the Ice Lake family, in a virtual machine.
    fn icelake(xcr0: u64) -> Cpu {
        let leaves = [
            ((1, 0), [0x0006_06a6, 0x0002_0800, 0xfffa_3203, 0x1f8b_fbff]),
            ((7, 0), [2, 0xf1bf_2ffb, 0x0041_5f46, 0x2000_0010]),
            ((7, 1), [0, 0, 0, 0]),
            ((0x8000_0001, 0), [0, 0, 0x0000_0121, 0x2c10_0800]),
        ];
        Cpu { leaves: leaves.into(), xcr0 }
    }

    #[test]
    fn an_ice_lake_has_all_but_avx_vnni() {
        let found = extensions(Arch::X86_64, |probe| icelake(0xe7).has(probe));
        let table = isomer_contract::isa::all(Arch::X86_64).map(|row| row.name);
        assert_eq!(found, table.filter(|name| *name != "avxvnni").collect());
    }

    /// What a CPU answers, with the last leaf of each range and the last subleaf of leaf 7; and how often it is asked.
    fn ask(last: u32, last_extended: u32, last_of_7: u32, osxsave: bool) -> (Cpu, Vec<(u32, u32)>) {
        let mut asked = Vec::new();
        let answer = |leaf: u32, subleaf: u32| {
            asked.push((leaf, subleaf));
            match (leaf, subleaf) {
                (0, 0) => [last, 0, 0, 0],
                (0x8000_0000, 0) => [last_extended, 0, 0, 0],
                (7, 0) => [last_of_7, u32::MAX, u32::MAX, u32::MAX],
                (1, 0) => [u32::MAX, u32::MAX, if osxsave { u32::MAX } else { !OSXSAVE }, u32::MAX],
                _ => [u32::MAX; 4],
            }
        };
        (Cpu::ask(answer, || 0xe7), asked)
    }

    #[test]
    fn cpuid_is_executed_once_for_each_leaf() {
        let (cpu, mut asked) = ask(0x1f, 0x8000_0008, 2, true);
        assert!(cpu.leaves.contains_key(&(7, 1)) && cpu.xcr0 == 0xe7);
        let count = asked.len();
        asked.sort();
        asked.dedup();
        // The last leaf of both ranges, 1, 7 with two subleaves, 80000001H.
        assert_eq!((asked.len(), count), (6, 6), "{asked:x?}");
    }

    #[test]
    fn a_leaf_beyond_the_last_is_not_asked_for() {
        let (cpu, asked) = ask(1, 0x8000_0000, 0, true);
        assert_eq!(asked.len(), 3, "{asked:x?}");
        assert_eq!(cpu.leaves.keys().collect::<Vec<_>>(), [&(1, 0)]);
        let (cpu, asked) = ask(0x1f, 0x8000_0008, 0, true);
        assert!(!cpu.leaves.contains_key(&(7, 1)) && !asked.contains(&(7, 1)), "{asked:x?}");
        let (cpu, _) = ask(0, 0x8000_0008, 0, true);
        assert_eq!(cpu.xcr0, 0, "XGETBV is not executed where leaf 1 is missing");
        assert_eq!(ask(0x1f, 0x8000_0008, 2, false).0.xcr0, 0, "nor without OSXSAVE");
    }

    #[test]
    fn a_leaf_that_the_cpu_lacks_says_no() {
        let mut cpu = icelake(0xe7);
        cpu.leaves.retain(|(leaf, _), _| *leaf == 1);
        let found = extensions(Arch::X86_64, |probe| cpu.has(probe));
        assert!(found.contains("avx") && !found.contains("avx2") && !found.contains("lzcnt"), "{found:?}");
    }

    #[test]
    fn vector_extensions_need_the_system_to_save_their_registers() {
        let found = |xcr0| extensions(Arch::X86_64, |probe| icelake(xcr0).has(probe));
        for partly_avx512 in [0x07, 0x27, 0x67, 0xc7] {
            let found = found(partly_avx512);
            assert!(found.contains("avx2") && !found.contains("avx512f"), "{partly_avx512:#x}: {found:?}");
        }
        for no_avx in [0, 0x01, 0x03, 0xe3] {
            let found = found(no_avx);
            assert!(found.contains("sse4.2") && found.contains("bmi2"), "{no_avx:#x}: {found:?}");
            assert!(!found.contains("avx") && !found.contains("fma"), "{no_avx:#x}: {found:?}");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn agrees_with_std_about_this_machine() {
        let found = crate::probe::host_extensions().expect("x86-64 can always be asked");
        macro_rules! agree {
            ($($name:tt)*) => {
                $(assert_eq!(found.contains($name), std::is_x86_feature_detected!($name), "{}", $name);)*
                assert_eq!([$($name),*].len(), isomer_contract::isa::all(Arch::X86_64).count(), "rows left out here");
            };
        }
        agree!(
            "fxsr" "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "cmpxchg16b" "avx" "avx2" "fma" "bmi1"
            "bmi2" "lzcnt" "avxvnni" "avx512f" "avx512vl" "avx512dq" "avx512bitalg" "avx512vbmi" "avx512vnni"
        );
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    #[test]
    fn agrees_with_proc_cpuinfo_about_this_machine() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").expect("/proc is mounted");
        let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).expect("a line of flags");
        let by_kernel = flags.split_whitespace().flat_map(|flag| isomer_contract::isa::by_alias(Arch::X86_64, flag));
        let by_kernel: std::collections::BTreeSet<_> = by_kernel.map(|row| row.name).collect();
        assert_eq!(crate::probe::host_extensions().expect("x86-64 can always be asked"), by_kernel);
    }
}
