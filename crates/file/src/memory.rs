//! In: this process's control groups, of either version. Out: how much memory they leave it, and how many of its processes
//! the kernel ended for lack of it. Never here: a guess; where no limit is set or none can be read, there is no answer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a copy of a large file must leave for the rest of the program, in bytes.
pub const HEADROOM_BYTES: u64 = 4 << 20;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// How many bytes this process may still take before a control group that it is in ends it: pages of files that can be
/// dropped do not count, and swap space that is left does.
pub fn available_bytes() -> Option<u64> {
    available_in(&ControlGroups::here()?)
}

/// What a control group refuses, as an error of the system: the source of errors that say more, so that a caller who knows none
/// of these sees that the memory may be there later. `text` is part of what they say.
pub fn refusal(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, text.into())
}

/// The strictest limit on the memory of a control group that this process is in, in bytes.
pub fn limit_bytes() -> Option<u64> {
    limit_in(&ControlGroups::here()?)
}

/// How many processes of this process's own control group the kernel has ended because memory ran out: the group's, that of
/// a group above, or the machine's.
pub fn killed_count() -> Option<u64> {
    killed_in(&ControlGroups::here()?)
}

fn available_in(groups: &ControlGroups) -> Option<u64> {
    groups.all().filter_map(|(files, group)| files.available(&group)).min()
}

fn limit_in(groups: &ControlGroups) -> Option<u64> {
    groups.all().filter_map(|(files, group)| files.limit(&group)).min()
}

/// The nearest group with a count is the process's own.
fn killed_in(groups: &ControlGroups) -> Option<u64> {
    groups.all().find_map(|(files, group)| files.killed(&group))
}

/// The groups of a process.
struct ControlGroups {
    /// Where the hierarchies are mounted.
    root: PathBuf,
    /// The text of `/proc/self/cgroup`.
    text: String,
}

impl ControlGroups {
    fn here() -> Option<ControlGroups> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        Some(ControlGroups { root: CONTROL_GROUPS.into(), text })
    }

    /// Those that may limit memory, of each hierarchy the process's own first, then all above it.
    fn all(&self) -> impl Iterator<Item = (&'static Files, PathBuf)> {
        self.text.lines().filter_map(|line| self.of_line(line)).flatten()
    }

    fn of_line(&self, line: &str) -> Option<Vec<(&'static Files, PathBuf)>> {
        let root = &self.root;
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (files, mounts) = match controllers {
            "" => (&VERSION_2, vec![root.clone(), root.join("unified")]),
            some if some.split(',').any(|name| name == "memory") => (&VERSION_1, vec![root.join("memory")]),
            _ => return None,
        };
        // In a container the hierarchy may be mounted from the container's own group on, whose path here is another.
        let ancestors = |mount: &PathBuf| {
            let mount = mount.clone();
            Path::new(path.trim_start_matches('/')).ancestors().map(move |it| (files, mount.join(it)))
        };
        Some(mounts.iter().flat_map(ancestors).collect())
    }
}

/// The files of a group, by the version of control groups.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// It has a line `oom_kill` with a count.
    events: &'static str,
    /// In `memory.stat`: pages of files, which the kernel drops before it ends a process.
    reclaimable: [&'static str; 2],
    swap: Option<[&'static str; 2]>,
}

const VERSION_2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    events: "memory.events",
    reclaimable: ["inactive_file", "active_file"],
    swap: Some(["memory.swap.max", "memory.swap.current"]),
};

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    events: "memory.oom_control",
    reclaimable: ["total_inactive_file", "total_active_file"],
    swap: None,
};

/// From here on a limit of version 1 means no limit: it reads as the largest multiple of a page.
const UNLIMITED_BYTES: u64 = 1 << 62;

impl Files {
    fn limit(&self, group: &Path) -> Option<u64> {
        number(group.join(self.limit)).filter(|limit| *limit < UNLIMITED_BYTES)
    }

    fn killed(&self, group: &Path) -> Option<u64> {
        let events = fs::read_to_string(group.join(self.events)).ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }

