//! A deadline: a guest that never returns is stopped by the engine's epoch, which a thread of the host increments. The
//! profile that the guest was compiled for sets `epoch-interruption`; without it nothing could stop the guest.
//!
//! ```text
//! cargo run --example deadline -p isomer-runtime -- DIR KEY.pub
//! ```

use isomer_contract::settings::Value;
use isomer_layout::Layout;
use isomer_runtime::{Code, Loader, Request, Signers, Trust, host, trust};
use isomer_trust::{Policy, TrustedKey, read_public};
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Duration;
use wasmtime::{Linker, Store, Trap};

const TICK: Duration = Duration::from_millis(10);
const DEADLINE_TICKS: u64 = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, key] = arguments.as_slice() else { return Err("usage: deadline DIR KEY.pub".into()) };
    let release = Layout::open(Path::new(dir))?;
    let policy = Policy::of_keys(vec![TrustedKey::new("farm", read_public(Path::new(key))?)]);
    let module = trust(&release, release.module("spin")?, &Trust::Signed(Box::new(Signers::of(policy))))?;
    let loaded = Loader::new().load(module.choose(&host::here()?, &Request::default())?.fetch(&release)?)?;
    if loaded.requirements.tunables.get("epoch-interruption") != Some(&Value::Bool(true)) {
        return Err("compiled without epoch interruption: it could not be stopped".into());
    }
    let Code::Module(module) = loaded.code else { return Err("expected a core module".into()) };

    // The ticker ends with the engine.
    let engine = loaded.engine.weak();
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    });
    let mut store = Store::new(&loaded.engine, ());
    store.set_epoch_deadline(DEADLINE_TICKS);
    let instance = Linker::new(&loaded.engine).instantiate(&mut store, &module)?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    match run.call(&mut store, ()) {
        Err(error) if error.downcast_ref() == Some(&Trap::Interrupt) => println!("stopped at its deadline"),
        other => return Err(format!("expected an interrupt, found {other:?}").into()),
    }
    Ok(())
}
