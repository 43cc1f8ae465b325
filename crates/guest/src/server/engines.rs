//! Which artifacts share an engine, and its pool. In: artifacts, with what their routes run at once. Out: each of them loaded
//! into an engine whose pool holds all that run in it. Never here: a linker, an instance.

use super::pool::{Allocation, Machine, Need, Share};
use crate::Limits;
use isomer_contract::Requirements;
use isomer_contract::wasi::{self, Interface};
use isomer_runtime::{Code, LoadError, Loaded, Loader, VerifiedArtifact};

/// An artifact, and what its route runs at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served<'a> {
    artifact: &'a VerifiedArtifact,
    /// Instances at once.
    instances: usize,
    /// Requests at once, in all instances together.
    requests: usize,
    /// The stack of each, in bytes.
    max_stack: Option<u64>,
    /// Whether it handles requests of WASI 0.3.
    asynchronous: bool,
}

/// Loads each artifact, those of equal requirements into one engine. In the order of `served`; an error names the index of
/// the one that does not load.
pub(super) fn load(served: &[Served<'_>]) -> Result<Vec<(Allocation, Loaded)>, (usize, LoadError)> {
    let machine = Machine::look();
    let mut all: Vec<Option<(Allocation, Loaded)>> = served.iter().map(|_| None).collect();
    while let Some(first) = all.iter().position(Option::is_none) {
        let shares = |index: &usize| share_engine(served[*index].artifact, served[first].artifact);
        let sharing: Vec<usize> = (first..served.len()).filter(shares).collect();
        let of_engine: Vec<_> = sharing.iter().map(|index| served[*index]).collect();
        let (allocation, loaded) =
            load_into_one(&of_engine, &machine).map_err(|(index, error)| (sharing[index], error))?;
        for (index, loaded) in sharing.into_iter().zip(loaded) {
            all[index] = Some((allocation.clone(), loaded));
        }
    }
    Ok(all.into_iter().flatten().collect())
}

/// A loader whose engines have that memory. Stacks are an engine's: the largest of those that share it.
pub(super) fn loader(allocation: &Allocation, max_stack: Option<u64>) -> Loader {
    let allocation = allocation.clone();
    let stack = Limits { max_stack, ..Limits::default() };
    Loader::new().configure(move |config| {
        stack.configure(config);
        allocation.apply(config);
    })
}

/// Whether artifacts load in one engine, as [`Loader`] decides it.
fn share_engine(one: &VerifiedArtifact, other: &VerifiedArtifact) -> bool {
    fn key(it: &Requirements) -> impl PartialEq {
        (it.arch, &it.tunables, &it.recorded, &it.wasm_features)
    }
    key(one.requirements()) == key(other.requirements())
}

/// Only an engine can tell what an artifact needs. Most need what is usual, and are loaded once, into a pool for that; for
/// others there is a second engine, with what the first load showed.
fn load_into_one(served: &[Served<'_>], machine: &Machine) -> Result<(Allocation, Vec<Loaded>), (usize, LoadError)> {
    let Some(first) = served.first() else { return Ok((Allocation::on_demand("nothing is loaded"), Vec::new())) };
    let derive = |needs: Option<Vec<Need>>| match needs {
        Some(needs) => {
            let shares: Vec<_> = served.iter().zip(needs).map(|(of, need)| of.share(need)).collect();
            Allocation::derive(first.artifact.requirements(), &shares, machine)
        }
        None => Allocation::on_demand("the component imports modules, and only they say what they need"),
    };
    let max_stack = served.iter().filter_map(|of| of.max_stack).max();
    let load = |allocation: &Allocation| {
        let loader = loader(allocation, max_stack);
        let load = |(index, of): (usize, &Served<'_>)| loader.load(of.artifact.clone()).map_err(|error| (index, error));
        served.iter().enumerate().map(load).collect::<Result<Vec<_>, _>>()
    };
    let usual = derive(Some(vec![Need::USUAL; served.len()]));
    let measured = match load(&usual) {
        Ok(loaded) => {
            let measured = derive(needs(&loaded));
            let are_on_demand = [&usual, &measured].iter().all(|it| matches!(it, Allocation::OnDemand { .. }));
            if measured == usual || are_on_demand {
                return Ok((measured, loaded));
            }
            measured
        }
        // A pool holds nothing that is larger than its slots.
        Err(_) => derive(needs(&load(&Allocation::on_demand("to see what is needed"))?)),
    };
    let loaded = load(&measured)?;
    Ok((measured, loaded))
}

fn needs(loaded: &[Loaded]) -> Option<Vec<Need>> {
    let need = |loaded: &Loaded| match &loaded.code {
        Code::Component(component) => Need::of(component),
        Code::Module(_) => None,
    };
    loaded.iter().map(need).collect()
}

impl<'a> Served<'a> {
    pub(super) fn new(
        artifact: &'a VerifiedArtifact,
        instances: usize,
        requests: usize,
        max_stack: Option<u64>,
    ) -> Served<'a> {
        Served { artifact, instances, requests, max_stack, asynchronous: is_asynchronous(artifact) }
    }

    fn share(&self, need: Need) -> Share {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (instances, requests) = (number(self.instances), number(self.requests));
        Share { need, instances, requests, asynchronous: self.asynchronous }
    }
}

/// Whether it handles requests of WASI 0.3, as its imports tell; one that is damaged does not load.
fn is_asynchronous(artifact: &VerifiedArtifact) -> bool {
    let imports = artifact.imports().unwrap_or_default();
    imports
        .iter()
        .filter_map(|import| Interface::parse(&import.name))
        .any(|interface| interface.package == "wasi:http" && wasi::WASI_0_3.includes(interface.version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use isomer_runtime::{Expected, SealedBytes, verify};
    use std::fs::File;
    use std::path::Path;
    use wasmtime::Engine;

    /// Upstream's output for pulley64.
    fn artifact(name: &str) -> VerifiedArtifact {
        let path = Path::new("../run/tests/artifacts").join(format!("{name}-pulley64.cwasm.zst"));
        let bytes = zstd::decode_all(File::open(path).expect("it is there")).expect("it is whole");
        let sealed = SealedBytes::copy(&bytes[..], 1 << 20).expect("memory files can be made");
        verify(sealed, Expected::AnyArtifact).expect("it is an artifact")
    }

    fn served(artifact: &VerifiedArtifact, instances: usize) -> Served<'_> {
        Served::new(artifact, instances, instances, None)
    }

    fn sizes(allocation: &Allocation) -> (u32, u32, u32, u32) {
        let Allocation::Pool(sizes) = allocation else { panic!("{allocation:?}") };
        (sizes.instances, sizes.memories, sizes.tables, sizes.stacks)
    }

    #[test]
    fn artifacts_of_equal_requirements_share_an_engine_whose_pool_holds_all() {
        if cfg!(target_endian = "big") {
            return;
        }
        let (usual, large) = (artifact("component"), artifact("component-large"));
        let loaded = load(&[served(&usual, 3)]).expect("it loads");
        assert_eq!(sizes(&loaded[0].0), (3, 3, 6, 6));
        // It has two memories and four tables, as only its first load shows.
        let loaded = load(&[served(&usual, 3), served(&large, 5), served(&usual, 2)]).expect("they load");
        for (allocation, of) in &loaded {
            assert_eq!(sizes(allocation), (10, 5 + 10, 10 + 20, 20));
            assert!(Engine::same(&of.engine, &loaded[0].1.engine));
        }
        let Code::Component(large) = &loaded[1].1.code else { panic!("the second is one, too") };
        assert_eq!(Need::of(large).map(|need| need.memories), Some(2), "in the order of what was served");
    }
}
