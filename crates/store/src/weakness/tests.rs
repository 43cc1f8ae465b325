//! Each way in which another user could change a file, by owner and permissions, and its words.

use super::*;
use rustix::fs::fstat;
use std::fs::File;

const OWN: u32 = 1000;
const OTHER: u32 = 1001;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// The judgement of `steps` by the user `user`: each is an owner and a mode.
fn judged(user: u32, steps: &[(u32, u32)]) -> Vec<Weakness> {
    let open = File::open("/proc").expect("it can be read");
    let mut judgement = Judgement { user, sticky: false, weaknesses: Vec::new() };
    for (owner, mode) in steps {
        let mut stat = fstat(&open).expect("it is open");
        (stat.st_uid, stat.st_mode) = (*owner, *mode);
        judgement.add(Path::new("/a"), &open, &stat);
    }
    judgement.weaknesses
}

#[test]
fn each_step_of_a_path_is_judged_by_its_owner_and_mode() {
    let path = || PathBuf::from("/a");
    let owner = |user| Weakness::Owner { path: path(), user };
    let writable = |mode| Weakness::Writable { path: path(), mode };
    let tmp = (ROOT, DIRECTORY | 0o1777);
    for (user, steps, expected) in [
        (ROOT, &[(ROOT, DIRECTORY | 0o755), (ROOT, FILE | 0o644)][..], vec![]),
        (OWN, &[(ROOT, FILE | 0o644)], vec![]),
        (OWN, &[(OWN, FILE | 0o644)], vec![Weakness::Own(path())]),
        (OWN, &[(OTHER, FILE | 0o644)], vec![owner(OTHER)]),
        (ROOT, &[(OTHER, FILE | 0o644)], vec![owner(OTHER)]),
        (ROOT, &[(ROOT, FILE | 0o664)], vec![writable(0o664)]),
        (ROOT, &[(ROOT, FILE | 0o646)], vec![writable(0o646)]),
        (ROOT, &[(ROOT, DIRECTORY | 0o777)], vec![writable(0o777)]),
        // Only a directory of root's may be written by all, and only if others can remove nothing there.
        (ROOT, &[tmp, (ROOT, FILE | 0o644)], vec![]),
        (ROOT, &[(ROOT, FILE | 0o1777)], vec![writable(0o1777)]),
        (ROOT, &[(OTHER, DIRECTORY | 0o1777)], vec![owner(OTHER), writable(0o1777)]),
        // What another user put there does not count for less when a third user runs it.
        (OWN, &[tmp, (OTHER, FILE | 0o644)], vec![Weakness::Sticky(path())]),
        (OWN, &[tmp, (OWN, FILE | 0o644)], vec![Weakness::Own(path())]),
        (ROOT, &[tmp, (OTHER, FILE | 0o644)], vec![owner(OTHER)]),
        // The bit means nothing where others cannot write, nor for what lies deeper.
        (OWN, &[(ROOT, DIRECTORY | 0o1755), (OTHER, FILE | 0o644)], vec![owner(OTHER)]),
        (OWN, &[tmp, (ROOT, DIRECTORY | 0o755), (OTHER, FILE | 0o644)], vec![owner(OTHER)]),
    ] {
        assert_eq!(judged(user, steps), expected, "{user}: {steps:?}");
    }
}

#[test]
fn a_link_is_judged_by_its_owner_alone() {
    let open = File::open("/proc").expect("it can be read");
    let mut stat = fstat(&open).expect("it is open");
    (stat.st_uid, stat.st_mode) = (OTHER, 0o120_777);
    let mut judgement = Judgement { user: OWN, sticky: true, weaknesses: Vec::new() };
    let path = PathBuf::from("/tmp/link");
    judgement.add_link(&path, &stat);
    assert_eq!(judgement.weaknesses(), [Weakness::Link(path.clone()), Weakness::Sticky(path.clone())]);
    // A link to an absolute path leaves the directory that all can write.
    judgement.back_to_root();
    judgement.add_link(&path, &stat);
    assert_eq!(judgement.weaknesses()[3], Weakness::Owner { path, user: OTHER });
}

#[test]
fn each_weakness_has_its_words_and_only_some_are_another_users_choice() {
    let path = || PathBuf::from("/s/f");
    let root = geteuid().is_root();
    for (weakness, words, is_foreign) in [
        (Weakness::Link(path()), "`/s/f` is a symbolic link", false),
        (Weakness::Own(path()), "`/s/f` belongs to the user who runs this", false),
        (Weakness::Owner { path: path(), user: 7 }, "`/s/f` belongs to the user 7, not to root", root),
        (Weakness::Writable { path: path(), mode: 0o664 }, "its group can write `/s/f` (mode 0664)", true),
        (Weakness::Writable { path: path(), mode: 0o100_002 }, "every user can write `/s/f` (mode 0002)", true),
        (Weakness::Sticky(path()), "`/s/f` lies where every user can write, and is not root's", true),
        (
            Weakness::Mount { path: path(), option: "noexec" },
            "`/s/f` lies on a file system that is mounted noexec",
            false,
        ),
        (Weakness::FileSystem { path: path(), kind: "NFS".to_owned() }, "`/s/f` lies on NFS", false),
        (
            Weakness::OtherFileSystem { path: path(), records: PathBuf::from("/r") },
            "`/s/f` lies on another file system than `/r`, where this machine records what it hashed",
            false,
        ),
        (
            Weakness::Served { path: path(), user: Some(7) },
            "`/s/f` lies on a file system that a program of the user 7 serves",
            root,
        ),
        (
            Weakness::Served { path: path(), user: None },
            "`/s/f` lies on a FUSE file system, and which user serves it cannot be determined",
            true,
        ),
        (Weakness::Namespace { reason: "no /proc".to_owned() }, "no /proc", false),
        (Weakness::NotRecorded(path()), "this machine has no record that it hashed `/s/f`", false),
        (Weakness::OpenForWriting(path()), "a process may have `/s/f` open for writing", false),
        (
            Weakness::Changed { path: path(), what: "inode" },
            "`/s/f` is not the file that this machine hashed: its inode differs",
            false,
        ),
    ] {
        assert_eq!(weakness.to_string(), words);
        assert_eq!(weakness.is_foreign(), is_foreign, "{weakness}");
    }
}
