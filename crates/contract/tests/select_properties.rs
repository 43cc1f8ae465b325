//! What holds of `select` for whatever host and variants: hosts with random extensions, variants from shipped profiles
//! and with random extensions, engines of random versions.

use isomer_contract::isa;
use isomer_contract::profile::shipped_names;
use isomer_contract::settings::Value as Setting;
use isomer_contract::{Arch, Cost, Demand, Digest, ENGINE_VERSION, Host, Kind, Limit, Profile, Rejected, Requirements};
use isomer_contract::{Selection, Urgency, Variant, engine_major};
use proptest::prelude::*;
use proptest::sample::{select as one_of, subsequence};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The architectures of machines.
const MACHINES: [Arch; 4] = [Arch::X86_64, Arch::Aarch64, Arch::Riscv64, Arch::S390x];

/// What a host that asks for nothing would run.
fn select<'a>(variants: &'a [Variant], host: &Host) -> Selection<'a> {
    isomer_contract::select(variants, host, &Demand::default())
}

/// 300 cases, and no file that remembers failures.
fn cases() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_chosen_runs_and_what_does_not_run_is_never_chosen((host, variants) in fleet()) {
        let selection = select(&variants, &host);
        prop_assert_eq!(selection.chosen.is_some(), variants.iter().any(|variant| runs(variant, &host)));
        prop_assert!(selection.chosen.is_none_or(|chosen| runs(chosen, &host)));
        for (variant, rejected) in &selection.rejected {
            prop_assert_eq!(runs(variant, &host), matches!(rejected, Rejected::Outranked(_)), "{}", variant.target);
        }
    }

    #[test]
    fn the_order_of_the_variants_changes_nothing((host, variants, shuffled) in shuffled_fleet()) {
        prop_assert_eq!(outcome(&select(&variants, &host)), outcome(&select(&shuffled, &host)));
    }

    #[test]
    fn no_two_variants_are_equally_good((host, variants) in fleet()) {
        for a in &variants {
            for b in variants.iter().filter(|b| a.manifest < b.manifest) {
                let (there, back) = ([a.clone(), b.clone()], [b.clone(), a.clone()]);
                prop_assert_eq!(outcome(&select(&there, &host)), outcome(&select(&back, &host)));
            }
        }
    }

    #[test]
    fn one_variant_more_never_makes_the_choice_worse((host, _, variants) in shuffled_fleet()) {
        let (new, old) = variants.split_last().expect("a fleet has variants");
        let before = select(old, &host).chosen;
        let after = select(&variants, &host).chosen;
        prop_assert!(after == before || after == Some(new));
        // Nor does one win that uses less of the machine.
        if let Some(before) = before && runs(new, &host) && needs_less(new, before) && percent(new) >= percent(before) {
            prop_assert_eq!(after, Some(before));
        }
    }

    /// Metered, checked and debugging forms that use all of the machine, first by name and of the highest priority.
    #[test]
    fn a_slower_form_never_changes_the_choice_of_a_host_that_did_not_ask_for_it(
        (host, variants) in fleet(), costs in costs()
    ) {
        let Some(before) = select(&variants, &host).chosen else { return Ok(()) };
        let mut slower = with_costs(before.clone(), &costs, 1000);
        if !before.requirements.arch.is_pulley() {
            slower.requirements.isa.clone_from(&host.isa);
        }
        (slower.target, slower.manifest) = ("a".to_owned(), Digest::of(b"slower"));
        prop_assume!(percent(&slower) > percent(before));
        prop_assert!(runs(&slower, &host));
        let more: Vec<_> = variants.iter().chain([&slower]).cloned().collect();
        prop_assert_eq!(select(&more, &host).chosen, Some(before));
    }

    /// A demand is met, and by the form that costs least beside it.
    #[test]
    fn what_is_chosen_meets_the_demand((host, variants) in fleet(), deadline in urgency(), fuel in urgency()) {
        let demand = Demand { deadline, fuel, target: None };
        let selection = isomer_contract::select(&variants, &host, &demand);
        let keeps = |limit: Limit, variant: &Variant| limit.is_kept_by(&variant.requirements);
        let required: Vec<_> =
            Limit::ALL.into_iter().filter(|limit| demand.urgency(*limit) == Urgency::Required).collect();
        let meets = |variant: &Variant| runs(variant, &host) && required.iter().all(|limit| keeps(*limit, variant));
        prop_assert_eq!(selection.chosen.is_some(), variants.iter().any(meets));
        let Some(chosen) = selection.chosen else { return Ok(()) };
        prop_assert!(meets(chosen));
        let wished = |variant: &Variant| {
            let preferred = |limit: &Limit| demand.urgency(*limit) == Urgency::Preferred;
            Limit::ALL.into_iter().filter(preferred).filter(|limit| keeps(*limit, variant)).count()
        };
        let extra = |variant: &Variant| -> u32 {
            let asked = |cost: &Cost| {
                Limit::ALL.into_iter().any(|limit| limit.cost() == *cost && demand.urgency(limit) != Urgency::None)
            };
            variant.costs().into_iter().filter(|cost| !asked(cost)).map(Cost::percent).sum()
        };
        let same_kind = |variant: &&Variant| variant.requirements.arch == chosen.requirements.arch;
        for other in variants.iter().filter(|variant| meets(variant)).filter(same_kind) {
            let (better, same) = (wished(chosen) > wished(other), wished(chosen) == wished(other));
            prop_assert!(better || same && extra(chosen) <= extra(other), "{}", other.target);
        }
    }

    #[test]
    fn every_variant_is_chosen_or_rejected_once_with_a_reason((host, variants) in fleet()) {
        let selection = select(&variants, &host);
        let mut seen: Vec<_> = selection.rejected.iter().map(|(variant, _)| variant.manifest).collect();
        seen.extend(selection.chosen.map(|variant| variant.manifest));
        seen.sort();
        let mut all: Vec<_> = variants.iter().map(|variant| variant.manifest).collect();
        all.sort();
        prop_assert_eq!(seen, all);
        for (variant, rejected) in &selection.rejected {
            let has_reason = match rejected {
                Rejected::Incompatible(mismatches) => !mismatches.is_empty(),
                Rejected::Outranked(reason) => !reason.is_empty(),
            };
            prop_assert!(has_reason, "{}", variant.target);
        }
    }

    #[test]
    fn what_was_chosen_is_chosen_from_itself_alone((host, variants) in fleet()) {
        if let Some(chosen) = select(&variants, &host).chosen {
            let alone = [chosen.clone()];
            prop_assert_eq!(select(&alone, &host).chosen, Some(chosen));
        }
    }
}

