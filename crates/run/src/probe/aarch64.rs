//! AArch64: the auxiliary vector, where Linux reports what all cores have and programs may use.

use isomer_contract::isa::Probe;

/// What Linux says.
pub(super) struct Cpu {
    /// `AT_HWCAP`
    hwcap: u64,
    /// `AT_HWCAP2`
    hwcap2: u64,
}

impl Cpu {
    pub(super) fn has(&self, probe: Probe) -> bool {
        match probe {
            Probe::Hwcap { word, all_of } => {
                let value = match word {
                    1 => self.hwcap,
                    2 => self.hwcap2,
                    _ => return false,
                };
                all_of.iter().all(|bit| value & (1 << bit) != 0)
            }
            _ => false,
        }
    }
}

#[cfg(target_arch = "aarch64")]
impl Cpu {
    /// None on anything but Linux.
    pub(super) fn read() -> Option<Cpu> {
        #[cfg(target_os = "linux")]
        {
            let (hwcap, hwcap2) = super::hwcap();
            Some(Cpu { hwcap, hwcap2 })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::extensions;
    use isomer_contract::isa::Arch;

    fn found(hwcap: u64, hwcap2: u64) -> Vec<&'static str> {
        extensions(Arch::Aarch64, |probe| Cpu { hwcap, hwcap2 }.has(probe)).into_iter().collect()
    }

    /// As QEMU 10 shows these CPUs to programs.
    #[test]
    fn cpus_have_what_their_manuals_say() {
        assert_eq!(found(0x8fb, 0), ["fp", "neon"], "Cortex-A72");
        assert_eq!(found(0x0011_9ffb, 0), ["dotprod", "fp", "fp16", "lse", "neon"], "Neoverse N1");
        let v1 = ["dotprod", "fp", "fp16", "i8mm", "lse", "neon", "paca"];
        assert_eq!(found(0xcfff_fffb, 0x0001_7201), v1, "Neoverse V1");
    }

    #[test]
    fn half_precision_must_be_there_for_scalars_and_vectors() {
        assert_eq!(found(0b0011 | 1 << 9, 0), ["fp", "neon"]);
        assert_eq!(found(0b0011 | 1 << 10, 0), ["fp", "neon"]);
        assert_eq!(found(0b0011 | 3 << 9, 0), ["fp", "fp16", "neon"]);
    }
}
