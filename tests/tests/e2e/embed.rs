//! The examples of `isomer-runtime`, which are what an embedder reads, run on a signed release of their own modules.

use isomer_tests::{example, isomer, isomer_run, root, scratch};
use serde_json::Value;
use std::path::Path;
use std::sync::OnceLock;

/// The release of the examples' modules in `dist`, and `farm.pub`, whose key signed it.
fn signed() -> &'static Path {
    static RELEASE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let directory = RELEASE.get_or_init(|| {
        let directory = scratch();
        isomer().dir(directory.path()).line("keygen -o farm").ok();
        let modules = root().join("crates/run/examples/modules/isomer.toml");
        isomer().dir(directory.path()).arg("release").arg("-f").arg(modules).line("-o dist --sign farm.key").ok();
        directory
    });
    directory.path()
}

fn stdout(name: &str, arguments: &str) -> String {
    example(name).dir(signed()).line(arguments).ok().stdout()
}

#[test]
fn embed_calls_a_function_of_a_module_with_a_pinned_digest() {
    let selected = isomer_run().dir(signed()).line("select dist counter --key farm.pub --json").ok().json();
    let Value::String(digest) = &selected["digest"] else { panic!("{selected}") };
    assert_eq!(stdout("embed", &format!("dist counter {digest} next")), "[I32(1)] after 0 calls of the host\n");
}

#[test]
fn pooled_links_two_modules_in_one_engine() {
    let expected = "1 + 2 + 3 + 4 = 10, with 2 memories of the pool in use\n";
    assert_eq!(stdout("pooled", "dist farm.pub"), expected);
}

#[test]
fn async_host_suspends_guests_while_the_host_works() {
    assert_eq!(stdout("async_host", "dist farm.pub"), "10 naps\n");
}

#[test]
fn plugins_calls_each_plugin_in_a_store_of_its_own() {
    let expected = "greet: hello, Ada\ngreet: hello, Grace\nshout: Ada Ada\nshout: Grace Grace\n";
    assert_eq!(stdout("plugins", "dist farm.pub greet shout"), expected);
}

#[test]
fn deadline_stops_a_guest_that_never_returns() {
    assert_eq!(stdout("deadline", "dist farm.pub"), "stopped at its deadline\n");
}