/// What runs where, by set inclusion alone: what `check` must come to.
fn runs(variant: &Variant, host: &Host) -> bool {
    let needs = &variant.requirements;
    let bytecode = if host.arch == Arch::S390x { Arch::Pulley64be } else { Arch::Pulley64 };
    let baseline_is_there = isa::all(host.arch).filter(|row| row.baseline).all(|row| host.isa.contains(row.name));
    let native_runs = host.native_code && baseline_is_there;
    let native = needs.arch == host.arch && needs.os == host.os && native_runs && needs.isa.is_subset(&host.isa);
    let interpreted = needs.arch == bytecode && needs.isa.is_empty();
    needs.engine == major(&host.engine) && (native || interpreted)
}

/// The same kind of machine, and fewer extensions with all that they imply.
fn needs_less(variant: &Variant, than: &Variant) -> bool {
    let (a, b) = (&variant.requirements, &than.requirements);
    let (a_isa, b_isa) = (closed(a.arch, &a.isa), closed(b.arch, &b.isa));
    a.arch == b.arch && a_isa != b_isa && a_isa.is_subset(&b_isa)
}

fn percent(variant: &Variant) -> u32 {
    variant.costs().into_iter().map(Cost::percent).sum()
}

fn urgency() -> impl Strategy<Value = Urgency> {
    one_of(vec![Urgency::None, Urgency::Preferred, Urgency::Required])
}

/// Settings that cost something, by the side that knows them: an artifact's own, or the code generator alone.
const COSTS: [(&str, bool, Setting); 5] = [
    ("fuel", true, Setting::Bool(true)),
    ("epoch-interruption", true, Setting::Bool(true)),
    ("memory-reservation", true, Setting::Integer(0)),
    ("debug-info", true, Setting::Bool(true)),
    ("nan-canonicalization", false, Setting::Bool(true)),
];

fn costs() -> impl Strategy<Value = Vec<(&'static str, bool, Setting)>> {
    subsequence(COSTS.to_vec(), 0..=COSTS.len())
}

