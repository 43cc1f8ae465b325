//! In: this process's control groups, of either version. Out: how much memory they leave it. Never here: a guess; where
//! no limit is set or none can be read, there is no answer.

use std::fs;
use std::path::{Path, PathBuf};

/// What a copy of an artifact must leave, for an engine and a small guest, in bytes.
pub(crate) const HEADROOM_BYTES: u64 = 4 << 20;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// How many bytes this process may still take before a control group that it is in ends it: pages of files that can be
/// dropped do not count, and swap space that is left does.
pub(crate) fn available_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    available_below(Path::new(CONTROL_GROUPS), &groups)
}

/// The same for the hierarchies that are mounted at `root`, and the text of `/proc/self/cgroup`.
fn available_below(root: &Path, groups: &str) -> Option<u64> {
    let of_line = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (files, mounts) = match controllers {
            "" => (&VERSION_2, vec![root.to_owned(), root.join("unified")]),
            some if some.split(',').any(|name| name == "memory") => (&VERSION_1, vec![root.join("memory")]),
            _ => return None,
        };
        // In a container the hierarchy may be mounted from the container's own group on, whose path here is another.
        let groups = mounts
            .iter()
            .flat_map(|mount| Path::new(path.trim_start_matches('/')).ancestors().map(|it| mount.join(it)));
        groups.filter_map(|group| files.available(&group)).min()
    };
    groups.lines().filter_map(of_line).min()
}

/// The files of a group, by the version of control groups.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: pages of files, which the kernel drops before it ends a process.
    reclaimable: [&'static str; 2],
    swap: Option<[&'static str; 2]>,
}

const VERSION_2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
    swap: Some(["memory.swap.max", "memory.swap.current"]),
};

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
    swap: None,
};

/// From here on a limit of version 1 means no limit: it reads as the largest multiple of a page.
const UNLIMITED_BYTES: u64 = 1 << 62;

impl Files {
    fn available(&self, group: &Path) -> Option<u64> {
        let limit = number(group.join(self.limit)).filter(|limit| *limit < UNLIMITED_BYTES)?;
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
        assert_eq!(available_below(root.path(), "0::/a/b\n"), Some(900));
        group(root.path(), "a/b", &[("memory.max", "800\n")]);
        assert_eq!(available_below(root.path(), "0::/a/b\n"), Some(100));
        group(root.path(), "a/b", &[("memory.max", "500\n")]);
        assert_eq!(available_below(root.path(), "0::/a/b\n"), Some(0));
    }

    #[test]
    fn version_1_is_read_where_it_is_mounted_and_in_a_container() {
        let root = tempfile::tempdir().expect("there is room");
        let stat = ("memory.stat", "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20\n");
        let unlimited = ("memory.limit_in_bytes", "9223372036854771712\n");
        group(root.path(), "memory", &[("memory.limit_in_bytes", "1000\n"), ("memory.usage_in_bytes", "150\n"), stat]);
        group(root.path(), "memory/a", &[unlimited, ("memory.usage_in_bytes", "1\n")]);
        for groups in ["4:cpu,memory:/a\n0::/\n", "4:memory:/kubepods/not/mounted\n"] {
            assert_eq!(available_below(root.path(), groups), Some(900), "{groups}");
        }
    }

    #[test]
    fn without_a_limit_there_is_no_answer() {
        let root = tempfile::tempdir().expect("there is room");
        group(root.path(), "a", &[("memory.max", "max\n"), ("memory.current", "900\n")]);
        for groups in ["", "nonsense", "0::/a\n", "0::/b\n", "7:blkio:/a\n"] {
            assert_eq!(available_below(root.path(), groups), None, "{groups}");
        }
    }
}
