//! A plugin host: loads each plugin of a signed release, links the functions that plugins may call, and runs every call
//! in a store of its own.
//!
//! ```text
//! cargo run --example plugins -p isomer-runtime -- DIR KEY.pub PLUGIN...
//! ```

use isomer_layout::Layout;
use isomer_runtime::{Code, Loader, Request, Signers, Trust, host, trust};
use isomer_trust::{Policy, TrustedKey, read_public};
use std::error::Error;
use std::path::Path;
use wasmtime::{Caller, InstancePre, Linker, Memory, Result as WasmResult, Store, bail};

/// What a plugin's call works on.
struct Call {
    name: &'static str,
    log: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, key, plugins @ ..] = arguments.as_slice() else {
        return Err("usage: plugins DIR KEY.pub PLUGIN...".into());
    };
    let release = Layout::open(Path::new(dir))?;
    let policy = Policy::of_keys(vec![TrustedKey::new("farm", read_public(Path::new(key))?)]);
    let trusted = Trust::Signed(Box::new(Signers::of(policy)));
    let (loader, here) = (Loader::new(), host::here()?);

    let mut ready: Vec<(&str, InstancePre<Call>)> = Vec::new();
    for name in plugins {
        let module = trust(&release, release.module(name)?, &trusted)?;
        let loaded = loader.load(module.choose(&here, &Request::default())?.fetch(&release)?)?;
        let Code::Module(module) = loaded.code else { return Err("expected a core module".into()) };
        // Imports are looked up and their types compared once, not at each call.
        ready.push((name.as_str(), linker(&loaded.engine)?.instantiate_pre(&module)?));
    }
    for (plugin, instance) in &ready {
        for name in ["Ada", "Grace"] {
            let mut store = Store::new(instance.module().engine(), Call { name, log: Vec::new() });
            let instance = instance.instantiate(&mut store)?;
            instance.get_typed_func::<(), ()>(&mut store, "run")?.call(&mut store, ())?;
            println!("{plugin}: {}", store.data().log.join(" "));
        }
    }
    Ok(())
}

/// All that a plugin can call.
fn linker(engine: &wasmtime::Engine) -> WasmResult<Linker<Call>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("host", "name", |mut caller: Caller<'_, Call>, to: u32, size_bytes: u32| -> WasmResult<u32> {
        let (memory, name) = (memory(&mut caller)?, caller.data().name);
        let length = name.len().min(size_bytes as usize);
        memory.write(&mut caller, to as usize, &name.as_bytes()[..length])?;
        Ok(length as u32)
    })?;
    linker.func_wrap("host", "log", |mut caller: Caller<'_, Call>, from: u32, size_bytes: u32| -> WasmResult<()> {
        let memory = memory(&mut caller)?;
        let end = (from as usize).checked_add(size_bytes as usize);
        let Some(bytes) = end.and_then(|end| memory.data(&caller).get(from as usize..end)) else {
            bail!("`log` of bytes outside the memory");
        };
        let line = String::from_utf8_lossy(bytes).into_owned();
        caller.data_mut().log.push(line);
        Ok(())
    })?;
    Ok(linker)
}

fn memory(caller: &mut Caller<'_, Call>) -> WasmResult<Memory> {
    match caller.get_export("memory").and_then(wasmtime::Extern::into_memory) {
        Some(memory) => Ok(memory),
        None => bail!("the plugin exports no memory"),
    }
}
