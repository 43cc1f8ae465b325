//! In: a command. Out: how often it executes CPUID from its first instruction to its end, the C library's start included.
//! In a virtual machine each one leaves to the hypervisor: tens of microseconds that no profile of the guest shows.
//!
//! Linux makes CPUID fault for a process that asks for it, which the command is made to do before its first instruction.
//! This process traces it, and answers each fault instead of the CPU.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::arch::x86_64::__cpuid_count;
use std::ffi::c_void;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// `0f 05` and `0f a2`, as the low half of a word.
const SYSCALL: i64 = 0x050f;
const CPUID: i64 = 0xa20f;
const INSTRUCTION_BYTES: u64 = 2;

/// arch/x86/include/uapi/asm/prctl.h
const ARCH_SET_CPUID: u64 = 0x1012;

/// Runs the command to its end.
///
/// # Errors
/// When it cannot be traced, the CPU or the hypervisor cannot make CPUID fault, or it does not end with 0.
pub(super) fn count(command: &mut Command) -> Result<usize> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[allow(unsafe_code, reason = "std runs it between fork and exec")]
    // SAFETY: it makes one system call, which needs no lock and no memory.
    unsafe {
        command.pre_exec(|| Ok(ptrace::traceme()?));
    }
    let child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
    let process = Pid::from_raw(i32::try_from(child.id())?);
    // It stops after its exec.
    waitpid(process, None)?;
    ptrace::setoptions(process, Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACECLONE)?;
    make_cpuid_fault(process)?;
    ptrace::cont(process, None)?;
    let mut count = 0;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL))? {
            WaitStatus::Exited(ended, code) if ended == process => {
                ensure!(code == 0, "{command:?} ended with {code}");
                return Ok(count);
            }
            WaitStatus::Signaled(ended, signal, _) if ended == process => bail!("{command:?} ended by {signal}"),
            WaitStatus::Stopped(thread, Signal::SIGSEGV) if answer(thread)? => {
                count += 1;
                ptrace::cont(thread, None)?;
            }
            // The first stop of a thread.
            WaitStatus::Stopped(thread, Signal::SIGSTOP | Signal::SIGTRAP) => ptrace::cont(thread, None)?,
            WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, signal)?,
            WaitStatus::PtraceEvent(thread, ..) => ptrace::cont(thread, None)?,
            _ => {}
        }
    }
}

/// Has the process call `arch_prctl`, instead of the instruction that it is at.
fn make_cpuid_fault(process: Pid) -> Result<()> {
    let saved = ptrace::getregs(process)?;
    let at = saved.rip as *mut c_void;
    let code = ptrace::read(process, at)?;
    ptrace::write(process, at, code & !0xffff | SYSCALL)?;
    ptrace::setregs(process, set_cpuid(saved))?;
    ptrace::step(process, None)?;
    waitpid(process, None)?;
    let result = ptrace::getregs(process)?.rax;
    ptrace::write(process, at, code)?;
    ptrace::setregs(process, saved)?;
    ensure!(result == 0, "neither the CPU nor the hypervisor makes CPUID fault");
    Ok(())
}

/// The registers for `arch_prctl(ARCH_SET_CPUID, 0)`.
fn set_cpuid(mut registers: nix::libc::user_regs_struct) -> nix::libc::user_regs_struct {
    registers.rax = nix::libc::SYS_arch_prctl as u64;
    registers.rdi = ARCH_SET_CPUID;
    registers.rsi = 0;
    registers
}

/// Whether the thread is at a CPUID; it has the answer then, and goes on behind it.
fn answer(thread: Pid) -> Result<bool> {
    let mut registers = ptrace::getregs(thread)?;
    if ptrace::read(thread, registers.rip as *mut c_void)? & 0xffff != CPUID {
        return Ok(false);
    }
    // Both are 32-bit registers to it.
    let result = __cpuid_count(registers.rax as u32, registers.rcx as u32);
    registers.rax = result.eax.into();
    registers.rbx = result.ebx.into();
    registers.rcx = result.ecx.into();
    registers.rdx = result.edx.into();
    registers.rip += INSTRUCTION_BYTES;
    ptrace::setregs(thread, registers)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C library's start executes some; none at all would mean that nothing was counted.
    #[test]
    fn the_start_of_a_program_is_counted() {
        match count(&mut Command::new("true")) {
            Ok(count) => assert!((5..1000).contains(&count), "{count}"),
            Err(error) => {
                let reason = format!("{error:#}");
                let expected = ["neither the CPU", "EPERM"].iter().any(|known| reason.contains(known));
                assert!(expected, "{reason}");
                isomer_testing::skip("the_start_of_a_program_is_counted", &reason);
            }
        }
    }
}
