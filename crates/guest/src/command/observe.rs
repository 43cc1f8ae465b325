//! What is seen of a guest from inside. In: its store, and how it ended. Out: samples of its stack as the Firefox profiler
//! reads them, and a core dump. Never here: a file.

use super::error::GuestError;
use crate::host::Host;
use crate::limits::LimitHit;
use isomer_runtime::{Code, Loaded};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use wasmtime::{AsContextMut, GuestProfiler, Store, StoreContextMut, UpdateDeadline, WasmCoreDump};

/// How often the guest is sampled.
pub(super) const INTERVAL: Duration = Duration::from_millis(10);

/// Samples the guest at each epoch, and ends it when its time is over.
pub(super) fn profile(
    store: &mut Store<Host>,
    loaded: &Loaded,
    name: &str,
    timeout: Option<Duration>,
) -> Result<(), GuestError> {
    if !loaded.engine.get_epoch_interruption() {
        return Err(GuestError::ProfileNotCompiled);
    }
    let name = name.to_owned();
    let profiler = match &loaded.code {
        Code::Module(module) => GuestProfiler::new(&loaded.engine, &name, INTERVAL, [(name.clone(), module.clone())]),
        Code::Component(component) => {
            GuestProfiler::new_component(&loaded.engine, &name, INTERVAL, component.clone(), [])
        }
    };
    let profiler = profiler.map_err(|error| GuestError::Failed(error.into()))?;
    store.data_mut().profiler = Some(Box::new(profiler));
    store.call_hook(|mut context, kind| {
        with_profiler(&mut context, |profiler, context| profiler.call_hook(context, kind));
        Ok(())
    });
    let deadline = timeout.map(|timeout| (Instant::now() + timeout, timeout));
    store.epoch_deadline_callback(move |mut context| {
        with_profiler(&mut context, |profiler, context| profiler.sample(context, INTERVAL));
        match deadline {
            Some((deadline, timeout)) if Instant::now() >= deadline => Err(LimitHit::timeout(timeout).into()),
            _ => Ok(UpdateDeadline::Continue(1)),
        }
    });
    store.set_epoch_deadline(1);
    Ok(())
}

fn with_profiler(
    context: &mut StoreContextMut<'_, Host>,
    call: impl FnOnce(&mut GuestProfiler, &StoreContextMut<'_, Host>),
) {
    if let Some(mut profiler) = context.data_mut().profiler.take() {
        call(&mut profiler, context);
        context.data_mut().profiler = Some(profiler);
    }
}

/// What the profiler saw, as JSON.
pub(super) fn finish_profile(store: &mut Store<Host>) -> Option<Vec<u8>> {
    let profiler = store.data_mut().profiler.take()?;
    let mut json = Vec::new();
    // Writing to memory does not fail.
    profiler.finish(&mut json).ok()?;
    Some(json)
}

/// The core dump of a trap. Wasmtime 48 panics over components that were composed of several, which is caught.
pub(super) fn coredump(
    store: &mut Store<Host>,
    error: &wasmtime::Error,
    name: &str,
) -> Option<Result<Vec<u8>, String>> {
    let dump = error.downcast_ref::<WasmCoreDump>()?;
    // The store is only dropped after this.
    let serialize = AssertUnwindSafe(|| dump.serialize(store.as_context_mut(), name));
    Some(catch_unwind(serialize).map_err(|panic| {
        let reason = message(&*panic);
        format!("wasmtime cannot write one of this guest, as of components that were composed ({reason})")
    }))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it gave no reason").to_owned()
}
