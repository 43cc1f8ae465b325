//! Profilers: `perf` finds the names of a guest's functions, also of an artifact that is copied. What they are told is
//! written where no other user leads it elsewhere.

use isomer_tests::farm::settings;
use isomer_tests::native::native;
use isomer_tests::users::User;
use isomer_tests::{Call, binaries, guest, isomer, isomer_run, program, scratch, skip, wait_until};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::PathBuf;
use tempfile::TempDir;

#[test]
fn perf_is_told_which_function_is_where() {
    let directory = scratch();
    let text = "(module (func $hot_inner (loop (br 0))) (func (export \"_start\") (call $hot_inner)))";
    fs::write(directory.path().join("hot.wat"), text).unwrap();
    isomer().line(&format!("compile hot.wat -t {} -o hot.cwasm", native().baseline)).dir(directory.path()).ok();
    let running = isomer_run().line("run --profile perfmap --allow-unsigned hot.cwasm").dir(directory.path()).start();
    let map = format!("/tmp/perf-{}.map", running.id());
    wait_until("the map names the function", || fs::read_to_string(&map).unwrap_or_default().contains("hot_inner"));
    // `perf` uses the map only for code that no file is behind.
    let maps = fs::read_to_string(format!("/proc/{}/maps", running.id())).unwrap();
    let line = fs::read_to_string(&map).unwrap().lines().find(|line| line.contains("hot_inner")).unwrap().to_owned();
    let address = u64::from_str_radix(line.split(' ').next().unwrap().trim_start_matches("0x"), 16).unwrap();
    let mapping = maps.lines().find(|mapping| {
        let (start, end) = mapping.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        (number(start)..number(end)).contains(&address)
    });
    assert!(mapping.is_some_and(|mapping| mapping.trim_end().ends_with(" 0")), "{mapping:?}");
    running.signal("KILL");
    running.wait();
    fs::remove_file(map).unwrap();
}

