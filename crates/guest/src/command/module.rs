//! A core module: a WASI command's `_start`, a reactor, or a call of one of its exports.

use super::error::{Ended, GuestError, not_instantiated};
use super::invoke::{self, Call};
use crate::host::{Host, LinkError, MissingImports, module_linker};
use crate::limits::Limits;
use isomer_runtime::{Code, Loaded};
use std::cell::Cell;
use std::time::Instant;
use wasmtime::{Engine, ExternType, Instance, Linker, Module, Store, Val};

/// What a command exports; the empty name is how the oldest ones do.
const ENTRIES: [&str; 2] = ["_start", ""];
/// What a reactor exports, to be called once before anything else.
const INITIALIZE: &str = "_initialize";

pub(super) async fn run(
    store: &mut Store<Host>,
    module: &Module,
    call: Option<&Call>,
    preloads: &[(String, Loaded)],
    instantiated: &Cell<Option<Instant>>,
) -> Result<Vec<String>, Ended> {
    let (name, words) = match call {
        Some(call) => call.of_module(|name| function_names(module).any(|export| export == name))?,
        None => (entry(module)?, Vec::new()),
    };
    let arguments = arguments(module, &name, &words)?;
    let linker = linker(store, module, preloads).await?;
    let instance = linker.instantiate_async(&mut *store, module).await.map_err(not_instantiated)?;
    instantiated.set(Some(Instant::now()));
    if name != INITIALIZE && instance.get_func(&mut *store, INITIALIZE).is_some() {
        self::call(store, &instance, INITIALIZE, &[]).await?;
    }
    let results = self::call(store, &instance, &name, &arguments).await?;
    Ok(if call.is_some() { results.iter().map(invoke::show).collect() } else { Vec::new() })
}

/// Refuses a limit on memory that nothing would keep: wasmtime asks no limiter before it lets a shared memory grow.
pub(super) fn check_shared_memories(code: &Code, limits: &Limits) -> Result<(), GuestError> {
    let (Some(allowed), Code::Module(module)) = (limits.max_memory, code) else { return Ok(()) };
    let types = module.exports().map(|export| export.ty()).chain(module.imports().map(|import| import.ty()));
    let maximum = |ty: ExternType| match ty {
        ExternType::Memory(memory) if memory.is_shared() => {
            Some(memory.maximum().unwrap_or(u64::MAX).saturating_mul(memory.page_size()))
        }
        _ => None,
    };
    let maximum_bytes = types.filter_map(maximum).fold(0, u64::saturating_add);
    if maximum_bytes > allowed { Err(GuestError::SharedMemory { maximum_bytes }) } else { Ok(()) }
}

async fn call(store: &mut Store<Host>, instance: &Instance, name: &str, arguments: &[Val]) -> Result<Vec<Val>, Ended> {
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

/// The function that a command begins with. A reactor alone is initialized, and has no other.
fn entry(module: &Module) -> Result<String, GuestError> {
    let exports = |entry: &str| function_names(module).any(|name| name == entry);
    let entry = ENTRIES.into_iter().chain([INITIALIZE]).find(|entry| exports(entry));
    entry.map(str::to_owned).ok_or_else(|| GuestError::NotACommand {
        entry: "function `_start`",
        exports: function_names(module).map(str::to_owned).collect(),
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

/// WASI and the preloaded modules, as far as the module imports them; all that is missing otherwise.
async fn linker(
    store: &mut Store<Host>,
    module: &Module,
    preloads: &[(String, Loaded)],
) -> Result<Linker<Host>, Ended> {
    let modules = preloads.iter().map(|(name, loaded)| Ok((name.as_str(), preload(module.engine(), name, loaded)?)));
    let preloads = modules.collect::<Result<Vec<_>, GuestError>>()?;
    let all = || preloads.iter().map(|(_, module)| *module).chain([module]);
    let imports: Vec<&str> = all().flat_map(|module| module.imports().map(|import| import.module())).collect();
    let mut linker = module_linker(module.engine(), &imports).map_err(LinkError::from)?;
    for (name, preloaded) in &preloads {
        check_imports(&linker, store, preloaded)?;
        linker.module_async(&mut *store, name, preloaded).await.map_err(not_instantiated)?;
    }
    check_imports(&linker, store, module)?;
    Ok(linker)
}

fn preload<'a>(engine: &Engine, name: &str, loaded: &'a Loaded) -> Result<&'a Module, GuestError> {
    let because = |reason: &str| GuestError::Preload { name: name.to_owned(), reason: reason.to_owned() };
    match &loaded.code {
        Code::Component(_) => Err(because("it is a component, whose imports are linked when it is built")),
        Code::Module(_) if !Engine::same(&loaded.engine, engine) => {
            Err(because("it was compiled with other settings; compile both for the same profile"))
        }
        Code::Module(module) => Ok(module),
    }
}

fn check_imports(linker: &Linker<Host>, store: &mut Store<Host>, module: &Module) -> Result<(), Ended> {
    let mut missing = Vec::new();
    for import in module.imports() {
        if linker.get_by_import(&mut *store, &import).is_none() {
            missing.push(format!("{}.{} ({})", import.module(), import.name(), kind(&import.ty())));
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(LinkError::from(MissingImports(missing)).into()) }
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
