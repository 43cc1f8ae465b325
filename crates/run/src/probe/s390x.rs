//! s390x: the facility list (STORE FACILITY LIST EXTENDED), and Linux' word that it saves the vector registers.

use isomer_contract::isa::Probe;

/// `HWCAP_S390_STFLE` and `HWCAP_S390_VXRS` in `AT_HWCAP` (Linux, arch/s390/include/asm/elf.h).
const STFLE: u64 = 1 << 2;
const VXRS: u64 = 1 << 11;

/// What the CPU and Linux say.
pub(super) struct Cpu {
    /// Facilities 0 to 255, counted from the left.
    facilities: [u64; 4],
    /// `AT_HWCAP`
    hwcap: u64,
}

impl Cpu {
    pub(super) fn has(&self, probe: Probe) -> bool {
        match probe {
            Probe::Facility { number, vector } => {
                let (word, bit) = (usize::from(number / 64), number % 64);
                let installed = self.facilities.get(word).is_some_and(|list| list & (1 << (63 - bit)) != 0);
                self.hwcap & STFLE != 0 && installed && (!vector || self.hwcap & VXRS != 0)
            }
            _ => false,
        }
    }
}

#[cfg(target_arch = "s390x")]
impl Cpu {
    /// None on anything but Linux.
    pub(super) fn read() -> Option<Cpu> {
        #[cfg(target_os = "linux")]
        {
            let (hwcap, _) = super::hwcap();
            let facilities = if hwcap & STFLE != 0 { facility_list() } else { [0; 4] };
            Some(Cpu { facilities, hwcap })
        }
        #[cfg(not(target_os = "linux"))]
        None
    }
}

/// Callers have seen that STFLE is there.
#[cfg(all(target_arch = "s390x", target_os = "linux"))]
#[allow(unsafe_code, reason = "there is no other way to read the facility list")]
fn facility_list() -> [u64; 4] {
    let mut list = [0u64; 4];
    // SAFETY: STFLE is unprivileged and stores at most R0 + 1 doublewords at its operand, which has that many; it
    // changes R0 and the condition code, both declared.
    unsafe {
        std::arch::asm!(
            "stfle 0({})",
            in(reg_addr) list.as_mut_ptr(),
            inout("r0") list.len() as u64 - 1 => _,
            options(nostack)
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::extensions;
    use isomer_contract::isa::Arch;

    const Z14: &[u16] = &[34, 45, 49, 53, 57, 58, 129, 133, 134, 135];

    fn found(facilities: &[&[u16]], hwcap: u64) -> Vec<&'static str> {
        let mut list = [0; 4];
        for number in facilities.concat() {
            list[usize::from(number / 64)] |= 1 << (63 - number % 64);
        }
        let cpu = Cpu { facilities: list, hwcap };
        let beyond_z14 =
            |name: &&str| name.ends_with("-3") || name.ends_with("-4") || name.ends_with("-enhancements-2");
        extensions(Arch::S390x, |probe| cpu.has(probe)).into_iter().filter(beyond_z14).collect()
    }

    #[test]
    fn facilities_count_from_the_left() {
        let cpu = Cpu { facilities: [1 << 63, 0, 0, 1], hwcap: STFLE };
        assert!(cpu.has(Probe::Facility { number: 0, vector: false }));
        assert!(cpu.has(Probe::Facility { number: 255, vector: false }));
        assert!(!cpu.has(Probe::Facility { number: 63, vector: false }));
        assert!(!cpu.has(Probe::Facility { number: 256, vector: false }), "beyond the list");
    }

    #[test]
    fn generations_have_what_the_principles_of_operation_say() {
        let z15 = ["miscellaneous-extensions-3", "vector-enhancements-2"];
        assert_eq!(found(&[Z14], STFLE | VXRS), [""; 0]);
        assert_eq!(found(&[Z14, &[61, 148]], STFLE | VXRS), z15);
        let z17 = found(&[Z14, &[61, 148, 84, 198]], STFLE | VXRS);
        assert_eq!(z17, [z15[0], "miscellaneous-extensions-4", z15[1], "vector-enhancements-3"]);
    }

    /// As QEMU 10 shows its `max` to programs, which has most of z15.
    #[test]
    fn a_recorded_list_is_read() {
        let facilities = [0xf940_f6d3_f4c4_5c64, 0x059c_0000_0000_0000, 0x7120_2800_0000_0000, 0];
        let cpu = Cpu { facilities, hwcap: 0xab3f };
        let found = extensions(Arch::S390x, |probe| cpu.has(probe));
        let expected = isomer_contract::isa::all(Arch::S390x).map(|row| row.name);
        let z17 = ["miscellaneous-extensions-4", "vector-enhancements-3"];
        assert_eq!(found, expected.filter(|name| !z17.contains(name)).collect());
    }

    #[test]
    fn vectors_need_the_system_to_save_their_registers() {
        assert_eq!(found(&[Z14, &[61, 148]], STFLE), ["miscellaneous-extensions-3"]);
    }

    #[test]
    fn a_z13_lacks_the_baseline() {
        let cpu =
            Cpu { facilities: [1 << (63 - 45) | 1 << (63 - 49) | 1 << (63 - 53), 0, 1 << 62, 0], hwcap: STFLE | VXRS };
        let found = extensions(Arch::S390x, |probe| cpu.has(probe));
        assert!(found.contains("vector") && found.contains("load-store-on-cond-2"), "{found:?}");
        assert!(!found.contains("vector-enhancements-1") && !found.contains("miscellaneous-extensions-2"), "{found:?}");
    }
}
