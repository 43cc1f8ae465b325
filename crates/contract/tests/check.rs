//! Every mismatch that [`check`] finds, with its words and its hint, and that it finds no other.

mod hosts;

use hosts::{host, requirements};
use isomer_contract::isa::Arch;
use isomer_contract::settings::Value;
use isomer_contract::{Hinted, Host, Requirements, check};

/// What is wrong, and what would help.
fn found(requirements: &Requirements, host: &Host) -> Vec<(String, String)> {
    let mismatches = check(requirements, host);
    mismatches.iter().map(|it| (it.to_string(), it.hint().expect("every mismatch has a hint"))).collect()
}

#[track_caller]
fn assert_found(requirements: &Requirements, host: &Host, expected: &[(&str, &str)]) {
    let found = found(requirements, host);
    let found: Vec<_> = found.iter().map(|(message, hint)| (message.as_str(), hint.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_host_with_all_that_is_needed_has_no_mismatch() {
    for target in ["x86-64-v1", "x86-64-v4", "neoverse-v2", "rva23u64", "z17"] {
        assert_found(&requirements(target), &host(target), &[]);
        let pulley = if target == "z17" { "pulley64be" } else { "pulley64" };
        assert_found(&requirements(pulley), &host(target), &[]);
    }
}

#[test]
fn each_mismatch_has_its_words_and_its_hint() {
    type Change = fn(&mut Requirements, &mut Host);
    let cases: [(Change, &[(&str, &str)]); 10] = [
        (
            |requirements, _| requirements.engine = "47".to_owned(),
            &[(
                "needs wasmtime 47; this host has 48",
                "compile the module with wasmtime 48, or update the runtime on this host",
            )],
        ),
        (
            |_, host| host.os = "windows".to_owned(),
            &[(
                "needs the operating system linux; this host has windows",
                "compile for a profile whose triple names windows",
            )],
        ),
        (
            |_, host| host.native_code = false,
            &[(
                "needs executable memory, which this host denies",
                "permit it (systemd: `MemoryDenyWriteExecute=no`; SELinux: `execmem`), or compile for Pulley, which needs none",
            )],
        ),
        (
            |_, host| {
                host.isa.remove("ssse3");
            },
            &[(
                "needs the extension `ssse3` (Supplemental SSE3. Intel SDM vol. 2, CPUID.01H:ECX[9])",
                "compile for a profile without `ssse3`",
            )],
        ),
        // The baseline is needed although no requirement names it, and every missing extension is listed.
        (
            |_, host| host.isa.retain(|name| !["sse2", "popcnt"].contains(&name.as_str())),
            &[
                (
                    "needs the extension `sse2` (SSE2. Intel SDM vol. 2, CPUID.01H:EDX[26]; psABI x86-64 baseline)",
                    "all native code for x86_64 needs it: compile for pulley64",
                ),
                (
                    "needs the extension `popcnt` (POPCNT. Intel SDM vol. 2, CPUID.01H:ECX[23])",
                    "compile for a profile without `popcnt`",
                ),
            ],
        ),
        (
            |requirements, _| {
                requirements.isa.insert("has_tomorrow".to_owned());
            },
            &[(
                "compiled with `has_tomorrow`, which isomer does not know and cannot probe on this CPU",
                "compile with isomer, whose profiles set no such flag",
            )],
        ),
        (
            |requirements, _| {
                drop(requirements.refused_flags.insert("enable_pinned_reg".to_owned(), "true".to_owned()))
            },
            &[(
                "compiled with `enable_pinned_reg = true`, which wasmtime never loads",
                "compile with isomer, whose profiles set no such flag",
            )],
        ),
        (
            |requirements, _| drop(requirements.tunables.insert("winch-callable".to_owned(), Value::Bool(true))),
            &[(
                "`winch-callable` is true; this runtime can only have false",
                "compile with isomer, or with that setting left at its default",
            )],
        ),
        // Only a build on the artifact's own major knows its settings.
        (
            |requirements, host| {
                requirements.engine = "47".to_owned();
                host.engine = "47.1.0".to_owned();
                requirements.tunables.insert("from-the-past".to_owned(), Value::Bool(true));
            },
            &[],
        ),
        // Extensions of another architecture say nothing more.
        (
            |requirements, _| (requirements.arch, requirements.os) = (Arch::Aarch64, "windows".to_owned()),
            &[(
                "needs the architecture aarch64; this host has x86_64",
                "compile for a profile of x86_64, or for pulley64",
            )],
        ),
    ];
    for (change, expected) in cases {
        let (mut requirements, mut host) = (requirements("x86-64-v2"), host("x86-64-v2"));
        change(&mut requirements, &mut host);
        assert_found(&requirements, &host, expected);
    }
}

#[test]
fn all_mismatches_are_listed_together() {
    let (mut requirements, mut host) = (requirements("x86-64-v3"), host("x86-64-v3"));
    requirements.engine = "47".to_owned();
    requirements.refused_flags.insert("enable_pinned_reg".to_owned(), "true".to_owned());
    host.os = "freebsd".to_owned();
    host.isa.remove("fma");
    let found = found(&requirements, &host);
    let words: Vec<_> =
        found.iter().map(|(message, _)| message.split([';', '(', ',']).next().unwrap_or_default()).collect();
    let expected = [
        "needs wasmtime 47",
        "needs the operating system linux",
        "needs the extension `fma` ",
        "compiled with `enable_pinned_reg = true`",
    ];
    assert_eq!(words, expected);
}

#[test]
fn bytecode_needs_the_byte_order_of_the_host_and_nothing_else() {
    let mut host = host("z14");
    // An interpreter runs on any operating system, without any extension and without executable memory.
    (host.os, host.isa, host.native_code) = ("unknown".to_owned(), ["vector".to_owned()].into(), false);
    assert_found(&requirements("pulley64be"), &host, &[]);
    assert_found(
        &requirements("pulley64"),
        &host,
        &[(
            "needs the architecture pulley64; this host has s390x",
            "compile for a profile of s390x, or for pulley64be",
        )],
    );
    let mut with_flag = requirements("pulley64be");
    with_flag.isa.insert("has_tomorrow".to_owned());
    let expected = [(
        "compiled with `has_tomorrow`, which isomer does not know and cannot probe on this CPU",
        "compile with isomer, whose profiles set no such flag",
    )];
    assert_found(&with_flag, &host, &expected);
}
