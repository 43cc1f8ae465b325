//! In: a component or a module. Out: a linker with the worlds that it imports from, or every import that is not provided.
//! Never here: a grant; what is linked is denied until it is granted.

use super::{Host, keyvalue, lookup, sockets};
use isomer_contract::Hinted;
use isomer_contract::wasi;
use wasmtime::component::Component;
use wasmtime::{Engine, Linker, component};
use wasmtime_wasi_config::WasiConfig;

/// What a guest imports and no world provides; every such import.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it imports what is not provided: {}", .0.join(", "))]
pub struct MissingImports(pub Vec<String>);

impl Hinted for MissingImports {
    fn hint(&self) -> Option<String> {
        let MissingImports(names) = self;
        let all = |is: fn(&str) -> bool| names.iter().all(|name| is(name));
        let package = |package: &str| names.iter().any(|name| name.starts_with(package));
        Some(if package("wasi:nn/") || package("wasi_ephemeral_nn") {
            "wasi-nn is not built in: embed the artifact in a program of your own, with the crate \
             `wasmtime-wasi-nn`"
                .to_owned()
        } else if package("wasi.thread-spawn") || package("env.memory (shared memory)") {
            "wasmtime has no wasi-threads any more: build it for one thread, `wasm32-wasip1`, or as a component whose tasks \
             are asynchronous"
                .to_owned()
        } else if all(|name| name.starts_with("wasi:")) {
            format!("components are given {}", wasi::provided_to_components())
        } else if all(|name| name.starts_with("wasi")) {
            format!("core modules are given {}", wasi::CORE_MODULES.join(" and "))
        } else {
            "it is made for another host; embed it with `isomer_runtime::Loader` and a `Linker` of yours".to_owned()
        })
    }
}

/// Why a component has no linker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It imports what is not provided.
    #[error(transparent)]
    Missing(#[from] MissingImports),
    /// Wasmtime refuses.
    #[error("what it imports cannot be linked")]
    Wasmtime(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<wasmtime::Error> for LinkError {
    fn from(error: wasmtime::Error) -> LinkError {
        LinkError::Wasmtime(error.into())
    }
}

/// WASI 0.2 and 0.3 with their HTTP, TLS, configuration and key-value stores, as far as `component` imports them.
///
/// # Errors
/// When it imports anything else.
pub fn component_linker(component: &Component) -> Result<component::Linker<Host>, LinkError> {
    let ty = component.component_type();
    let imports: Vec<String> = ty.imports(component.engine()).map(|(name, _)| name.to_owned()).collect();
    let missing: Vec<String> = imports.iter().filter(|name| !wasi::is_provided(name)).cloned().collect();
    if !missing.is_empty() {
        return Err(MissingImports(missing).into());
    }
    let mut linker = component::Linker::new(component.engine());
    add(&mut linker, &imports)?;
    Ok(linker)
}

/// Adds the worlds that any of `imports` is from.
fn add(linker: &mut component::Linker<Host>, imports: &[String]) -> wasmtime::Result<()> {
    let from = |is: &dyn Fn(wasi::Interface<'_>) -> bool| {
        imports.iter().filter_map(|name| wasi::Interface::parse(name)).any(is)
    };
    let of_version = |version: wasi::Version| from(&|interface| version.includes(interface.version));
    let of_package = |package: &str| from(&|interface| interface.package == package);
    let of = |package: &str, version: wasi::Version| {
        from(&|interface| interface.package == package && version.includes(interface.version))
    };
    // Some functions are our own, and replace wasmtime-wasi's.
    linker.allow_shadowing(true);
    if of_version(wasi::WASI_0_2) {
        wasmtime_wasi::p2::add_to_linker_async(linker)?;
        lookup::add_to_linker_p2(linker)?;
        sockets::add_to_linker_p2(linker)?;
    }
    if of("wasi:http", wasi::WASI_0_2) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    }
    if of_version(wasi::WASI_0_3) {
        wasmtime_wasi::p3::add_to_linker(linker)?;
        lookup::add_to_linker_p3(linker)?;
        sockets::add_to_linker_p3(linker)?;
    }
    if of("wasi:http", wasi::WASI_0_3) {
        wasmtime_wasi_http::p3::add_to_linker(linker)?;
    }
    if of_package("wasi:config") {
        wasmtime_wasi_config::add_to_linker(linker, |host: &mut Host| WasiConfig::new(&host.config))?;
    }
    if of_package("wasi:keyvalue") {
        keyvalue::add_to_linker(linker)?;
    }
    if of("wasi:tls", wasi::TLS_0_2) {
        let mut options = wasmtime_wasi_tls::p2::LinkOptions::default();
        wasmtime_wasi_tls::p2::add_to_linker(linker, options.tls(true))?;
    }
    if of("wasi:tls", wasi::TLS_0_3) {
        wasmtime_wasi_tls::p3::add_to_linker(linker)?;
    }
    Ok(())
}

/// WASI 0.1 and 0 for core modules, as far as one of `imports`, the modules that they import from, is of it.
///
/// # Errors
/// When wasmtime refuses.
pub fn module_linker(engine: &Engine, imports: &[&str]) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    if imports.contains(&"wasi_snapshot_preview1") {
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
    }
    if imports.contains(&"wasi_unstable") {
        wasmtime_wasi::p0::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)?;
    }
    Ok(linker)
}

#[cfg(test)]
mod tests;
