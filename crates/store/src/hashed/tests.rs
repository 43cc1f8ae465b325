//! What tells one file from another, and which files a record counts for.

use super::*;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

#[test]
fn writers_are_found_also_those_that_have_only_a_mapping() {
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().join("file");
    fs::write(&path, b"bytes").expect("there is room");
    let file = File::open(&path).expect("it exists");
    assert!(has_no_writer(&file));
    // Without waiting: that no lease is left behind, for which a writer would have to wait.
    let writer = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let writer = writer.expect("it is ours");
    assert!(!has_no_writer(&file));
    let (protection, flags) =
        (rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE, rustix::mm::MapFlags::SHARED);
    #[allow(unsafe_code)]
    // SAFETY: the kernel chooses the address, and nothing but `munmap` uses the mapping.
    let mapped = unsafe { rustix::mm::mmap(std::ptr::null_mut(), 5, protection, flags, &writer, 0) };
    let mapped = mapped.expect("it can be mapped");
    drop(writer);
    assert!(!has_no_writer(&file), "it is mapped");
    #[allow(unsafe_code)]
    // SAFETY: as above.
    unsafe { rustix::mm::munmap(mapped, 5) }.expect("it is mapped");
    assert!(has_no_writer(&file));
}

#[test]
fn every_change_of_a_file_is_another_identity() {
    let dir = tempfile::tempdir().expect("there is room");
    let path = dir.path().join("file");
    let identity = || Identity::of(&File::open(&path).expect("it exists")).expect("the kernel has statx");
    fs::write(&path, b"bytes").expect("there is room");
    let before = identity();
    assert_eq!(identity().difference(&before), None);
    let modified = fs::metadata(&path).expect("it exists").modified().expect("it is kept");
    let pause = || std::thread::sleep(std::time::Duration::from_millis(20));
    pause();
    fs::write(&path, b"other").expect("it is ours");
    let file = OpenOptions::new().write(true).open(&path).expect("it is ours");
    file.set_times(fs::FileTimes::new().set_modified(modified)).expect("it is ours");
    assert_eq!(identity().difference(&before), Some("time of change"));
    let before = identity();
    pause();
    fs::rename(&path, dir.path().join("away")).expect("it is ours");
    fs::rename(dir.path().join("away"), &path).expect("it is ours");
    assert_eq!(identity().difference(&before), Some("time of change"));
    fs::copy(&path, dir.path().join("copy")).expect("there is room");
    fs::rename(dir.path().join("copy"), &path).expect("it is ours");
    assert_eq!(identity().difference(&before), Some("inode"));
}

#[test]
fn each_part_of_an_identity_is_compared() {
    let recorded = Identity { inode: 1, size_bytes: 2, changed: (3, 4), born: Some((5, 6)) };
    assert_eq!(recorded.difference(&recorded), None);
    for (found, expected) in [
        (Identity { inode: 2, ..recorded.clone() }, "inode"),
        (Identity { size_bytes: 1, ..recorded.clone() }, "size"),
        (Identity { changed: (3, 5), ..recorded.clone() }, "time of change"),
        (Identity { changed: (4, 4), ..recorded.clone() }, "time of change"),
        (Identity { born: Some((5, 7)), ..recorded.clone() }, "time of birth"),
        (Identity { born: None, ..recorded.clone() }, "time of birth"),
        (Identity { inode: 2, size_bytes: 1, changed: (0, 0), born: None }, "inode"),
    ] {
        assert_eq!(found.difference(&recorded), Some(expected));
    }
}

/// `linux/magic.h`
#[test]
fn only_file_systems_whose_changes_this_kernel_makes_are_attested() {
    for kind in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994] {
        assert_eq!(unattested(kind), None, "{kind:#x}");
    }
    for (kind, words) in [
        (0x794c_7630, "overlayfs"),
        (0x6573_5546, "FUSE"),
        (0x6969, "NFS"),
        (0xff53_4d42, "SMB"),
        (0xfe53_4d42, "SMB"),
        (0x517b, "SMB"),
        (0x0102_1997, "9P"),
        (0x00c3_6400, "Ceph"),
        (0xf2f5_2010, "the type 0xf2f52010, expected ext4, XFS, Btrfs or tmpfs"),
    ] {
        assert!(unattested(kind).is_some_and(|found| found.contains(words)), "{kind:#x}");
    }
    let status = Directory::walk("/proc/self".as_ref()).expect("it can be walked").directory.file("status");
    let status = status.expect("it can be read").expect("it exists");
    let Some(Weakness::FileSystem { kind, .. }) = file_system(&status) else { panic!("/proc is no disk") };
    assert!(kind.contains("0x9fa0"), "{kind}");
    let mount = mount_of(&status.file).expect("tests run on Linux 5.8 or later");
    let expected = has_option(&list().expect("the kernel lists them"), mount, "noexec");
    let found = no_execution(&status).is_some_and(|it| matches!(it, Weakness::Mount { option: "noexec", .. }));
    assert_eq!(Some(found), expected);
}

#[test]
fn root_of_another_namespace_is_not_the_systems() {
    let reason = |users| match foreign_root(users) {
        Some(Weakness::Namespace { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(foreign_root(Ok(Some("         0          0 4294967295\n".to_owned()))), None);
    for users in ["0 1000 1\n", "0 0 1\n", "0 0 4294967295\n1 1 1\n", "1 0 4294967295\n", ""] {
        assert!(reason(Ok(Some(users.to_owned()))).contains("in this user namespace"), "{users}");
    }
    assert!(reason(Ok(None)).contains("is not the kernel's"));
    assert!(reason(Err(std::io::Error::other("denied"))).starts_with("cannot read `/proc/self/uid_map`"));
    let users = fs::read_to_string(USERS).expect("it can be read");
    assert_eq!(namespace(), foreign_root(Ok(Some(users))));
}

#[test]
fn a_mount_must_be_trusted_as_much_as_that_of_the_records() {
    use StatVfsMountFlags as Flags;
    let (none, both) = (Flags::empty(), Flags::NOSUID.union(Flags::NODEV));
    for (file, records, expected) in [
        (none, none, None),
        (none, both, None),
        (both, both, None),
        (Flags::NOSUID, none, Some("nosuid")),
        (Flags::NODEV, Flags::NOSUID, Some("nodev")),
        (both, Flags::NOSUID, Some("nodev")),
        (Flags::RDONLY, none, None),
    ] {
        assert_eq!(lost_option(file, records), expected, "{file:?} {records:?}");
    }
    // Mount 3 is idmapped, and of mount 4 nothing is known.
    let is_idmapped_of = |mount| [(2, false), (3, true)].into_iter().find(|(it, _)| *it == mount).map(|(_, it)| it);
    for (file, records, expected) in [
        (None, Some(1), false),
        (Some(3), Some(3), false),
        (Some(2), Some(1), false),
        (Some(3), Some(1), true),
        (Some(4), Some(1), true),
        (Some(3), None, true),
    ] {
        assert_eq!(shows_other_owners(file, records, is_idmapped_of), expected, "{file:?} {records:?}");
    }
    let status = File::open("/proc/self/status").expect("it can be read");
    let proc = mount_of(&status).expect("tests run on Linux 5.8 or later");
    assert_eq!((is_idmapped(proc), is_idmapped(u64::MAX)), (Some(false), None));
}
