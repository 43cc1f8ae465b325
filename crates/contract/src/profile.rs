//! In: the text of a profile file and a way to find the one it inherits from. Out: a [`Profile`], in which every
//! effective setting has a value and an origin. Nothing is inferred from the machine that this runs on.

mod effective;
mod error;
mod lint;
mod overlay;
mod parse;
mod shipped;

pub use effective::{Change, Effective};
pub use error::{Problem, ProfileError};
pub use lint::{Remark, lint};
pub use overlay::{Overlay, OverlayError, overlay_names, overlays};
pub use parse::ProfileText;
use shipped::is_shipped;
pub use shipped::{SHIPPED, find_shipped, shipped_names};

use crate::isa::{self, Arch};
use crate::name::TargetName;
use crate::proposals;
use crate::settings::{Role, Section, Settings, Value};
use parse::Parsed;
use std::collections::{BTreeMap, BTreeSet};
use target_lexicon::Triple;
use wasmparser::WasmFeatures;

/// The most levels of inheritance.
const INHERITANCE_DEPTH_MAX: usize = 16;

/// Where an effective setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// wasmtime's default.
    Default,
    /// The profile of that name.
    Profile(String),
    /// The overlay of that name.
    Overlay(String),
}

/// A CPU profile with everything that it inherits: the settings of code generation, and what a server must have.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What the target is called, a [`TargetName`]: the file's stem, and its overlays.
    pub name: String,
    /// The file, as it is named in messages.
    pub path: String,
    /// One line for people, with the source of the extension list.
    pub description: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// Which of two forms that are otherwise equally good on a server is chosen there: that of the higher priority. 0 unless
    /// the file states another. No code depends on it, and it is not inherited.
    pub priority: i32,
    /// The profiles that it inherits from, nearest first.
    pub inherits: Vec<String>,
    /// The overlays on top of it, sorted by name.
    pub overlays: Vec<Overlay>,
    /// The platform, in target-lexicon's canonical form.
    pub triple: Triple,
    /// The architecture of `triple`.
    pub arch: Arch,
    /// The ISA extensions beyond the architecture's baseline, closed under implication, by their names in
    /// [`isa`], each with the profile that adds it.
    pub isa: BTreeMap<&'static str, String>,
    /// Every setting.
    pub settings: Settings,
    /// The WebAssembly proposals that modules may use.
    pub features: WasmFeatures,
    /// The origin of each setting and proposal that is not a default, by key.
    origins: BTreeMap<&'static str, Origin>,
}

impl Profile {
    /// Where the value of the setting or proposal `key` comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Reads `text` and the profiles that it inherits from; `find` returns the text of a profile by name.
    ///
    /// # Errors
    /// The first problem in one of the texts, with its file and line.
    pub fn resolve(text: &ProfileText, find: &dyn Fn(&str) -> Option<ProfileText>) -> Result<Profile, ProfileError> {
        text.name.parse::<TargetName>().map_err(|error| text.error(None, error.into()))?;
        let chain = inheritance_chain(text, find)?;
        // The root, which states the triple, comes last in the chain and is applied first.
        let (root_text, root) = chain.last().expect("the chain holds the profile itself");
        let Some((triple, _)) = &root.triple else {
            return Err(root_text.error(None, Problem::NoTriple));
        };
        let arch = Arch::of(triple).expect("parsing refuses other architectures");
        let (leaf_text, leaf) = &chain[0];
        let mut profile = Profile {
            name: leaf_text.name.clone(),
            path: leaf_text.path.clone(),
            description: leaf.description.clone(),
            aliases: leaf.aliases.clone(),
            priority: leaf.priority,
            inherits: chain[1..].iter().map(|(text, _)| text.name.clone()).collect(),
            overlays: Vec::new(),
            triple: triple.clone(),
            arch,
            isa: BTreeMap::new(),
            settings: Settings::defaults(arch.is_pulley()),
            features: proposals::default_features(arch),
            origins: BTreeMap::new(),
        };
        for (text, parsed) in chain.iter().rev() {
            profile.add(text, parsed)?;
        }
        Ok(profile)
    }

    /// The shipped profile with that name or alias.
    pub fn shipped(name: &str) -> Option<Profile> {
        let text = find_shipped(name)?;
        Some(Profile::resolve(&text, &find_shipped).expect("a test resolves every shipped profile"))
    }

    /// The settings that only the code generator sees, by key, where they differ from wasmtime's defaults.
    pub fn code_generation(&self) -> BTreeMap<String, Value> {
        let defaults = Settings::defaults(self.arch.is_pulley());
        let pairs = self.settings.values().zip(defaults.values());
        let differs = pairs.filter(|((row, value), (_, default))| row.role == Role::CodeGeneration && value != default);
        differs.map(|((row, value), _)| (row.key.to_owned(), value)).collect()
    }

