//! The tests' loader: loads artifacts as `isomer-run` does but for the one thing that tests must do without, the look
//! at the CPU. In: a [`Script`], which names artifacts and what to call in them. Out: an [`Outcome`] a step, in words
//! that are equal on every machine when the bits are. Never here: a compiler, a judgement of what came out.

mod component;
mod spectest;
mod value;
mod wait;

pub use isomer_testing::protocol::{Outcome, Script, Step, Value};

use component::Components;
use isomer_contract::{Requirements, artifact::Artifact, engine_config};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread::{self, JoinHandle};
use wasmtime::{
    AsContext, Engine, Error, Extern, Instance, Linker, Module, Precompiled, Result, Store, Trap, Val, bail,
};

/// Does what the script says.
///
/// # Errors
/// When an artifact is not one, or no engine can be made for it. What the guests do wrong is an outcome.
pub fn run(script: &Script) -> Result<Vec<Outcome>> {
    let first = script.steps.iter().find_map(|step| match step {
        Step::Instantiate { artifact, .. } => Some(artifact),
        _ => None,
    });
    let Some(first) = first else { bail!("the script names no artifact") };
    let (engine, requirements) = engine_for(first)?;
    let mut runner = Runner::new(&engine, requirements.wasm_features.contains("threads"))?;
    if let Some(artifact) = &script.simple_module {
        runner.components.link_simple_module(&deserialize(&engine, artifact)?)?;
    }
    Ok(script.steps.iter().map(|step| runner.step(step)).collect())
}

fn engine_for(artifact: &Path) -> Result<(Engine, Requirements)> {
    let requirements = Artifact::read(&fs::read(artifact)?).map_err(Error::new)?.requirements;
    let mut config = engine_config(&requirements).map_err(Error::new)?;
    allow_any_cpu(&mut config);
    Ok((Engine::new(&config)?, requirements))
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, artifact: &Path) -> Result<Module> {
    // SAFETY: tests load what they made themselves a moment ago.
    unsafe { Module::deserialize_file(engine, artifact) }
}

#[allow(unsafe_code)]
fn allow_any_cpu(config: &mut wasmtime::Config) {
    // SAFETY: none is claimed. What happens on a CPU that lacks what an artifact uses is what tests want to see.
    unsafe { config.detect_host_feature(|_| Some(true)) };
}

struct Runner {
    store: Store<()>,
    linker: Linker<()>,
    named: HashMap<String, Instance>,
    latest: Option<Instance>,
    components: Components,
    threads: HashMap<String, JoinHandle<Vec<Outcome>>>,
    shared_memory: bool,
}

impl Runner {
    fn new(engine: &Engine, shared_memory: bool) -> Result<Runner> {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        // Suites define the same name again.
        linker.allow_shadowing(true);
        spectest::link(&mut linker, &mut store, shared_memory)?;
        spectest::link_gc(&mut linker)?;
        let components = Components::new(engine)?;
        let (named, threads) = (HashMap::new(), HashMap::new());
        Ok(Runner { store, linker, named, latest: None, components, threads, shared_memory })
    }

    fn step(&mut self, step: &Step) -> Outcome {
        match self.try_step(step) {
            Ok(outcome) => outcome,
            Err(error) => match error.downcast_ref::<Trap>() {
                Some(trap) => Outcome::Trap(trap.to_string()),
                None if error.is::<wasmtime::ThrownException>() => {
                    self.store.take_pending_exception();
                    Outcome::Exception
                }
                None => Outcome::Error(format!("{error:#}")),
            },
        }
    }