fn with_costs(mut variant: Variant, costs: &[(&'static str, bool, Setting)], priority: i32) -> Variant {
    for (key, is_recorded, value) in costs {
        let to = if *is_recorded { &mut variant.requirements.tunables } else { &mut variant.code_generation };
        to.insert((*key).to_owned(), value.clone());
    }
    Variant { priority, ..variant }
}

/// All that a selection says, in its order.
fn outcome(selection: &Selection) -> (Option<Digest>, Vec<(Digest, Rejected)>) {
    let rejected = selection.rejected.iter().map(|(variant, rejected)| (variant.manifest, rejected.clone()));
    (selection.chosen.map(|variant| variant.manifest), rejected.collect())
}

fn major(engine: &str) -> &str {
    engine.split('.').next().unwrap_or_default()
}

/// A host and at least two variants, most of them for its kind of machine.
fn fleet() -> impl Strategy<Value = (Host, Vec<Variant>)> {
    host().prop_flat_map(|host| {
        let variants = prop::collection::vec(variant(host.arch), 1..8);
        let engines = prop::collection::vec(engine(), 1..4);
        let variants = (variants, engines).prop_map(|(variants, engines)| with_twins(variants, &engines));
        (Just(host), variants)
    })
}

fn shuffled_fleet() -> impl Strategy<Value = (Host, Vec<Variant>, Vec<Variant>)> {
    fleet().prop_flat_map(|(host, variants)| {
        let shuffled = Just(variants.clone()).prop_shuffle();
        (Just(host), Just(variants), shuffled)
    })
}

fn host() -> impl Strategy<Value = Host> {
    let mostly = prop::bool::weighted(0.9);
    let parts = (one_of(MACHINES.to_vec()), mostly, mostly, any::<bool>(), engine(), os());
    parts.prop_flat_map(|(arch, has_baseline, native_code, is_closed, engine, os)| {
        extensions(arch).prop_map(move |mut isa| {
            if has_baseline {
                isa.extend(isa::all(arch).filter(|row| row.baseline).map(|row| row.name.to_owned()));
            }
            let isa = if is_closed { closed(arch, &isa) } else { isa };
            Host { arch, os: os.to_owned(), cpu: None, isa, native_code, engine: engine.to_owned() }
        })
    })
}

/// A variant, most often for `arch`. Its manifest is [`with_twins`]' affair.
fn variant(arch: Arch) -> impl Strategy<Value = Variant> {
    let profile = prop_oneof![4 => one_of(shipped(Some(arch))), 1 => one_of(shipped(None))];
    profile.prop_flat_map(|profile| {
        let isa = prop_oneof![Just(None), extensions(profile.arch).prop_map(Some)];
        // Most forms cost nothing.
        let costs = prop_oneof![2 => Just(Vec::new()), 1 => costs()];
        let parts = (Just(profile), isa, engine(), os(), any::<bool>(), costs, -1..2i32);
        parts.prop_map(|(profile, isa, engine, os, without_threads, costs, priority)| {
            let mut requirements = Requirements::of_profile(profile, Kind::Module);
            requirements.engine = major(engine).to_owned();
            requirements.isa = isa.unwrap_or(requirements.isa);
            if !profile.arch.is_pulley() {
                requirements.os = os.to_owned();
            }
            if without_threads {
                requirements.wasm_features.remove("threads");
            }
            let (target, manifest) = (profile.name.clone(), Digest::of(&[]));
            let variant = Variant {
                serves: vec![target.clone()],
                target,
                engine: engine.to_owned(),
                requirements,
                code_generation: BTreeMap::new(),
                priority: 0,
                manifest,
            };
            with_costs(variant, &costs, priority)
        })
    })
}

/// Adds the first one's twins by other engines, and gives each a manifest: in an index no two entries are the same blob.
fn with_twins(mut variants: Vec<Variant>, engines: &[&str]) -> Vec<Variant> {
    for engine in engines {
        let mut twin = variants[0].clone();
        (twin.engine, twin.requirements.engine) = ((*engine).to_owned(), major(engine).to_owned());
        variants.push(twin);
    }
    for (at, variant) in variants.iter_mut().enumerate() {
        variant.manifest = Digest::of_json(&at);
    }
    variants
}

/// The shipped profiles of one architecture, or all.
fn shipped(arch: Option<Arch>) -> Vec<&'static Profile> {
    static SHIPPED: LazyLock<Vec<Profile>> = LazyLock::new(|| shipped_names().filter_map(Profile::shipped).collect());
    SHIPPED.iter().filter(|profile| arch.is_none_or(|arch| profile.arch == arch)).collect()
}

/// Any part of the architecture's rows, baseline included, and sometimes an unknown flag.
fn extensions(arch: Arch) -> impl Strategy<Value = BTreeSet<String>> {
    let names: Vec<_> = isa::all(arch).map(|row| row.name.to_owned()).collect();
    let some = subsequence(names.clone(), 0..=names.len());
    let names = prop_oneof![4 => some, 1 => Just(names)];
    (names, prop::bool::weighted(0.05)).prop_map(|(names, with_unknown)| {
        names.into_iter().chain(with_unknown.then(|| "has_tomorrow".to_owned())).collect()
    })
}

fn closed(arch: Arch, isa: &BTreeSet<String>) -> BTreeSet<String> {
    let known = isa.iter().filter_map(|name| isa::by_name(arch, name)).map(|row| row.name).collect();
    let implied = isa::closure(arch, &known).into_iter().map(str::to_owned);
    isa.iter().cloned().chain(implied).collect()
}

/// Mostly this one; its number is longer than its neighbour's, so that text and versions sort differently.
fn engine() -> impl Strategy<Value = &'static str> {
    let this_major = one_of(vec!["48.0.2", "48.0.10", "48.0.1x", "48.1.0-rc.1", "48.1.0"]);
    prop_oneof![4 => Just(ENGINE_VERSION), 4 => this_major, 1 => one_of(vec!["47.0.1", "49.0.0"])]
}

fn os() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just("linux"), 1 => Just("freebsd")]
}

/// The versions above are written for this one.
#[test]
fn the_versions_are_of_this_major() {
    assert_eq!(engine_major(), "48");
}
