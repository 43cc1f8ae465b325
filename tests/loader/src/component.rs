//! Components: what scripts may import from the host, instances, calls. In: artifacts and values of the protocol. Out:
//! values of the protocol. Never here: a judgement of what came out.

use crate::value;
use crate::wait::block_on;
use isomer_testing::protocol::Value;
use std::future::{pending, poll_fn};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::Poll;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Linker, LinkerInstance, Resource, ResourceType, Val};
use wasmtime::{AsContextMut, Engine, Module, Result, Store, bail, ensure};

/// The components of a script. Each has a store of its own.
pub(crate) struct Components {
    linker: Linker<()>,
    /// The latest instance, unless that is a module's.
    current: Option<(Store<()>, Instance)>,
}

impl Components {
    pub(crate) fn new(engine: &Engine) -> Result<Components> {
        let mut linker = Linker::new(engine);
        // Suites define the same name again.
        linker.allow_shadowing(true);
        link_root(&mut linker.root())?;
        link_host(&mut linker.instance("host")?)?;
        link_wasmtime(&mut linker.instance("wasmtime")?)?;
        Ok(Components { linker, current: None })
    }

    /// The one import that is a module.
    pub(crate) fn link_simple_module(&mut self, module: &Module) -> Result<()> {
        self.linker.instance("host")?.module("simple-module", module)
    }

    pub(crate) fn is_current(&self) -> bool {
        self.current.is_some()
    }

    /// What comes next is about a module's instance.
    pub(crate) fn leave(&mut self) {
        self.current = None;
    }

    /// Others may import modules and resources of an instance that has a name.
    pub(crate) fn instantiate(&mut self, artifact: &Path, name: Option<&str>) -> Result<()> {
        let component = deserialize(self.linker.engine(), artifact)?;
        let mut store = Store::new(self.linker.engine(), ());
        let instance = block_on(self.linker.instantiate_async(&mut store, &component))?;
        if let Some(name) = name {
            let engine = self.linker.engine().clone();
            let mut linker = self.linker.instance(name)?;
            for (export, item) in component.component_type().exports(&engine) {
                match item.ty {
                    ComponentItem::Module(_) => {
                        let Some(module) = instance.get_module(&mut store, export) else { bail!("no `{export}`") };
                        linker.module(export, &module)?;
                    }
                    ComponentItem::Resource(_) => {
                        let Some(ty) = instance.get_resource(&mut store, export) else { bail!("no `{export}`") };
                        linker.resource(export, ty, |_, _| Ok(()))?;
                    }
                    _ => {}
                }
            }
        }
        self.current = Some((store, instance));
        Ok(())
    }

    /// Calls an export of the latest instance.
    pub(crate) fn invoke(&mut self, function: &str, arguments: &[Value]) -> Result<Vec<Value>> {
        let Some((store, instance)) = &mut self.current else { bail!("no instance yet") };
        let Some(function) = instance.get_func(&mut *store, function) else { bail!("no function `{function}`") };
        let arguments: Vec<Val> = arguments.iter().map(value::to_component).collect::<Result<_>>()?;
        let mut results = vec![Val::Bool(false); function.ty(&*store).results().len()];
        block_on(function.call_async(&mut *store, &arguments, &mut results))?;
        Ok(results.iter().map(|value| Value::Component(value::of_component(value))).collect())
    }
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, artifact: &Path) -> Result<Component> {
    // SAFETY: tests load what they made themselves a moment ago.
    unsafe { Component::deserialize_file(engine, artifact) }
}

fn link_root(root: &mut LinkerInstance<'_, ()>) -> Result<()> {
    root.func_wrap("host-return-two", |_, (): ()| Ok((2_u32,)))?;
    root.func_wrap_concurrent("host-echo-u32", |_, (number,): (u32,)| Box::pin(async move { Ok((number,)) }))
}

/// What wasmtime's own suite imports.
fn link_wasmtime(host: &mut LinkerInstance<'_, ()>) -> Result<()> {
    host.func_wrap("gc", |mut store, (): ()| store.as_context_mut().gc(None))?;
    host.func_wrap("set-max-table-capacity", |mut store, (capacity,): (u32,)| {
        let mut store = store.as_context_mut();
        let Some(table) = store.concurrent_resource_table() else { bail!("the store has no table") };
        table.set_max_capacity(capacity as usize);
        Ok(())
    })
}

struct First;
struct Second;

/// Which of the first resource's values were dropped.
#[derive(Default)]
struct Dropped {
    count: AtomicU32,
    latest: AtomicU32,
}

/// The names and what they do are the suite's.
fn link_host(host: &mut LinkerInstance<'_, ()>) -> Result<()> {
    host.func_wrap("return-three", |_, (): ()| Ok((3_u32,)))?;
    host.func_wrap("return-hi", |_, (): ()| Ok(("hi".to_owned(),)))?;
    host.instance("nested")?.func_wrap("return-four", |_, (): ()| Ok((4_u32,)))?;
    host.func_wrap_concurrent("never-return", |_, (): ()| Box::pin(pending::<Result<()>>()))?;
    host.func_wrap_concurrent("return-two-slowly", |_, (): ()| {
        Box::pin(async {
            yield_once().await;
            Ok((2_i32,))
        })
    })?;
    host.func_wrap_concurrent("echo-slowly", |_, (number,): (u32,)| {
        Box::pin(async move {
            yield_once().await;
            Ok((number,))
        })
    })?;
    link_resources(host)
}

fn link_resources(host: &mut LinkerInstance<'_, ()>) -> Result<()> {
    let dropped = Arc::new(Dropped::default());
    let first = ResourceType::host::<First>();
    let by = dropped.clone();
    host.resource("resource1", first, move |_, number| {
        by.count.fetch_add(1, SeqCst);
        by.latest.store(number, SeqCst);
        Ok(())
    })?;
    host.resource("resource1-again", first, |_, _| bail!("it is dropped as what it was made as"))?;
    host.resource("resource2", ResourceType::host::<Second>(), |_, _| Ok(()))?;
    host.func_wrap("[constructor]resource1", |_, (number,): (u32,)| Ok((Resource::<First>::new_own(number),)))?;
    host.func_wrap("[static]resource1.assert", |_, (resource, number): (Resource<First>, u32)| {
        ensure!(resource.rep() == number, "expected the resource {number}, found {}", resource.rep());
        Ok(())
    })?;
    let by = dropped.clone();
    host.func_wrap("[static]resource1.last-drop", move |_, (): ()| Ok((by.latest.load(SeqCst),)))?;
    host.func_wrap("[static]resource1.drops", move |_, (): ()| Ok((dropped.count.load(SeqCst),)))?;
    host.func_wrap("[method]resource1.simple", |_, (resource, number): (Resource<First>, u32)| {
        ensure!(!resource.owned() && resource.rep() == number, "expected a borrow of {number}, found {resource:?}");
        Ok(())
    })?;
    host.func_wrap("[method]resource1.take-borrow", |_, (one, other): (Resource<First>, Resource<First>)| {
        ensure!(!one.owned() && !other.owned(), "expected two borrows, found {one:?}, {other:?}");
        Ok(())
    })?;
    host.func_wrap("[method]resource1.take-own", |_, (one, other): (Resource<First>, Resource<First>)| {
        ensure!(!one.owned() && other.owned(), "expected a borrow and an own, found {one:?}, {other:?}");
        Ok(())
    })?;
    host.func_wrap_concurrent("[method]resource1.never-return", |_, (_,): (Resource<First>,)| {
        Box::pin(pending::<Result<()>>())
    })
}

/// Not ready at the first poll, ready at the second.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
