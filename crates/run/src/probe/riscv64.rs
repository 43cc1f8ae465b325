//! RISC-V: the `riscv_hwprobe` system call, which reports what all harts have, with the auxiliary vector for kernels
//! that lack it, and the `vlenb` register. Wasmtime itself checks nothing here, so this is the only line of defence.

use isomer_contract::isa::Probe;
use std::collections::BTreeMap;

/// `RISCV_HWPROBE_KEY_IMA_EXT_0` and its bit `RISCV_HWPROBE_IMA_V`.
const IMA_EXT_0: i64 = 4;
const IMA_V: u64 = 1 << 2;

/// What Linux and the CPU say.
pub(super) struct Cpu {
    /// Value by key; none where the kernel has no `riscv_hwprobe` or a sandbox forbids it.
    hwprobe: Option<BTreeMap<i64, u64>>,
    /// `AT_HWCAP`: a bit for each single-letter extension.
    hwcap: u64,
    /// VLEN, the size of a vector register; 0 without vectors.
    vector_bits: u32,
}

impl Cpu {
    pub(super) fn has(&self, probe: Probe) -> bool {
        match probe {
            Probe::RiscvHwprobe { key, any_of, hwcap_letter } => match &self.hwprobe {
                Some(values) => {
                    let value = values.get(&key).copied().unwrap_or(0);
                    any_of.iter().any(|bit| value & (1 << bit) != 0)
                }
                None => hwcap_letter.is_some_and(|letter| self.has_letter(letter)),
            },
            Probe::RiscvVector => self.has_vectors() && self.vector_bits >= 128,
            Probe::RiscvVectorBits(bits) => self.has_vectors() && self.vector_bits >= bits,
            _ => false,
        }
    }

    fn has_vectors(&self) -> bool {
        let value = self.hwprobe.as_ref().and_then(|values| values.get(&IMA_EXT_0)).copied().unwrap_or(0);
        value & IMA_V != 0 && self.has_letter('v')
    }

    /// Linux, arch/riscv/include/uapi/asm/hwcap.h.
    fn has_letter(&self, letter: char) -> bool {
        letter.is_ascii_lowercase() && self.hwcap & (1 << (letter as u32 - 'a' as u32)) != 0
    }
}

#[cfg(target_arch = "riscv64")]
mod read {
    use super::*;

    impl Cpu {
        /// None on anything but Linux.
        pub(crate) fn read() -> Option<Cpu> {
            #[cfg(target_os = "linux")]
            {
                let (hwcap, _) = crate::probe::hwcap();
                let mut cpu = Cpu { hwprobe: hwprobe(), hwcap, vector_bits: 0 };
                if cpu.has_vectors() {
                    cpu.vector_bits = vector_bits();
                }
                Some(cpu)
            }
            #[cfg(not(target_os = "linux"))]
            None
        }
    }

    /// The values of the keys that the table names.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "neither libc nor rustix wraps this system call")]
    fn hwprobe() -> Option<BTreeMap<i64, u64>> {
        use isomer_contract::isa::{self, Arch};
        use std::collections::BTreeSet;
        use std::ptr;

        const RISCV_HWPROBE: libc::c_long = 258;

        /// `struct riscv_hwprobe` of asm/hwprobe.h. The kernel sets `key` to -1 if it does not know the key.
        #[repr(C)]
        struct Pair {
            key: i64,
            value: u64,
        }

        let keys: BTreeSet<i64> = isa::all(Arch::Riscv64)
            .filter_map(|row| match row.probe {
                Probe::RiscvHwprobe { key, .. } => Some(key),
                _ => None,
            })
            .chain([IMA_EXT_0])
            .collect();
        let mut pairs: Vec<Pair> = keys.into_iter().map(|key| Pair { key, value: 0 }).collect();
        // SAFETY: `pairs` is an array of `pairs.len()` kernel-defined structs that the call may write to; no CPU set
        // (size 0, null) asks about all online CPUs, and 0 are the flags.
        let result = unsafe {
            libc::syscall(RISCV_HWPROBE, pairs.as_mut_ptr(), pairs.len(), 0usize, ptr::null::<libc::c_ulong>(), 0u32)
        };
        (result == 0).then(|| pairs.into_iter().map(|pair| (pair.key, pair.value)).collect())
    }

