//! A core module: a WASI command's `_start`, or a call of one of its exports.

use super::invoke::{self, Call};
use super::{Ended, GuestError, not_instantiated};
use wasmtime::{ExternType, Instance, Linker, Module, Store, Val};
use wasmtime_wasi::p1::WasiP1Ctx;

/// What a command exports; the empty name is how the oldest ones do.
const ENTRIES: [&str; 2] = ["_start", ""];
/// What a reactor exports, to be called once before anything else.
const INITIALIZE: &str = "_initialize";

pub(super) async fn run(
    store: &mut Store<WasiP1Ctx>,
    module: &Module,
    call: Option<&Call>,
) -> Result<Vec<String>, Ended> {
    let (name, words) = match call {
        Some(call) => call.of_module(|name| function_names(module).any(|export| export == name))?,
        None => (entry(module)?, Vec::new()),
    };
    let arguments = arguments(module, &name, &words)?;
    let linker = linker(store, module)?;
    let instance = linker.instantiate_async(&mut *store, module).await.map_err(not_instantiated)?;
    if name != INITIALIZE && instance.get_func(&mut *store, INITIALIZE).is_some() {
        self::call(store, &instance, INITIALIZE, &[]).await?;
    }
    let results = self::call(store, &instance, &name, &arguments).await?;
    Ok(if call.is_some() { results.iter().map(invoke::show).collect() } else { Vec::new() })
}

async fn call(
    store: &mut Store<WasiP1Ctx>,
    instance: &Instance,
    name: &str,
    arguments: &[Val],
) -> Result<Vec<Val>, Ended> {
    let no_such_export = || GuestError::NoSuchExport { name: name.to_owned(), exports: Vec::new() };
    let function = instance.get_func(&mut *store, name).ok_or_else(no_such_export)?;
    let ty = function.ty(&*store);
    if ty.params().len() != arguments.len() {
        let reason = format!("it takes {} arguments, not {}", ty.params().len(), arguments.len());
        return Err(GuestError::Arguments { name: name.to_owned(), reason }.into());
    }
    let mut results = vec![Val::I32(0); ty.results().len()];
    function.call_async(&mut *store, arguments, &mut results).await?;
    Ok(results)
}

fn entry(module: &Module) -> Result<String, GuestError> {
    let entry = ENTRIES.into_iter().find(|entry| function_names(module).any(|name| name == *entry));
    entry.map(str::to_owned).ok_or_else(|| GuestError::NotACommand {
        entry: "function `_start`",
        exports: function_names(module).filter(|name| *name != INITIALIZE).map(str::to_owned).collect(),
    })
}

fn function_names(module: &Module) -> impl Iterator<Item = &str> {
    module.exports().filter(|export| matches!(export.ty(), ExternType::Func(_))).map(|export| export.name())
}

/// The words as the values that the export takes, before anything runs.
fn arguments(module: &Module, name: &str, words: &[String]) -> Result<Vec<Val>, GuestError> {
    let Some(ExternType::Func(ty)) = module.get_export(name) else {
        let exports = function_names(module).map(str::to_owned).collect();
        return Err(GuestError::NoSuchExport { name: name.to_owned(), exports });
    };
    invoke::values(&ty, words).map_err(|reason| GuestError::Arguments { name: name.to_owned(), reason })
}

/// WASI, as far as the module imports it; all that is missing otherwise.
fn linker(store: &mut Store<WasiP1Ctx>, module: &Module) -> Result<Linker<WasiP1Ctx>, Ended> {
    let mut linker = Linker::new(module.engine());
    let imports = |from: &str| module.imports().any(|import| import.module() == from);
    if imports("wasi_snapshot_preview1") {
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, |context| context)?;
    }
    if imports("wasi_unstable") {
        wasmtime_wasi::p0::add_to_linker_async(&mut linker, |context| context)?;
    }
    let mut missing = Vec::new();
    for import in module.imports() {
        if linker.get_by_import(&mut *store, &import).is_none() {
            missing.push(format!("{}.{} ({})", import.module(), import.name(), kind(&import.ty())));
        }
    }
    if missing.is_empty() { Ok(linker) } else { Err(GuestError::MissingImports(missing).into()) }
}

fn kind(ty: &ExternType) -> &'static str {
    match ty {
        ExternType::Func(_) => "function",
        ExternType::Global(_) => "global",
        ExternType::Table(_) => "table",
        ExternType::Memory(memory) if memory.is_shared() => "shared memory",
        ExternType::Memory(_) => "memory",
        ExternType::Tag(_) => "tag",
    }
}