    fn try_step(&mut self, step: &Step) -> Result<Outcome> {
        match step {
            Step::Instantiate { artifact, name } => self.instantiate(artifact, name.as_deref()),
            Step::Register { instance, name } => {
                match (self.instance(instance.as_deref()), instance) {
                    (Ok(instance), _) => _ = self.linker.instance(&mut self.store, name, instance)?,
                    // A thread has the memories of an instance under its name, and not the instance.
                    (Err(_), Some(from)) => self.linker.alias_module(from, name)?,
                    (Err(error), None) => return Err(error),
                }
                Ok(Outcome::Values(Vec::new()))
            }
            Step::Invoke { instance: None, function, arguments } if self.components.is_current() => {
                Ok(Outcome::Values(self.components.invoke(function, arguments)?))
            }
            Step::Invoke { instance, function, arguments } => {
                let instance = self.instance(instance.as_deref())?;
                let Some(function) = instance.get_func(&mut self.store, function) else {
                    bail!("no function `{function}`");
                };
                let arguments =
                    arguments.iter().map(|value| value::to_val(value, &mut self.store)).collect::<Result<Vec<_>>>()?;
                let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
                function.call(&mut self.store, &arguments, &mut results)?;
                Ok(Outcome::Values(
                    results.iter().map(|value| value::of(value, &mut self.store)).collect::<Result<_>>()?,
                ))
            }
            Step::Get { instance, global } => {
                let instance = self.instance(instance.as_deref())?;
                let Some(global) = instance.get_global(&mut self.store, global) else {
                    bail!("no global `{global}`");
                };
                let value = global.get(&mut self.store);
                Ok(Outcome::Values(vec![value::of(&value, &mut self.store)?]))
            }
            Step::State { instance } => {
                let instance = self.instance(instance.as_deref())?;
                Ok(Outcome::State(self.state(instance)?))
            }
            Step::Thread { name, shared, steps } => {
                let thread = self.thread(shared.as_deref(), steps.clone())?;
                self.threads.insert(name.clone(), thread);
                Ok(Outcome::Values(Vec::new()))
            }
            Step::Wait { thread } => {
                let Some(thread) = self.threads.remove(thread) else { bail!("no thread `{thread}`") };
                Ok(Outcome::Thread(thread.join().map_err(|_| Error::msg("the thread panicked"))?))
            }
        }
    }

    /// A thread that makes the steps. Of this store it has the shared memories of one instance and nothing else.
    fn thread(&mut self, shared: Option<&str>, steps: Vec<Step>) -> Result<JoinHandle<Vec<Outcome>>> {
        let engine = self.linker.engine().clone();
        let mut memories = Vec::new();
        if let Some(shared) = shared {
            for (module, name, item) in self.linker.iter(&mut self.store) {
                if let (true, Extern::SharedMemory(memory)) = (module == shared, item) {
                    memories.push((shared.to_owned(), name.to_owned(), memory));
                }
            }
        }
        let shared_memory = self.shared_memory;
        Ok(thread::spawn(move || match Runner::with_memories(&engine, shared_memory, memories) {
            Ok(mut runner) => steps.iter().map(|step| runner.step(step)).collect(),
            Err(error) => vec![Outcome::Error(format!("{error:#}"))],
        }))
    }

    fn with_memories(
        engine: &Engine,
        shared_memory: bool,
        memories: Vec<(String, String, wasmtime::SharedMemory)>,
    ) -> Result<Runner> {
        let mut runner = Runner::new(engine, shared_memory)?;
        for (module, name, memory) in memories {
            runner.linker.define(&mut runner.store, &module, &name, memory)?;
        }
        Ok(runner)
    }

    /// When it fails, suites go on with the instance before this one.
    fn instantiate(&mut self, artifact: &Path, name: Option<&str>) -> Result<Outcome> {
        if let Some(Precompiled::Component) = Engine::detect_precompiled_file(artifact)? {
            self.components.instantiate(artifact, name)?;
            return Ok(Outcome::Values(Vec::new()));
        }
        let module = deserialize(self.linker.engine(), artifact)?;
        let instance = self.linker.instantiate(&mut self.store, &module)?;
        self.latest = Some(instance);
        self.components.leave();
        if let Some(name) = name {
            self.named.insert(name.to_owned(), instance);
            self.linker.instance(&mut self.store, name, instance)?;
        }
        Ok(Outcome::Values(Vec::new()))
    }

    fn instance(&self, name: Option<&str>) -> Result<Instance> {
        let found = name.map_or(self.latest, |name| self.named.get(name).copied());
        found.ok_or_else(|| Error::msg(format!("no instance {}", name.unwrap_or("yet"))))
    }

    fn state(&mut self, instance: Instance) -> Result<String> {
        let mut exports: Vec<(String, Extern)> =
            instance.exports(&mut self.store).map(|export| (export.name().to_owned(), export.into_extern())).collect();
        exports.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut hash = Sha256::new();
        for (name, export) in exports {
            match export {
                Extern::Memory(memory) => {
                    hash.update(format!("memory {name} {}\n", memory.data_size(&self.store)));
                    hash.update(memory.data(self.store.as_context()));
                }
                Extern::Global(global) => {
                    let value = global.get(&mut self.store);
                    let value = value::of(&value, &mut self.store)?;
                    hash.update(format!("global {name} {}\n", serde_json::to_string(&value).map_err(Error::new)?));
                }
                _ => {}
            }
        }
        Ok(hex::encode(hash.finalize()))
    }
}