    /// Callers have seen that vectors are there and allowed.
    #[cfg(target_os = "linux")]
    #[allow(unsafe_code, reason = "a CPU register")]
    fn vector_bits() -> u32 {
        let vlenb: u64;
        // SAFETY: CSR 0xc22 is `vlenb`, read-only for programs wherever V is; Linux enables vectors for this thread
        // when it traps (riscv_v_first_use_handler knows this register), as it would for any vector instruction.
        unsafe { std::arch::asm!("csrr {}, 0xc22", out(reg) vlenb, options(nomem, nostack, preserves_flags)) };
        u32::try_from(vlenb.saturating_mul(8)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::extensions;
    use isomer_contract::isa::Arch;

    const IMAFDC: u64 = 0x112d;
    const V: u64 = 1 << 21;
    /// IMA_FD, IMA_C, ZBA, ZBB, ZBS.
    const PLAIN: u64 = 0b11_1011;

    fn found(ext_0: Option<u64>, hwcap: u64, vector_bits: u32) -> String {
        let hwprobe = ext_0.map(|value| [(3, 1), (IMA_EXT_0, value)].into());
        let cpu = Cpu { hwprobe, hwcap, vector_bits };
        let beyond_g = |name: &&str| !["a", "d", "f", "m", "zicsr", "zifencei"].contains(name);
        let found = extensions(Arch::Riscv64, |probe| cpu.has(probe));
        found.into_iter().filter(beyond_g).collect::<Vec<_>>().join(" ")
    }

    /// QEMU 10's hwprobe knows no bits beyond 35, so not Zcb's 44, like kernels before 6.11.
    #[test]
    fn profiles_have_what_they_mandate() {
        assert_eq!(found(Some(0x1001_007b), IMAFDC, 0), "zba zbb zbs zca zcd zfhmin", "RVA22U64");
        let rva23 = "v zba zbb zbs zca zcd zfa zfhmin zicond zvbb zvl128b zvl32b zvl64b";
        assert_eq!(found(Some(0x9_b40b_007f), IMAFDC | V, 128), rva23, "RVA23U64 without Zcb");
        let with_zcb = found(Some(0x9_b40b_007f | 1 << 43 | 1 << 44 | 1 << 45), IMAFDC | V, 128);
        assert_eq!(with_zcb, rva23.replace("zcd", "zcb zcd"), "RVA23U64");
    }

    #[test]
    fn compressed_instructions_are_known_to_old_kernels_as_c() {
        assert_eq!(found(Some(PLAIN), IMAFDC, 0), "zba zbb zbs zca zcd");
        assert_eq!(found(Some(1 | 1 << 43), IMAFDC, 0), "zca");
        assert_eq!(found(Some(1 | 1 << 43 | 1 << 45), IMAFDC, 0), "zca zcd");
    }

    #[test]
    fn without_hwprobe_only_the_letters_of_rv64gc_count() {
        assert_eq!(found(None, IMAFDC, 0), "zca zcd");
        assert_eq!(found(None, IMAFDC | V, 128), "zca zcd", "V could be draft 0.7.1");
    }

    #[test]
    fn vectors_need_hwprobe_the_letter_and_the_size() {
        let with_v = PLAIN | IMA_V | 1 << 17 | 1 << 28 | 1 << 30;
        let zvl = "zvl128b zvl32b zvl64b";
        assert_eq!(found(Some(with_v), IMAFDC | V, 128), format!("v zba zbb zbs zca zcd zfhmin zvbb zvfh {zvl}"));
        let zvl = "zvl128b zvl256b zvl32b zvl64b";
        assert_eq!(found(Some(with_v), IMAFDC | V, 256), format!("v zba zbb zbs zca zcd zfhmin zvbb zvfh {zvl}"));
        assert_eq!(found(Some(with_v), IMAFDC, 128), "zba zbb zbs zca zcd zfhmin", "forbidden by prctl or sysctl");
        assert_eq!(found(Some(PLAIN), IMAFDC | V, 128), "zba zbb zbs zca zcd");
        assert_eq!(found(Some(with_v), IMAFDC | V, 64), "zba zbb zbs zca zcd zfhmin", "Zve64 isn't V");
    }

    #[test]
    fn zvl_counts_up_to_the_largest_size() {
        let found = found(Some(PLAIN | IMA_V), IMAFDC | V, 65536);
        assert_eq!(found.split(' ').filter(|name| name.starts_with("zvl")).count(), 12, "{found}");
    }
}
