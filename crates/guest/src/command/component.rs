//! A component: a `wasi:cli/command`, or a call of one of its exports in WAVE's notation.

use super::error::{Ended, GuestError, not_instantiated};
use super::invoke::Call;
use crate::host::{Host, component_linker};
use isomer_contract::wasi::{Interface, WASI_0_2, WASI_0_3};
use std::cell::Cell;
use std::time::Instant;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::DisplayFuncResults;
use wasmtime::component::{Accessor, Component, ComponentExportIndex, Instance, Val, wasm_wave};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::{p2, p3};

pub(super) async fn run(
    store: &mut Store<Host>,
    component: &Component,
    call: Option<&Call>,
    instantiated: &Cell<Option<Instant>>,
) -> Result<Vec<String>, Ended> {
    match call {
        Some(call) => invoke(store, component, call, instantiated).await,
        None => command(store, component, instantiated).await,
    }
}

/// What a command exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    /// `wasi:cli/run@0.2`
    P2,
    /// `wasi:cli/run@0.3`
    P3,
}

async fn command(
    store: &mut Store<Host>,
    component: &Component,
    instantiated: &Cell<Option<Instant>>,
) -> Result<Vec<String>, Ended> {
    let command = kind_of_command(component)?;
    if command == Command::P3 && !component.engine().get_concurrency_support() {
        return Err(GuestError::NoConcurrency.into());
    }
    let instance = instantiate(store, component).await?;
    instantiated.set(Some(Instant::now()));
    let ended = match command {
        Command::P2 => {
            let command = p2::bindings::Command::new(&mut *store, &instance)?;
            command.wasi_cli_run().call_run(&mut *store).await?
        }
        Command::P3 => {
            let command = p3::bindings::Command::new(&mut *store, &instance)?;
            store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await??
        }
    };
    match ended {
        Ok(()) => Ok(Vec::new()),
        // As `wasmtime run`: a command that fails without a code has failed with 1.
        Err(()) => Err(Ended::Raised(I32Exit(1).into())),
    }
}

async fn instantiate(store: &mut Store<Host>, component: &Component) -> Result<Instance, Ended> {
    let linker = component_linker(component)?;
    linker.instantiate_async(store, component).await.map_err(not_instantiated)
}

/// A command exports `wasi:cli/run`, of a version that is linked here; of several, the newest is run.
fn kind_of_command(component: &Component) -> Result<Command, GuestError> {
    let mut command = None;
    let mut other_command = None;
    let mut http = None;
    for (name, _) in exports(component) {
        match Interface::parse(&name) {
            Some(Interface { package: "wasi:cli", name: "run", version }) if WASI_0_3.includes(version) => {
                return Ok(Command::P3);
            }
            Some(Interface { package: "wasi:cli", name: "run", version }) if WASI_0_2.includes(version) => {
                command = Some(Command::P2);
            }
            Some(Interface { package: "wasi:cli", name: "run", .. }) => other_command = Some(name),
            Some(Interface { package: "wasi:http", name: "incoming-handler" | "handler", .. }) => http = Some(name),
            _ => {}
        }
    }
    if let Some(command) = command {
        return Ok(command);
    }
    Err(match (other_command, http) {
        (Some(interface), _) => GuestError::OtherCommand(interface),
        (None, Some(interface)) => GuestError::ServesHttp(interface),
        (None, None) => {
            let exports = functions(component).into_iter().map(|function| function.path()).collect();
            GuestError::NotACommand { entry: "interface `wasi:cli/run`", exports }
        }
    })
}

async fn invoke(
    store: &mut Store<Host>,
    component: &Component,
    call: &Call,
    instantiated: &Cell<Option<Instant>>,
) -> Result<Vec<String>, Ended> {
    let (name, brackets) = match call.wave()? {
        Some(text) => text.split_at(text.find('(').unwrap_or(text.len())),
        None => (call.text(), ""),
    };
    let Function { ty, index, .. } = find(component, name.trim())?;
    let wrong = |reason: String| GuestError::Arguments { name: name.to_owned(), reason };
    let params = match brackets {
        "" => values(&ty, call.words()),
        brackets => wave_values(&ty, brackets),
    };
    let params = params.map_err(wrong)?;
    let instance = instantiate(store, component).await?;
    instantiated.set(Some(Instant::now()));
    let function = instance.get_func(&mut *store, index).ok_or_else(|| wrong("it is not a function".to_owned()))?;
    let mut results = vec![Val::Bool(false); ty.results().len()];
    if ty.async_() && component.engine().get_concurrency_support() {
        let call = async |store: &Accessor<Host>| function.call_concurrent(store, &params, &mut results).await;
        store.run_concurrent(call).await??;
    } else {
        function.call_async(&mut *store, &params, &mut results).await?;
    }
    Ok(if results.is_empty() { Vec::new() } else { vec![DisplayFuncResults(&results).to_string()] })
}

