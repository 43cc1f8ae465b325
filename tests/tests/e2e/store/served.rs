//! A file system that a program of another user's serves shows whatever owners and permissions that user likes.

use isomer_tests::farm::{ABC, Farm};
use isomer_tests::users::User;
use isomer_tests::{has_program, program, skip, wait_until};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A directory as another user serves it: all of it looks like root's.
struct Served(PathBuf);

impl Served {
    fn mount(user: User, from: &Path, at: PathBuf) -> Option<Served> {
        let id = user.id.to_string();
        // What fusermount3 does for a user, where the system lets users share what they serve.
        let caps = "+sys_admin,+dac_override";
        let mounted = program("setpriv")
            .args(["--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps", caps, "--ambient-caps", caps, "--"])
            .line("bindfs --force-user=root --force-group=root -o allow_other")
            .arg(from)
            .arg(&at)
            .run();
        println!("{mounted}");
        (mounted.code() == 0).then_some(Served(at))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        program("umount").arg(&self.0).run();
    }
}

#[test]
fn a_store_that_another_user_serves_runs_nothing() {
    let test = "a_store_that_another_user_serves_runs_nothing";
    let Some([attacker]) = User::several() else { return skip(test, "it takes root, and setpriv") };
    if !has_program("bindfs") {
        return skip(test, "bindfs is not installed");
    }
    let farm = Farm::with_store();
    fs::set_permissions(farm.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = attacker.directory(farm.path().join("served"), 0o755);
    attacker.give(&farm.store());
    // The directory above is root's, and so is all that is seen below.
    let Some(served) = Served::mount(attacker, &farm.store(), at) else {
        return skip(test, "this machine lets no program serve a file system");
    };
    wait_until("it is mounted", || fs::metadata(&served.0).is_ok_and(|it| it.uid() == 0));
    let run = |more: &str| farm.call(&format!("run {more} --store")).arg(&served.0).arg("sha256");
    let refused = run("").fails();
    let words = "lies on a file system that a program of the user 61000 serves";
    assert!(refused.stdout().is_empty() && refused.stderr().contains(words), "{refused}");
    let written = farm.call("activate sha256 --store").arg(&served.0).fails();
    assert!(written.stderr().contains(words), "{written}");
    // What a key signed runs, from sealed memory, wherever it lies.
    let ran = run("--explain --key one.pub").ok();
    assert!(ran.stdout().starts_with(ABC) && ran.stderr().contains("is copied into sealed memory"), "{ran}");
}
