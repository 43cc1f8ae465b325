//! An embedder of a release: opens it, takes the best form for this machine, links a host function of its own, and
//! calls an export.
//!
//! ```text
//! cargo run --example embed -p isomer-runtime -- DIR MODULE sha256:DIGEST FUNCTION [INTEGER...]
//! ```

use isomer_runtime::{Code, Loader, Request, Trust};
use std::error::Error;
use std::path::Path;
use wasmtime::{Caller, Linker, Store, Val, ValType};

/// What host functions work on.
#[derive(Default)]
struct State {
    calls: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [release, module, digest, function, integers @ ..] = arguments.as_slice() else {
        return Err("usage: embed DIR MODULE sha256:DIGEST FUNCTION [INTEGER...]".into());
    };

    // Open, and trust one module: the digest is that of its index, and reaches every byte that belongs to it.
    let release = isomer_layout::Layout::open(Path::new(release))?;
    let module = isomer_runtime::trust(&release, release.module(module)?, &Trust::Digest(digest.parse()?))?;

    // Choose for this machine, fetch into memory that cannot change, verify, load.
    let host = isomer_runtime::host::here()?;
    let chosen = module.choose(&host, &Request::default())?;
    for (better, reasons) in chosen.steps_down() {
        eprintln!("{} would be better: {} reasons against it", better.target, reasons.len());
    }
    let loaded = Loader::new().load(chosen.fetch(&release)?)?;
    eprintln!("runs as {}", loaded.target.as_deref().unwrap_or("an artifact without a target"));

    // From here on it is plain wasmtime.
    let Code::Module(module) = &loaded.code else {
        return Err("this example embeds core modules".into());
    };
    let mut linker = Linker::new(&loaded.engine);
    linker.func_wrap("host", "log", |mut caller: Caller<'_, State>, value: i32| {
        caller.data_mut().calls += 1;
        println!("the guest says {value}");
    })?;
    let mut store = Store::new(&loaded.engine, State::default());
    let instance = linker.instantiate(&mut store, module)?;
    let function = instance.get_func(&mut store, function).ok_or("it exports no such function")?;

    let ty = function.ty(&store);
    let values: Vec<Val> = ty.params().zip(integers).map(|(ty, text)| integer(&ty, text)).collect::<Result<_, _>>()?;
    let mut results = vec![Val::I32(0); ty.results().len()];
    function.call(&mut store, &values, &mut results)?;
    println!("{results:?} after {} calls of the host", store.data().calls);
    Ok(())
}

fn integer(ty: &ValType, text: &str) -> Result<Val, Box<dyn Error>> {
    match ty {
        ValType::I32 => Ok(Val::I32(text.parse()?)),
        ValType::I64 => Ok(Val::I64(text.parse()?)),
        other => Err(format!("this example gives integers, not {other}").into()),
    }
}