    fn available(&self, group: &Path) -> Option<u64> {
        let limit = self.limit(group)?;
        let usage = number(group.join(self.usage))?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = stat
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(key, _)| self.reclaimable.contains(key))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum();
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable)) + self.swap_bytes(group))
    }

    fn swap_bytes(&self, group: &Path) -> u64 {
        let Some([limit, usage]) = self.swap.map(|files| files.map(|file| number(group.join(file)))) else { return 0 };
        let in_group = limit.unwrap_or(u64::MAX).saturating_sub(usage.unwrap_or(0));
        in_group.min(free_swap_bytes().unwrap_or(0))
    }
}

/// A file that holds one number; `max` means no limit.
fn number(file: PathBuf) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn free_swap_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("SwapFree:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(root: &Path, text: &str) -> ControlGroups {
        ControlGroups { root: root.to_owned(), text: text.to_owned() }
    }

    fn group(root: &Path, path: &str, files: &[(&str, &str)]) {
        let group = root.join(path);
        fs::create_dir_all(&group).expect("there is room");
        files.iter().for_each(|(name, text)| fs::write(group.join(name), text).expect("there is room"));
    }

    #[test]
    fn the_strictest_group_on_the_way_up_decides() {
        let root = tempfile::tempdir().expect("there is room");
        let stat = ("memory.stat", "anon 600\nfile 300\ninactive_file 200\nactive_file 100\n");
        let none = ("memory.swap.max", "0\n");
        group(root.path(), "a", &[("memory.max", "1500\n"), ("memory.current", "900\n"), stat, none]);
        group(root.path(), "a/b", &[("memory.max", "max\n"), ("memory.current", "700\n"), none]);
        assert_eq!(available_in(&groups(root.path(), "0::/a/b\n")), Some(900));
        group(root.path(), "a/b", &[("memory.max", "800\n")]);
        assert_eq!(available_in(&groups(root.path(), "0::/a/b\n")), Some(100));
        group(root.path(), "a/b", &[("memory.max", "500\n")]);
        assert_eq!(available_in(&groups(root.path(), "0::/a/b\n")), Some(0));
    }

    #[test]
    fn version_1_is_read_where_it_is_mounted_and_in_a_container() {
        let root = tempfile::tempdir().expect("there is room");
        let stat = ("memory.stat", "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20\n");
        let unlimited = ("memory.limit_in_bytes", "9223372036854771712\n");
        group(root.path(), "memory", &[("memory.limit_in_bytes", "1000\n"), ("memory.usage_in_bytes", "150\n"), stat]);
        group(root.path(), "memory/a", &[unlimited, ("memory.usage_in_bytes", "1\n")]);
        for text in ["4:cpu,memory:/a\n0::/\n", "4:memory:/kubepods/not/mounted\n"] {
            assert_eq!(available_in(&groups(root.path(), text)), Some(900), "{text}");
        }
    }

    #[test]
    fn without_a_limit_there_is_no_answer() {
        let root = tempfile::tempdir().expect("there is room");
        group(root.path(), "a", &[("memory.max", "max\n"), ("memory.current", "900\n")]);
        for text in ["", "nonsense", "0::/a\n", "0::/b\n", "7:blkio:/a\n"] {
            assert_eq!(available_in(&groups(root.path(), text)), None, "{text}");
        }
    }

    #[test]
    fn the_processes_that_were_ended_are_counted_in_the_own_group() {
        let root = tempfile::tempdir().expect("there is room");
        group(root.path(), "a", &[("memory.max", "1500\n"), ("memory.events", "low 0\noom 9\noom_kill 5\n")]);
        group(root.path(), "a/b", &[("memory.max", "800\n"), ("memory.events", "oom_kill 2\n")]);
        assert_eq!(killed_in(&groups(root.path(), "0::/a/b\n")), Some(2));
        assert_eq!(limit_in(&groups(root.path(), "0::/a/b\n")), Some(800));
        assert_eq!(limit_in(&groups(root.path(), "0::/a\n")), Some(1500));
        let control = ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        group(root.path(), "memory", &[("memory.limit_in_bytes", "9223372036854771712\n"), control]);
        let text = "4:memory:/\n0::/elsewhere\n";
        assert_eq!((killed_in(&groups(root.path(), text)), limit_in(&groups(root.path(), text))), (Some(3), None));
        assert_eq!(killed_in(&groups(root.path(), "0::/elsewhere\n")), None);
    }
}
