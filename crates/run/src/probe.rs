//! In: the machine that this runs on. Out: the rows of the ISA-extension table that it has, asked of the CPU *and* of
//! the operating system. What cannot be detected is reported as missing, never guessed; no code is run to see whether
//! it traps. An architecture's file has the answers as plain data (`Cpu`), what they mean, and how they are read.

#[cfg(any(test, target_arch = "aarch64"))]
mod aarch64;
#[cfg(any(test, target_arch = "riscv64"))]
mod riscv64;
#[cfg(any(test, target_arch = "s390x"))]
mod s390x;
#[cfg(any(test, target_arch = "x86_64"))]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64::Cpu;
#[cfg(target_arch = "riscv64")]
use riscv64::Cpu;
#[cfg(target_arch = "s390x")]
use s390x::Cpu;
#[cfg(target_arch = "x86_64")]
use x86_64::Cpu;

use isomer_contract::isa::{self, Arch, Probe};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

/// Why this machine's extensions cannot be probed. It can still run Pulley.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProbeError {
    /// Wasmtime generates no code for this architecture (its name as Rust's).
    Architecture(&'static str),
    /// Extensions of this architecture are probed on Linux alone (names as Rust's).
    OperatingSystem {
        /// The architecture.
        arch: Arch,
        /// The operating system.
        os: &'static str,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Architecture(arch) => write!(f, "no native code runs on {arch}, only Pulley"),
            ProbeError::OperatingSystem { arch, os } => {
                write!(f, "can't ask {os} on {arch} for ISA extensions, only Linux")
            }
        }
    }
}

impl std::error::Error for ProbeError {}

/// The architecture that this program was built for, so the one whose artifacts it loads; none if wasmtime has no
/// native code for it.
pub fn host_arch() -> Option<Arch> {
    std::env::consts::ARCH.parse().ok().filter(|arch: &Arch| !arch.is_pulley())
}

/// The extensions that programs can use here, baseline included: names of rows of [`isa`]'s table. An extension counts
/// only if everything that it implies is there too, so a hypervisor that hides `avx` hides `avx2` with it.
///
/// The CPU is asked once a process. Cores of one machine are taken to be alike, as Linux makes them appear (HWCAP and
/// `riscv_hwprobe` are the common set, x86 systems with unlike cores do not boot or hide the difference).
///
/// # Errors
/// [`ProbeError`]: for an architecture or an operating system that isomer cannot probe.
pub fn host_extensions() -> Result<BTreeSet<&'static str>, ProbeError> {
    static FOUND: OnceLock<Result<BTreeSet<&'static str>, ProbeError>> = OnceLock::new();
    FOUND.get_or_init(probe).clone()
}

fn probe() -> Result<BTreeSet<&'static str>, ProbeError> {
    let arch = host_arch().ok_or(ProbeError::Architecture(std::env::consts::ARCH))?;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64", target_arch = "s390x"))]
    if let Some(cpu) = Cpu::read() {
        return Ok(extensions(arch, |probe| cpu.has(probe)));
    }
    Err(ProbeError::OperatingSystem { arch, os: std::env::consts::OS })
}

/// The CPU's name for display, from /proc/cpuinfo; nothing is decided by it.
pub fn cpu_model() -> Option<String> {
    model(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// `AT_HWCAP` and `AT_HWCAP2` of Linux' auxiliary vector; 0 for one that is missing. Not by rustix, whose
/// `linux_hwcap` gave 0 for both in a statically linked program on s390x.
#[cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "s390x")))]
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn hwcap() -> (u64, u64) {
    // SAFETY: getauxval has no preconditions; it searches a vector that the kernel made and nothing changes.
    unsafe { (libc::getauxval(libc::AT_HWCAP), libc::getauxval(libc::AT_HWCAP2)) }
}

/// The rows that `has` affirms, without those whose implications it denies.
fn extensions(arch: Arch, has: impl Fn(Probe) -> bool) -> BTreeSet<&'static str> {
    let mut present: BTreeSet<_> = isa::all(arch).filter(|row| has(row.probe)).map(|row| row.name).collect();
    loop {
        let lacks_support = |name: &&str| {
            isa::by_name(arch, name).is_some_and(|row| row.implies.iter().any(|implied| !present.contains(implied)))
        };
        let unsupported: Vec<&'static str> = present.iter().copied().filter(lacks_support).collect();
        if unsupported.is_empty() {
            return present;
        }
        present.retain(|name| !unsupported.contains(name));
    }
}

/// The first processor's name in the text of /proc/cpuinfo, whose keys differ by architecture.
fn model(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        cpuinfo.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == key).then(|| value.trim()).filter(|value| !value.is_empty())
        })
    };
    // s390x: "processor 0: version = FF,  identification = 123456,  machine = 8561"
    if let Some((_, machine)) = value("processor 0").and_then(|line| line.split_once("machine = ")) {
        let family = S390X_MACHINES.iter().find(|(types, _)| types.contains(&machine)).map_or("", |(_, name)| *name);
        return Some(format!("IBM {family} {machine}").replace("  ", " "));
    }
    if let (Some(implementer), Some(part)) = (value("CPU implementer"), value("CPU part")) {
        let name = ARM_PARTS.iter().find(|known| (known.0, known.1) == (implementer, part)).map(|known| known.2);
        return Some(name.map_or_else(|| format!("Arm implementer {implementer}, part {part}"), str::to_owned));
    }
    // RISC-V: "sifive,u74-mc", else nothing but the ISA string.
    let name = value("model name").or_else(|| value("uarch")).or_else(|| value("cpu model"))?;
    Some(name.to_owned())
}

