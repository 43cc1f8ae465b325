//! Files that exist and cannot be read: that is not damage, and nothing is replaced.

use crate::farm::{Farm, Server};
use isomer_contract::{Digest, chain};
use isomer_store::StoreError;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

/// `linux/capability.h`: `CAP_DAC_OVERRIDE` and `CAP_DAC_READ_SEARCH`, by which root reads what permissions deny.
const OVERRIDE: u32 = (1 << 1) | (1 << 2);
const VERSION_3: u32 = 0x2008_0522;

/// What `act` gives in a thread that permissions bind, also as root.
fn bound_by_permissions<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    let bind = || {
        // The version, and this thread; twice what is effective, permitted and inheritable.
        let (mut header, mut sets) = ([VERSION_3, 0], [0_u32; 6]);
        #[allow(unsafe_code)]
        // SAFETY: of this version, the kernel reads and writes so much.
        let bound = unsafe {
            libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) == 0 && {
                sets[0] &= !OVERRIDE;
                libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) == 0
            }
        };
        assert!(bound, "any thread may give up a capability");
    };
    thread::scope(|scope| {
        let acting = scope.spawn(|| {
            bind();
            act()
        });
        acting.join().expect("it does not panic")
    })
}

/// Whether the system denied it, as the error or one of its causes says.
fn is_denied(error: &StoreError) -> bool {
    chain(error).any(|error| error.to_string().contains("Permission denied"))
}

#[test]
fn a_version_that_cannot_be_read_is_not_left_out() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    server.activate(&release.source(), &farm.trust());
    let index = format!("installed/{}/index.json", release.index.hex());
    for (name, is_listed) in [("active/sum.json", false), (index.as_str(), true)] {
        let before = fs::metadata(server.path(name)).expect("it exists").permissions();
        fs::set_permissions(server.path(name), Permissions::from_mode(0o000)).expect("it is ours");
        let (installed, found) =
            bound_by_permissions(|| (server.store.installed().map(drop), server.store.find("resize").map(drop)));
        assert!(is_denied(&installed.expect_err("it cannot be read")), "{name}");
        assert_eq!(is_denied(&found.expect_err("it is not installed")), is_listed, "{name}");
        fs::set_permissions(server.path(name), before).expect("it is ours");
    }
    assert_eq!(server.active(), "sum:1.0.0");
}

#[test]
fn what_cannot_be_read_is_not_replaced_by_a_pull() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    server.activate(&release.source(), &farm.trust());
    let manifest = Digest::of(&release.manifest()).hex();
    for path in [
        server.artifact_path("pulley64"),
        server.path(&format!("installed/{}/install.json", release.index.hex())),
        server.path(&format!("installed/{}/blobs/sha256/{manifest}", release.index.hex())),
        server.path("active/sum.json"),
        server.path("counters.json"),
    ] {
        let before = (fs::metadata(&path).expect("it exists").permissions(), fs::read(&path).expect("it exists"));
        fs::set_permissions(&path, Permissions::from_mode(0o000)).expect("it is ours");
        let pulled = bound_by_permissions(|| server.pull_as(&release.source(), &farm.trust(), None, true));
        let error = pulled.expect_err("it cannot be read");
        assert!(is_denied(&error), "{}: {error}", path.display());
        fs::set_permissions(&path, before.0).expect("it is ours");
        assert_eq!(fs::read(&path).expect("it exists"), before.1);
    }
    assert_eq!(server.active(), "sum:1.0.0");
    assert_eq!(server.names("tmp"), [""; 0]);
}