/// Arguments as WAVE writes them, brackets included.
fn wave_values(ty: &ComponentFunc, brackets: &str) -> Result<Vec<Val>, String> {
    // WAVE's own names of functions leave out what an interface's name may hold, so it is shown another.
    let call = format!("f{brackets}");
    let call = UntypedFuncCall::parse(&call).map_err(|error| format!("`{brackets}` is not WAVE: {error}"))?;
    let types: Vec<Type> = ty.params().map(|(_, ty)| ty).collect();
    call.to_wasm_params(&types).map_err(|error| format!("`{brackets}` does not fit: {error}"))
}

/// Arguments that were given as words of a command line: each is WAVE, but a string needs no quotes of its own.
fn values(ty: &ComponentFunc, words: &[String]) -> Result<Vec<Val>, String> {
    let params: Vec<_> = ty.params().collect();
    if params.len() != words.len() {
        return Err(format!("it takes {} arguments, not {}", params.len(), words.len()));
    }
    let value = |((name, ty), word): (&(&str, Type), &String)| match ty {
        Type::String if !word.starts_with('"') => Ok(Val::String(word.as_str().into())),
        ty => wasm_wave::from_str(ty, word).map_err(|error| format!("`{word}` for its argument `{name}`: {error}")),
    };
    params.iter().zip(words).map(value).collect()
}

/// A function that a component exports, in an interface or by itself.
struct Function {
    interface: Option<String>,
    name: String,
    ty: ComponentFunc,
    index: ComponentExportIndex,
}

impl Function {
    /// `name`, or `package:name/interface#name`.
    fn path(&self) -> String {
        self.interface.as_ref().map_or_else(|| self.name.clone(), |interface| format!("{interface}#{}", self.name))
    }
}

fn exports(component: &Component) -> impl Iterator<Item = (String, ComponentItem)> {
    let ty = component.component_type();
    let engine: &Engine = component.engine();
    ty.exports(engine).map(|(name, item)| (name.to_owned(), item.ty)).collect::<Vec<_>>().into_iter()
}

fn functions(component: &Component) -> Vec<Function> {
    let mut functions = Vec::new();
    for (name, item) in exports(component) {
        match item {
            ComponentItem::ComponentFunc(ty) => {
                let index = component.get_export_index(None, name.as_str());
                functions.extend(index.map(|index| Function { interface: None, name, ty, index }));
            }
            ComponentItem::ComponentInstance(interface) => {
                let Some(parent) = component.get_export_index(None, name.as_str()) else { continue };
                for (leaf, item) in interface.exports(component.engine()) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty
                        && let Some(index) = component.get_export_index(Some(&parent), leaf)
                    {
                        functions.push(Function { interface: Some(name.clone()), name: leaf.to_owned(), ty, index });
                    }
                }
            }
            _ => {}
        }
    }
    functions
}

/// The function that `name` means: by its own name if only one interface has it, else with the interface's, as it is
/// exported (`package:name/interface#function`) or as WAVE writes it (`package:name/interface/function@version`).
fn find(component: &Component, name: &str) -> Result<Function, GuestError> {
    let functions = functions(component);
    let exports = || functions.iter().map(Function::path).collect::<Vec<_>>();
    let matching: Vec<usize> = (0..functions.len())
        .filter(|index| {
            let function = &functions[*index];
            function.name == name || function.path() == name || wave_path(function).is_some_and(|path| path == name)
        })
        .collect();
    let root = matching.iter().find(|index| functions[**index].interface.is_none());
    let found = match (root, matching.as_slice()) {
        (Some(index), _) => *index,
        (None, [index]) => *index,
        (None, []) => return Err(GuestError::NoSuchExport { name: name.to_owned(), exports: exports() }),
        (None, several) => {
            let several: Vec<_> = several.iter().map(|index| functions[*index].path()).collect();
            let reason = format!("several interfaces export it, name one of: {}", several.join(", "));
            return Err(GuestError::Arguments { name: name.to_owned(), reason });
        }
    };
    let mut functions = functions;
    Ok(functions.swap_remove(found))
}

fn wave_path(function: &Function) -> Option<String> {
    let interface = function.interface.as_ref()?;
    Some(match interface.split_once('@') {
        Some((interface, version)) => format!("{interface}/{}@{version}", function.name),
        None => format!("{interface}/{}", function.name),
    })
}