    /// Adds one file of the inheritance chain.
    fn add(&mut self, text: &ProfileText, parsed: &Parsed) -> Result<(), ProfileError> {
        if let Some((triple, line)) = &parsed.triple
            && *triple != self.triple
        {
            let problem = Problem::OtherTriple { found: triple.to_string(), inherited: self.triple.to_string() };
            return Err(text.error(Some(*line), problem));
        }
        for (name, line) in &parsed.isa {
            let extension = parse::extension(self.arch, name).map_err(|problem| text.error(Some(*line), problem))?;
            if !extension.baseline {
                self.isa.entry(extension.name).or_insert_with(|| text.name.clone());
            }
        }
        self.check_closed(text, parsed)?;
        parsed.settings.apply(&mut self.settings, |key| {
            self.origins.insert(key, Origin::Profile(text.name.clone()));
        });
        for (proposal, enable, line) in &parsed.proposals {
            if *enable
                && let Some((_, reason)) =
                    proposals::unsupported_on(self.arch).iter().find(|(feature, _)| *feature == proposal.feature)
            {
                let problem = Problem::Unsupported { key: proposal.key, reason: (*reason).to_owned() };
                return Err(text.error(Some(*line), problem));
            }
            self.features.set(proposal.feature, *enable);
            self.origins.insert(proposal.key, Origin::Profile(text.name.clone()));
        }
        self.check_consistent(text, parsed)
    }

    fn check_closed(&self, text: &ProfileText, parsed: &Parsed) -> Result<(), ProfileError> {
        let names: BTreeSet<&'static str> = self.isa.keys().copied().collect();
        let Some((extension, implied)) = isa::missing_implied(self.arch, &names).into_iter().next() else {
            return Ok(());
        };
        let line = parsed.isa.iter().find(|(name, _)| *name == extension).map(|(_, line)| *line);
        Err(text.error(line, Problem::NotClosed { extension, implied }))
    }

    /// Refuses settings that wasmtime accepts one by one but not together.
    fn check_consistent(&self, text: &ProfileText, parsed: &Parsed) -> Result<(), ProfileError> {
        let settings = &self.settings;
        let spectre = settings.heap_access_spectre_mitigation || settings.table_access_spectre_mitigation;
        let clash = |(section, key): (Section, &'static str), with| {
            Err(text.error(parsed.line(section, key), Problem::Clash { key, with }))
        };
        if settings.signals_based_traps && self.arch.is_pulley() {
            return clash(
                (Section::Optimize, "signals-based-traps"),
                "Pulley, an interpreter, which has no hardware faults to catch: set it to false",
            );
        }
        if !settings.signals_based_traps && spectre {
            return clash(
                (Section::Optimize, "signals-based-traps"),
                "`heap-access-spectre-mitigation` and `table-access-spectre-mitigation` in [codegen], \
                 which need signals: set both to false as well",
            );
        }
        if self.features.contains(WasmFeatures::RELAXED_SIMD) && !self.features.contains(WasmFeatures::SIMD) {
            return clash((Section::Wasm, "relaxed-simd"), "`simd = false`: set relaxed-simd to false as well");
        }
        let of_gc = WasmFeatures::GC | WasmFeatures::EXCEPTIONS;
        if self.features.intersects(of_gc) && !self.features.contains(WasmFeatures::GC_TYPES) {
            return clash(
                (Section::Wasm, "gc-types"),
                "`gc` and `exceptions`, which need it: set both to false as well",
            );
        }
        if self.features.intersects(needs_concurrency()) && !settings.concurrency_support {
            return clash(
                (Section::Wasm, "concurrency-support"),
                "`component-model-async`, which needs it: set that to false as well",
            );
        }
        if self.features.contains(WasmFeatures::STACK_SWITCHING) && settings.inlining != crate::settings::Inlining::No {
            return clash((Section::Optimize, "inlining"), "`stack-switching`: set one of them to its default");
        }
        if settings.debug_info && !settings.debug_symbols {
            return clash((Section::Codegen, "debug-info"), "`debug-symbols = false`: native DWARF needs symbols");
        }
        Ok(())
    }
}

fn needs_concurrency() -> WasmFeatures {
    WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_MORE_ASYNC_BUILTINS
        | WasmFeatures::CM_ASYNC_STACKFUL
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT
}

/// The profile itself, then what it inherits from, up to the root.
fn inheritance_chain(
    text: &ProfileText,
    find: &dyn Fn(&str) -> Option<ProfileText>,
) -> Result<Vec<(ProfileText, Parsed)>, ProfileError> {
    let mut chain: Vec<(ProfileText, Parsed)> = Vec::new();
    let mut next = Some(text.clone());
    while let Some(text) = next.take() {
        let parsed = parse::parse(&text)?;
        if let Some((parent, line)) = &parsed.inherits {
            let names: Vec<_> = chain.iter().map(|(text, _)| text.name.clone()).chain([text.name.clone()]).collect();
            if names.contains(parent) {
                return Err(text.error(Some(*line), Problem::Cycle { path: names, back_to: parent.clone() }));
            }
            if names.len() >= INHERITANCE_DEPTH_MAX {
                return Err(text.error(Some(*line), Problem::TooDeep { max: INHERITANCE_DEPTH_MAX }));
            }
            // A shipped profile inherits from shipped ones only, so that it means the same everywhere.
            let found = if is_shipped(&text) { find_shipped(parent) } else { find(parent) };
            let found = found.ok_or_else(|| {
                let nearest = crate::nearest(parent, shipped_names()).map(str::to_owned);
                text.error(Some(*line), Problem::UnknownParent { parent: parent.clone(), nearest })
            })?;
            // An alias finds a profile by another name.
            if names.contains(&found.name) {
                return Err(text.error(Some(*line), Problem::Cycle { path: names, back_to: found.name }));
            }
            next = Some(found);
        }
        chain.push((text, parsed));
    }
    Ok(chain)
}