/// MIDR_EL1's implementer and part number (Arm's TRMs; Linux, arch/arm64/include/asm/cputype.h): server CPUs.
const ARM_PARTS: &[(&str, &str, &str)] = &[
    ("0x41", "0xd08", "Arm Cortex-A72"),
    ("0x41", "0xd0c", "Arm Neoverse N1"),
    ("0x41", "0xd40", "Arm Neoverse V1"),
    ("0x41", "0xd49", "Arm Neoverse N2"),
    ("0x41", "0xd4f", "Arm Neoverse V2"),
    ("0x41", "0xd83", "Arm Neoverse V3"),
    ("0x41", "0xd8e", "Arm Neoverse N3"),
    ("0xc0", "0xac3", "Ampere-1"),
    ("0xc0", "0xac4", "Ampere-1a"),
];

/// Machine types (Linux, arch/s390/kernel/processor.c).
const S390X_MACHINES: &[(&[&str], &str)] = &[
    (&["2964", "2965"], "z13"),
    (&["3906", "3907"], "z14"),
    (&["8561", "8562"], "z15"),
    (&["3931", "3932"], "z16"),
    (&["9175", "9176"], "z17"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_its_architectures_baseline() {
        let arch = host_arch().expect("tests run where wasmtime has native code");
        let found = host_extensions().expect("and on Linux");
        let baseline: BTreeSet<_> = isa::all(arch).filter(|row| row.baseline).map(|row| row.name).collect();
        assert!(baseline.is_subset(&found), "{arch} without {:?}", baseline.difference(&found));
    }

    #[test]
    fn an_extension_without_what_it_implies_is_no_extension() {
        let avx = isa::by_name(Arch::X86_64, "avx").expect("in the table").probe;
        let found = extensions(Arch::X86_64, |probe| probe != avx);
        for hidden in ["avx", "avx2", "fma", "avxvnni", "avx512f", "avx512vnni"] {
            assert!(!found.contains(hidden), "{hidden} without avx");
        }
        assert!(found.contains("sse4.2") && found.contains("bmi2"));
    }

    #[test]
    fn models_are_read_from_each_architectures_cpuinfo() {
        let cases = [
            (
                "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6338\nmodel name\t: other\n",
                "Intel(R) Xeon(R) Gold 6338",
            ),
            ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "Arm Neoverse N1"),
            ("processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: 0x022\n", "Arm implementer 0x61, part 0x022"),
            ("processor\t: 0\nhart\t: 2\nisa\t: rv64imafdc\nuarch\t: sifive,u74-mc\n", "sifive,u74-mc"),
            (
                "vendor_id       : IBM/S390\nprocessor 0: version = FF,  identification = 1234,  machine = 8561\n",
                "IBM z15 8561",
            ),
            (
                "vendor_id       : IBM/S390\nprocessor 0: version = 00,  identification = 1234,  machine = 1111\n",
                "IBM 1111",
            ),
        ];
        for (cpuinfo, expected) in cases {
            assert_eq!(model(cpuinfo).as_deref(), Some(expected));
        }
        assert_eq!(model("processor\t: 0\nhart\t: 0\nisa\t: rv64imafdc\n"), None);
        assert_eq!(model(""), None);
    }
}
