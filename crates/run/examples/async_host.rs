//! An asynchronous host function: two guests wait for the host at the same time, on one thread.
//!
//! ```text
//! cargo run --example async_host -p isomer-runtime -- DIR KEY.pub
//! ```

use isomer_layout::Layout;
use isomer_runtime::{Code, Loader, Request, Signers, Trust, host, trust};
use isomer_trust::{Policy, TrustedKey, read_public};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use wasmtime::{Linker, Module, Store};

/// How often each guest waits.
const NAPS: i32 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, key] = arguments.as_slice() else { return Err("usage: async_host DIR KEY.pub".into()) };
    let module = load(Path::new(dir), Path::new(key))?;

    let mut linker = Linker::new(module.engine());
    linker.func_wrap_async("host", "sleep", |_, (milliseconds,): (u64,)| {
        Box::new(tokio::time::sleep(Duration::from_millis(milliseconds)))
    })?;
    let guest = linker.instantiate_pre(&module)?;
    let start = Instant::now();
    let guests: Vec<_> = (0..2)
        .map(|_| {
            let guest = guest.clone();
            tokio::spawn(async move {
                let mut store = Store::new(guest.module().engine(), ());
                let instance = guest.instantiate_async(&mut store).await?;
                let run = instance.get_typed_func::<i32, i32>(&mut store, "run")?;
                run.call_async(&mut store, NAPS).await
            })
        })
        .collect();
    let mut naps = 0;
    for guest in guests {
        naps += guest.await??;
    }
    println!("{naps} naps");
    eprintln!("in {:?}", start.elapsed());
    Ok(())
}

/// Loading reads files and maps memory: here nothing else waits for this thread yet; a server would do it where blocking
/// is allowed (`spawn_blocking`).
fn load(dir: &Path, key: &Path) -> Result<Module, Box<dyn Error>> {
    let release = Layout::open(dir)?;
    let policy = Policy::of_keys(vec![TrustedKey::new("farm", read_public(key)?)]);
    let module = trust(&release, release.module("naps")?, &Trust::Signed(Box::new(Signers::of(policy))))?;
    let loaded = Loader::new().load(module.choose(&host::here()?, &Request::default())?.fetch(&release)?)?;
    let Code::Module(module) = loaded.code else { return Err("expected a core module".into()) };
    Ok(module)
}
