//! What `isomer_contract::wasi` says of the interfaces that guests are given, compared with the linkers that give them.

use super::*;
use crate::grants::Grants;
use crate::host::{NoOutgoing, Prepare, Process};
use crate::limits::Limits;
use wasmtime::Store;

/// Interfaces of WASI and its proposals, of which only some are provided.
const OTHERS: [&str; 17] = [
    "wasi:blobstore/blobstore",
    "wasi:cli/command",
    "wasi:cli/run",
    "wasi:clocks/timezone",
    "wasi:clocks/wall-clock",
    "wasi:config/store",
    "wasi:http/incoming-handler",
    "wasi:http/handler",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/tubes",
    "wasi:keyvalue/store",
    "wasi:keyvalue/watcher",
    "wasi:logging/logging",
    "wasi:nn/tensor",
    "wasi:sockets/tls",
    "wasi:tls/types",
];

/// Interfaces of types alone: a linker holds nothing of them, and their importers need nothing.
const TYPES_ALONE: [&str; 2] = ["wasi:cli/types@0.3.0", "wasi:clocks/types@0.3.0"];

/// A linker refuses a second definition: whatever it refuses, it has.
fn is_linked(name: &str) -> bool {
    let all: Vec<String> = wasi::PACKAGES
        .iter()
        .map(|package| format!("{}/{}@{}", package.name, package.interfaces[0], package.version.linked()))
        .collect();
    let mut linker = component::Linker::new(&Engine::default());
    add(&mut linker, &all).expect("an empty linker takes all");
    linker.allow_shadowing(false);
    linker.root().func_wrap(name, |_, (): ()| Ok(())).is_err()
}

#[test]
fn components_are_given_what_is_linked_and_nothing_else() {
    for version in [wasi::WASI_0_2, wasi::WASI_0_3].into_iter().chain(wasi::PACKAGES.iter().map(|it| it.version)) {
        let known =
            wasi::PACKAGES.iter().flat_map(|package| package.interfaces.iter().map(move |it| (package.name, it)));
        let names = known.map(|(package, name)| format!("{package}/{name}"));
        for name in names.chain(OTHERS.map(str::to_owned)) {
            let name = format!("{name}@{}", version.linked());
            let given = is_linked(&name) || TYPES_ALONE.contains(&name.as_str());
            assert_eq!(wasi::is_provided(&name), given, "{name}");
        }
    }
}

#[test]
fn core_modules_are_given_what_is_linked() {
    let engine = Engine::default();
    let linker = module_linker(&engine, &wasi::CORE_MODULES).expect("their names differ");
    let grants = Grants::default();
    let (environment, limits) = ([].into(), Limits::default());
    let prepare = Prepare { grants: &grants, environment, limits, allow_blocking: false, route: None };
    let host = prepare.open().expect("nothing is granted").host(Process::default(), Box::new(NoOutgoing::default()));
    let mut store = Store::new(&engine, host);
    let modules: std::collections::BTreeSet<_> =
        linker.iter(&mut store).map(|(module, ..)| module.to_owned()).collect();
    assert_eq!(modules, wasi::CORE_MODULES.map(str::to_owned).into());
}