/// `isomer-run` as the first process of a namespace, whose number is 1, after a shell did `prepare` there. Its `/tmp` is a
/// file system of its own; `file` and the artifact lie elsewhere.
fn first_process(scene: &Scene, prepare: &str, line: &str) -> Call {
    let script = format!("{prepare} && cd \"$1\" && exec \"$0\" run --allow-unsigned {line} \"$2\"");
    let call = program("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    call.arg(binaries().join("isomer-run"))
        .arg(&scene.work)
        .arg(scene.directory.path().join("sha256.cwasm"))
        .stdin("abc")
}

/// A file of root's, an artifact, and a directory to work in, none of them below `/tmp`.
struct Scene {
    directory: TempDir,
    work: PathBuf,
}

impl Scene {
    fn new(test: &str) -> Option<Scene> {
        let available = program("unshare").args(["--mount", "--pid", "--fork", "true"]).run().code() == 0;
        if User::several::<1>().is_none() || !available {
            skip(test, "it takes root, setpriv and namespaces");
            return None;
        }
        let directory = tempfile::tempdir_in(binaries()).unwrap();
        let artifact = directory.path().join("sha256.cwasm");
        isomer().arg("compile").arg(guest("sha256")).args(["-t", native().baseline, "-o"]).arg(artifact).ok();
        fs::write(directory.path().join("file"), "root's").unwrap();
        let work = directory.path().join("work");
        fs::create_dir(&work).unwrap();
        Some(Scene { directory, work })
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("file")
    }

    fn is_unchanged(&self) -> bool {
        fs::read(self.file()).unwrap() == b"root's"
    }
}

#[test]
fn a_map_for_perf_is_written_to_no_other_file() {
    let Some(scene) = Scene::new("a_map_for_perf_is_written_to_no_other_file") else { return };
    let _settings = settings();
    let file = scene.file();
    let shared = "mount -t tmpfs -o mode=1777 tmpfs /tmp";
    let link = format!("{shared} && ln -s {} /tmp/perf-1.map && chown -h 61000:61000 /tmp/perf-1.map", file.display());
    let foreign = format!("{shared} && echo x > /tmp/perf-1.map && chown 61000:61000 /tmp/perf-1.map");
    for (name, prepare) in [
        ("link", link.as_str()),
        ("foreign", foreign.as_str()),
        ("directory", "mount -t tmpfs -o mode=0777 tmpfs /tmp"),
        ("owner", "mount -t tmpfs -o mode=0755,uid=61000 tmpfs /tmp"),
        ("read_only", "mount -t tmpfs -o ro tmpfs /tmp"),
    ] {
        let refused = first_process(&scene, prepare, "--profile perfmap").fails();
        insta::assert_snapshot!(format!("profile_perfmap_{name}"), refused.shown(scene.directory.path()));
        assert!(scene.is_unchanged(), "{name}");
    }
    // What an earlier process of this number left is not added to, and a link of this user's is not followed.
    let stale = format!("{shared} && ln -s {} /tmp/perf-1.map", file.display());
    let seen = "--profile perfmap --dir /tmp::/tmp";
    first_process(&scene, &stale, seen).ok();
    assert!(scene.is_unchanged());
}

#[test]
fn a_jitdump_is_written_to_no_other_file() {
    let Some(scene) = Scene::new("a_jitdump_is_written_to_no_other_file") else { return };
    let _settings = settings();
    let dump = scene.work.join("jit-1.dump");
    let jitdump = || first_process(&scene, "true", "--profile jitdump");
    jitdump().ok();
    assert!(fs::metadata(&dump).unwrap().len() > 1000);
    fs::remove_file(&dump).unwrap();
    symlink(scene.file(), &dump).unwrap();
    lchown(&dump, Some(61_000), Some(61_000)).unwrap();
    let refuses = |name: &str| {
        let refused = jitdump().fails();
        insta::assert_snapshot!(format!("profile_jitdump_{name}"), refused.shown(scene.directory.path()));
        assert!(scene.is_unchanged(), "{name}");
    };
    refuses("link");
    chown(&scene.work, Some(61_000), Some(61_000)).unwrap();
    refuses("owner");
    chown(&scene.work, Some(0), Some(0)).unwrap();
    fs::set_permissions(&scene.work, fs::Permissions::from_mode(0o777)).unwrap();
    refuses("directory");
    let noexec = format!("mount -t tmpfs -o noexec,mode=0755 tmpfs {}", scene.work.display());
    let refused = first_process(&scene, &noexec, "--profile jitdump").fails();
    insta::assert_snapshot!("profile_jitdump_noexec", refused.shown(scene.directory.path()));
}

#[test]
fn a_core_dump_is_written_to_no_other_file_and_read_by_no_other_user() {
    let Some(scene) = Scene::new("a_core_dump_is_written_to_no_other_file_and_read_by_no_other_user") else { return };
    let artifact = scene.directory.path().join("traps.cwasm");
    isomer().arg("compile").arg(guest("traps")).args(["-t", native().baseline, "-o"]).arg(&artifact).ok();
    // The directory is another user's, who knows the name of a partial file, too.
    chown(&scene.work, Some(61_000), Some(61_000)).unwrap();
    let link = |name: &str| {
        let link = scene.work.join(name);
        symlink(scene.file(), &link).unwrap();
        lchown(&link, Some(61_000), Some(61_000)).unwrap();
    };
    let traps = |scene: &Scene| {
        let script = "cd \"$1\" && exec \"$0\" run --allow-unsigned --coredump=core --invoke oob_load \"$2\"";
        let call = program("unshare").args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]);
        call.arg(binaries().join("isomer-run")).arg(&scene.work).arg(&artifact).run()
    };
    link("core.1.partial");
    let ran = traps(&scene);
    assert!(scene.is_unchanged(), "{ran}");
    let core = fs::metadata(scene.work.join("core")).unwrap();
    assert_eq!((core.uid(), core.mode() & 0o777), (0, 0o600), "{ran}");
    fs::remove_file(scene.work.join("core")).unwrap();
    link("core");
    let refused = traps(&scene);
    assert!(scene.is_unchanged() && refused.stderr().contains("is a symbolic link of the user 61000"), "{refused}");
}
