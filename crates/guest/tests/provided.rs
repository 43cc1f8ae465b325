//! What `isomer_contract::wasi` says of the interfaces that guests are given, compared with the linkers that give them.

use isomer_contract::wasi;
use wasmtime::Engine;
use wasmtime_wasi::p1::WasiP1Ctx;

/// Interfaces of WASI 0.2 and its proposals, of which only some are provided.
const OTHERS: [&str; 14] = [
    "wasi:blobstore/blobstore",
    "wasi:cli/command",
    "wasi:cli/run",
    "wasi:clocks/timezone",
    "wasi:config/store",
    "wasi:http/incoming-handler",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/tubes",
    "wasi:keyvalue/store",
    "wasi:logging/logging",
    "wasi:nn/tensor",
    "wasi:sockets/tls",
    "wasi:tls/types",
];

/// A linker refuses a second definition: whatever it refuses, it has.
fn is_linked(name: &str) -> bool {
    let mut linker = wasmtime::component::Linker::<WasiP1Ctx>::new(&Engine::default());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("an empty linker takes all");
    linker.instance(name).is_err()
}

#[test]
fn components_are_given_what_is_linked_and_nothing_else() {
    let provided =
        wasi::INTERFACES.iter().flat_map(|(package, names)| names.iter().map(move |name| format!("{package}/{name}")));
    let names = provided.chain(OTHERS.map(str::to_owned)).map(|name| format!("{name}@{}", wasi::WASI_0_2_VERSION));
    for name in names {
        assert_eq!(wasi::is_provided(&name), is_linked(&name), "{name}");
    }
}

#[test]
fn core_modules_are_given_what_is_linked() {
    let engine = Engine::default();
    let mut linker = wasmtime::Linker::<WasiP1Ctx>::new(&engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |context| context).expect("an empty linker takes all");
    wasmtime_wasi::p0::add_to_linker_async(&mut linker, |context| context).expect("their names differ");
    let mut store = wasmtime::Store::new(&engine, wasmtime_wasi::WasiCtxBuilder::new().build_p1());
    let modules: std::collections::BTreeSet<_> =
        linker.iter(&mut store).map(|(module, ..)| module.to_owned()).collect();
    assert_eq!(modules, wasi::CORE_MODULES.map(str::to_owned).into());
}
