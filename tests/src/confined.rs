//! Calls as a hardened server makes them. In: a [`Call`] and what is taken from its process. Out: the same call, in a
//! process that gives that up before it starts. Never here: what a program does about it.

use crate::{Call, program};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// What is taken from a process.
#[derive(Clone, Debug)]
pub enum Confinement {
    /// No memory that was writable becomes executable: `prctl(PR_SET_MDWE)`, Linux 6.3.
    MemoryDenyWriteExecute,
    /// A system call fails, as under a seccomp filter.
    Deny(Deny),
    /// A resource limit, soft and hard.
    Limit {
        /// `libc::RLIMIT_AS` and the like.
        resource: u32,
        /// Its value.
        value: u64,
    },
    /// It runs in this control group.
    ControlGroup(PathBuf),
    /// `/proc` is empty.
    NoProc,
}

/// A control group for one test, removed with it.
pub struct ControlGroup {
    path: PathBuf,
    /// The file of its limit.
    limit: &'static str,
}

impl ControlGroup {
    /// One whose members together take no more than `bytes` of memory, or why this machine makes none.
    pub fn with_memory_bytes_max(bytes: u64) -> Result<ControlGroup, String> {
        ControlGroup::new("memory", ["memory.max", "memory.limit_in_bytes"], bytes)
    }

    /// One that holds no more than `processes`, threads included.
    pub fn with_processes_max(processes: u64) -> Result<ControlGroup, String> {
        ControlGroup::new("pids", ["pids.max", "pids.max"], processes)
    }

    /// `limits` are the names of the file in versions 2 and 1.
    fn new(controller: &str, limits: [&'static str; 2], value: u64) -> Result<ControlGroup, String> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("isomer-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let root = Path::new("/sys/fs/cgroup");
        let version_2 = fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
        let (parent, limit) = if version_2.split_whitespace().any(|it| it == controller) {
            (root.to_owned(), limits[0])
        } else {
            (root.join(controller), limits[1])
        };
        let group = parent.join(name);
        let failed = |error: io::Error| format!("no control group for `{controller}`: {error}");
        fs::create_dir(&group).map_err(failed)?;
        let group = ControlGroup { path: group, limit };
        group.set_max(value).map_err(failed)?;
        Ok(group)
    }

    /// Has it hold no more than this, instead.
    ///
    /// # Errors
    /// Where its members have more than that already.
    pub fn set_max(&self, value: u64) -> io::Result<()> {
        fs::write(self.path.join(self.limit), value.to_string())
    }

    /// For the calls that run in it.
    pub fn confinement(&self) -> Confinement {
        Confinement::ControlGroup(self.path.clone())
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // The last member may still be ending.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A system call that a seccomp filter denies.
#[derive(Clone, Debug)]
pub struct Deny {
    /// Its number, `libc::SYS_memfd_create`.
    pub call: i64,
    /// What it fails with.
    pub errno: i32,
    /// Only when all of these hold.
    pub only_if: Vec<Condition>,
}

/// What must hold of an argument.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u32,
    /// These bits of its lower half …
    pub mask: u32,
    /// … are not all 0, or are.
    pub set: bool,
}

impl Deny {
    /// Always fails with `errno`.
    pub fn always(call: i64, errno: i32) -> Deny {
        Deny { call, errno, only_if: Vec::new() }
    }

    /// As systemd's `MemoryDenyWriteExecute=`: no protection is changed to executable. (It also denies mappings that are
    /// writable and executable, which nothing here needs.)
    pub fn executable_protection() -> Deny {
        let executable = Condition { argument: 2, mask: libc::PROT_EXEC as u32, set: true };
        Deny { call: libc::SYS_mprotect, errno: libc::EPERM, only_if: vec![executable] }
    }

    /// No file or memory is mapped executable but what the dynamic linker maps, which alone still says `MAP_DENYWRITE`.
    pub fn executable_mapping() -> Deny {
        let executable = Condition { argument: 2, mask: libc::PROT_EXEC as u32, set: true };
        let linker = Condition { argument: 3, mask: libc::MAP_DENYWRITE as u32, set: false };
        Deny { call: libc::SYS_mmap, errno: libc::EPERM, only_if: vec![executable, linker] }
    }

    /// The filter, in the kernel's classic BPF.
    fn filter(&self) -> Vec<libc::sock_filter> {
        const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
        const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
        let step = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
        // Two steps a condition, then the denial; after that comes what allows.
        let to_allow = |left: usize| u8::try_from(2 * left + 1).expect("few conditions");
        let mut steps = vec![step(LOAD, 0, 0, 0), step(EQUAL, self.call as u32, 0, to_allow(self.only_if.len()))];
        for (index, Condition { argument, mask, set }) in self.only_if.iter().enumerate() {
            let away = to_allow(self.only_if.len() - index - 1);
            let lower_half = if cfg!(target_endian = "big") { 4 } else { 0 };
            steps.push(step(LOAD, 16 + 8 * argument + lower_half, 0, 0));
            steps.push(if *set { step(ANY_BIT, *mask, 0, away) } else { step(ANY_BIT, *mask, away, 0) });
        }
        steps.push(step(RETURN, libc::SECCOMP_RET_ERRNO | self.errno as u32, 0, 0));
        steps.push(step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
        steps
    }
}

impl Confinement {
    /// Why this machine cannot take that from a process, if it cannot.
    pub fn unavailable(&self) -> Option<String> {
        let tried = program("true").confined(self.clone()).command.output();
        match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!("{self:?}: {}", output.status)),
            Err(error) => Some(format!("{self:?}: {error}")),
        }
    }
}

impl Call {
    /// Takes something from its process. What is taken first must leave room for what is taken next.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn confined(mut self, confinement: Confinement) -> Call {
        let confine = prepare(confinement);
        // SAFETY: between fork and exec `confine` makes system calls on memory that was allocated before, and nothing
        // else.
        unsafe { self.command.pre_exec(confine) };
        self
    }
}

