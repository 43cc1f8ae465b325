//! Two modules of a signed release in one engine, whose memories come from one pool; the second imports from the first.
//!
//! ```text
//! cargo run --example pooled -p isomer-runtime -- DIR KEY.pub
//! ```

use isomer_layout::Layout;
use isomer_runtime::{Code, Loader, Request, Signers, Trust, host, trust};
use isomer_trust::{Policy, TrustedKey, read_public};
use std::error::Error;
use std::path::Path;
use wasmtime::{Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, key] = arguments.as_slice() else { return Err("usage: pooled DIR KEY.pub".into()) };
    let release = Layout::open(Path::new(dir))?;
    let policy = Policy::of_keys(vec![TrustedKey::new("farm", read_public(Path::new(key))?)]);
    let trusted = Trust::Signed(Box::new(Signers::of(policy)));

    // Everything but what the artifacts require is the embedder's.
    let loader = Loader::new().configure(|config| {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(10).total_memories(10).total_tables(10);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config.max_wasm_stack(256 << 10);
    });
    let load = |name: &str| -> Result<Module, Box<dyn Error>> {
        let module = trust(&release, release.module(name)?, &trusted)?;
        let loaded = loader.load(module.choose(&host::here()?, &Request::default())?.fetch(&release)?)?;
        let Code::Module(module) = loaded.code else { return Err("expected a core module".into()) };
        Ok(module)
    };
    let (counter, total) = (load("counter")?, load("total")?);
    assert!(Engine::same(counter.engine(), total.engine()), "their requirements are equal");

    let engine = counter.engine();
    let mut store = Store::new(engine, ());
    let mut linker = Linker::new(engine);
    linker.module(&mut store, "counter", &counter)?;
    let instance = linker.instantiate(&mut store, &total)?;
    let sum = instance.get_typed_func::<i32, i32>(&mut store, "total")?.call(&mut store, 4)?;
    let pool = engine.pooling_allocator_metrics().ok_or("the engine has no pool")?;
    println!("1 + 2 + 3 + 4 = {sum}, with {} memories of the pool in use", pool.memories());
    Ok(())
}
