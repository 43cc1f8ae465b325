//! Servers without `/proc`: containers that mount none, or something else there. Whatever `isomer-run` does works.

use isomer_tests::confined::Confinement;
use isomer_tests::farm::{ABC, Farm};
use isomer_tests::foreign::Machine;
use isomer_tests::guests::{self, guests};
use isomer_tests::native::{native, pulley};
use isomer_tests::{guest, isomer, isomer_run, scratch, skip};

fn available(test: &str) -> bool {
    let reason = Confinement::NoProc.unavailable();
    if let Some(reason) = &reason {
        skip(test, reason);
    }
    reason.is_none()
}

#[test]
fn modules_and_components_run() {
    if !available("modules_and_components_run") {
        return;
    }
    let directory = scratch();
    for name in ["sha256", "component", "adder"] {
        for target in [native().baseline, pulley()] {
            let artifact = directory.path().join(format!("{name}.{target}.cwasm"));
            isomer().arg("compile").arg(guest(name)).args(["-t", target, "-o"]).arg(&artifact).ok();
            for case in &guests().iter().find(|entry| entry.name == name).unwrap().cases {
                let call = guests::call(case, &Machine::here(), &[artifact.to_str().unwrap()]);
                assert_eq!(guests::fault(case, &call.confined(Confinement::NoProc).run()), None, "{name} for {target}");
            }
        }
    }
}

#[test]
fn a_module_is_pulled_chosen_and_run() {
    if !available("a_module_is_pulled_chosen_and_run") {
        return;
    }
    let farm = Farm::two_releases();
    for line in
        ["pull oci-dir:old:sha256 --key one.pub --activate", "list", "select sha256", "check sha256", "gc --keep 1"]
    {
        farm.call(line).confined(Confinement::NoProc).ok();
    }
    let ran = farm.call("run sha256").confined(Confinement::NoProc).ok();
    assert!(ran.stdout().contains(ABC), "{ran}");
    isomer_run().line("host --json").confined(Confinement::NoProc).ok();
}