/// All that allocates, and then what is left to do in the child.
fn prepare(confinement: Confinement) -> Box<dyn FnMut() -> io::Result<()> + Send + Sync> {
    match confinement {
        Confinement::MemoryDenyWriteExecute => Box::new(deny_write_execute),
        Confinement::Deny(deny) => {
            let filter = deny.filter();
            Box::new(move || install(&filter))
        }
        Confinement::Limit { resource, value } => Box::new(move || limit(resource, value)),
        Confinement::ControlGroup(group) => {
            let members = CString::new(group.join("cgroup.procs").as_os_str().as_bytes()).expect("a path has no NUL");
            Box::new(move || join(&members))
        }
        Confinement::NoProc => Box::new(hide_proc),
    }
}

#[allow(unsafe_code)]
fn deny_write_execute() -> io::Result<()> {
    // linux/prctl.h
    const PR_SET_MDWE: i32 = 65;
    const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: it takes numbers alone.
    check(unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) })
}

#[allow(unsafe_code)]
fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the filter, which lives until after the calls, and does not write to it.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}

#[allow(unsafe_code)]
fn limit(resource: u32, value: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: `limit` lives until after the call.
    check(unsafe { libc::setrlimit(resource as _, &raw const limit) })
}

#[allow(unsafe_code)]
fn join(members: &CString) -> io::Result<()> {
    // SAFETY: the path ends in NUL, and "0", which stands for the writer, has one byte.
    unsafe {
        let file = libc::open(members.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(file)?;
        check(if libc::write(file, c"0".as_ptr().cast(), 1) == 1 { 0 } else { -1 })
    }
}

#[allow(unsafe_code)]
fn hide_proc() -> io::Result<()> {
    // SAFETY: all strings end in NUL.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let flags = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()))?;
        check(libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()))
    }
}

fn check(returned: i32) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
