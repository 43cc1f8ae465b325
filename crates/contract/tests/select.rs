//! What [`select`] chooses, in which order it ranks the others, and why it says that they lost.

mod hosts;

use hosts::{host, requirements};
use isomer_contract::profile::{ProfileText, find_shipped};
use isomer_contract::{Cost, Hinted, major, only_name_differs};
use isomer_contract::{
    Demand, Digest, Host, Kind, Limit, Profile, Rejected, Requirements, Selection, Urgency, Variant,
};
use std::collections::BTreeMap;

/// What a host that asks for nothing would run.
fn select<'a>(variants: &'a [Variant], host: &Host) -> Selection<'a> {
    isomer_contract::select(variants, host, &Demand::default())
}

fn variant(target: &str) -> Variant {
    made_by("48.0.8", target)
}

fn made_by(engine: &str, target: &str) -> Variant {
    let mut requirements = requirements(target);
    requirements.engine = major(engine).to_owned();
    let manifest = Digest::of(format!("{target} {engine}").as_bytes());
    Variant {
        target: target.to_owned(),
        serves: vec![],
        engine: engine.to_owned(),
        requirements,
        code_generation: BTreeMap::new(),
        priority: 0,
        manifest,
    }
}

/// `variant` with other extensions or proposals, under another name.
fn changed(name: &str, mut variant: Variant, change: impl FnOnce(&mut Requirements)) -> Variant {
    change(&mut variant.requirements);
    Variant { target: name.to_owned(), manifest: Digest::of(name.as_bytes()), ..variant }
}

/// A variant of a profile with this text, called `name`.
fn of(name: &str, text: &str) -> Variant {
    let text = ProfileText { name: name.to_owned(), path: name.to_owned(), text: text.to_owned() };
    let profile = Profile::resolve(&text, &find_shipped).expect("a profile");
    Variant::of_profile(&profile, Kind::Module, "48.0.8")
}

/// A variant of `x86-64-v3` with these lines in `[wasm]`.
fn v3_with(name: &str, wasm: &str) -> Variant {
    of(name, &format!("inherits = 'x86-64-v3'\n[wasm]\n{wasm}"))
}

fn names<'a>(variants: impl IntoIterator<Item = &'a Variant>) -> Vec<&'a str> {
    variants.into_iter().map(|variant| variant.target.as_str()).collect()
}

/// All variants in the order of their rank, the chosen one in front.
fn ranked<'a>(selection: &Selection<'a>) -> Vec<&'a str> {
    names(selection.chosen.into_iter().chain(selection.rejected.iter().map(|(variant, _)| *variant)))
}

/// Why the one variant that was not chosen lost.
fn why(variants: &[Variant; 2], host: &Host) -> String {
    match &select(variants, host).rejected[..] {
        [(_, Rejected::Outranked(reason))] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_best_that_runs_is_chosen_and_the_others_are_ranked() {
    let all = ["pulley64", "x86-64-v1", "x86-64-v4", "neoverse-v1", "x86-64-v3", "x86-64-v2"].map(variant);
    for (on, chosen) in [
        ("x86-64-v4", "x86-64-v4"),
        ("x86-64-v3", "x86-64-v3"),
        ("x86-64-v1", "x86-64-v1"),
        ("neoverse-v2", "neoverse-v1"),
        ("neoverse-n1", "pulley64"),
    ] {
        let host = host(on);
        let selection = select(&all, &host);
        assert_eq!(selection.chosen.map(|it| it.target.as_str()), Some(chosen), "{on}");
        assert_eq!(selection.rejected.len(), all.len() - 1, "{on}");
    }
    let host = host("x86-64-v2");
    let selection = select(&all, &host);
    assert_eq!(ranked(&selection), ["x86-64-v2", "x86-64-v4", "x86-64-v3", "neoverse-v1", "x86-64-v1", "pulley64"]);
    assert!(select(&[], &host).chosen.is_none());
}

#[test]
fn what_lost_says_why() {
    let v2 = || variant("x86-64-v2");
    let cases = [
        ([variant("pulley64"), v2()], "compatible, but x86-64-v2 is native code"),
        ([variant("x86-64-v3"), v2()], "compatible, but x86-64-v3 also uses avx, avx2, bmi1, bmi2, fma, lzcnt"),
        (
            [
                v2(),
                changed("a", v2(), |it| {
                    it.wasm_features.insert("stack-switching".to_owned());
                }),
            ],
            "compatible, but x86-64-v2 requires fewer proposals",
        ),
        (
            [made_by("48.0.2", "x86-64-v2"), made_by("48.0.10", "x86-64-v2")],
            "compatible, but x86-64-v2 was compiled by the newer wasmtime 48.0.10",
        ),
        // What costs at run time loses, however many extensions it uses.
        (
            [v2(), of("edge", "inherits = 'x86-64-v4'\n[wasm]\nepoch-interruption = true\nfuel = true")],
            "compatible, but x86-64-v2 has no fuel counting, epoch checks",
        ),
        (
            [v2(), of("a", "inherits = 'x86-64-v2'\n[optimize]\nopt-level = 'none'")],
            "compatible, but x86-64-v2 has no unoptimized code",
        ),
        // Of two that cost something, the one that costs less.
        (
            [v3_with("a", "fuel = true"), v3_with("b", "epoch-interruption = true")],
            "compatible, but b has no fuel counting",
        ),
        // Native code that costs something comes before the interpreter.
        ([variant("pulley64"), v3_with("a", "fuel = true")], "compatible, but a is native code"),
        // A priority decides between forms that are otherwise equally good, and not against extensions.
        (
            [of("b", "priority = 7\ninherits = 'x86-64-v2'"), of("a", "priority = -1\ninherits = 'x86-64-v2'")],
            "compatible, but b has the priority 7, not -1",
        ),
        (
            [of("b", "priority = 7\ninherits = 'x86-64-v1'"), v2()],
            "compatible, but x86-64-v2 also uses cmpxchg16b, popcnt, sse3, sse4.1, sse4.2, ssse3",
        ),
        // Text that is no version is older than each that is.
        (
            [made_by("48.x", "x86-64-v2"), made_by("48.0.0", "x86-64-v2")],
            "compatible, but x86-64-v2 was compiled by the newer wasmtime 48.0.0",
        ),
        ([v2(), changed("another", v2(), |_| ())], "compatible, but another comes first by name"),
    ];
    for (variants, expected) in cases {
        assert_eq!(why(&variants, &host("x86-64-v4")), expected);
        let [a, b] = variants;
        assert_eq!(why(&[b, a], &host("x86-64-v4")), expected);
    }
}

#[test]
fn a_set_counts_with_all_that_it_implies() {
    // The same extensions, with and without those that are implied: neither uses more.
    let spelled_out = variant("x86-64-v3");
    let short = changed("short", variant("x86-64-v3"), |it| {
        it.isa = ["avx2", "bmi1", "bmi2", "cmpxchg16b", "fma", "lzcnt", "popcnt"].map(str::to_owned).into()
    });
    assert_eq!(why(&[spelled_out, short], &host("x86-64-v3")), "compatible, but short comes first by name");
}

#[test]
fn each_unknown_extension_counts_as_one() {
    let with = |name, extensions: &[&str]| {
        changed(name, variant("x86-64-v2"), |it| it.isa.extend(extensions.iter().map(|it| (*it).to_owned())))
    };
    let variants =
        [with("none", &[]), with("one", &["has_a"]), with("two", &["has_a", "has_b"]), with("avx", &["avx"])];
    let host = host("x86-64-v2");
    // `avx` is one as well, and is before `one` by name.
    assert_eq!(ranked(&select(&variants, &host)), ["none", "two", "avx", "one"]);
}

#[test]
fn steps_down_are_the_better_variants_for_the_same_machine() {
    let other_os = changed("windows", variant("x86-64-v4"), |it| it.os = "windows".to_owned());
    let other_engine = changed("later", variant("x86-64-v4"), |it| it.engine = "49".to_owned());
    let unknown = changed("unknown", variant("x86-64-v4"), |it| {
        it.isa.insert("has_a".to_owned());
    });
    let variants = [
        variant("x86-64-v1"),
        variant("x86-64-v2"),
        variant("x86-64-v3"),
        variant("neoverse-v2"),
        variant("pulley64"),
        other_os,
        other_engine,
        unknown,
        variant("x86-64-v4"),
    ];
    let steps = |on: &str, variants: &[Variant]| -> Vec<(String, usize)> {
        let host = host(on);
        let selection = select(variants, &host);
        selection.steps_down().map(|(variant, mismatches)| (variant.target.clone(), mismatches.len())).collect()
    };
    let expected = [("unknown".to_owned(), 4), ("x86-64-v4".to_owned(), 3)];
    assert_eq!(steps("x86-64-v3", &variants), expected);
    // What ranks behind the chosen one is no step down, though it does not run either.
    let lesser = changed("lesser", variant("x86-64-v1"), |it| {
        it.isa.insert("has_a".to_owned());
    });
    assert_eq!(steps("x86-64-v2", &[variant("x86-64-v2"), lesser.clone()]), []);
    // Nothing is chosen, so nothing is better.
    assert_eq!(steps("x86-64-v2", &[lesser]), []);
    // An equal one is not better than itself.
    assert_eq!(steps("x86-64-v3", &[variant("x86-64-v3")]), []);
}

/// What a host that asks for `demand` runs of `variants`, and why none of the others.
fn chosen(variants: &[Variant], demand: &Demand) -> (Option<String>, Vec<(String, String)>) {
    let host = host("x86-64-v3");
    let selection = isomer_contract::select(variants, &host, demand);
    let reason = |rejected: &Rejected| match rejected {
        Rejected::Outranked(why) => why.clone(),
        Rejected::Incompatible(mismatches) => {
            let mismatch = |it: &isomer_contract::Mismatch| format!("{it} ({})", it.hint().unwrap_or_default());
            mismatches.iter().map(mismatch).collect::<Vec<_>>().join("; ")
        }
    };
    let rejected = selection.rejected.iter().map(|(variant, why)| (variant.target.clone(), reason(why)));
    (selection.chosen.map(|variant| variant.target.clone()), rejected.collect())
}

fn forms() -> [Variant; 4] {
    [
        variant("x86-64-v3"),
        v3_with("x86-64-v3+epoch", "epoch-interruption = true"),
        v3_with("x86-64-v3+fuel", "fuel = true"),
        v3_with("x86-64-v3+epoch+fuel", "epoch-interruption = true\nfuel = true"),
    ]
}

#[test]
fn a_host_gets_the_form_that_keeps_what_it_asks_for_and_no_more() {
    use Urgency::{None, Preferred, Required};
    for (deadline, fuel, expected) in [
        (None, None, "x86-64-v3"),
        (Required, None, "x86-64-v3+epoch"),
        (None, Required, "x86-64-v3+fuel"),
        (Required, Required, "x86-64-v3+epoch+fuel"),
        (Preferred, None, "x86-64-v3+epoch"),
        (Preferred, Preferred, "x86-64-v3+epoch+fuel"),
        (Preferred, Required, "x86-64-v3+epoch+fuel"),
    ] {
        let demand = Demand { deadline, fuel, ..Demand::default() };
        assert_eq!(chosen(&forms(), &demand).0.as_deref(), Some(expected), "{demand:?}");
    }
}

#[test]
fn what_a_preferred_limit_costs_does_not_count_against_a_form() {
    let forms = [
        of("x86-64-v2+epoch", "inherits = 'x86-64-v2'\n[wasm]\nepoch-interruption = true"),
        v3_with("x86-64-v3+fuel", "fuel = true"),
    ];
    // Each keeps one of two limits. Fuel costs more, but was asked for: the extensions decide.
    let demand = Demand { deadline: Urgency::Preferred, fuel: Urgency::Preferred, ..Demand::default() };
    assert_eq!(chosen(&forms, &demand).0.as_deref(), Some("x86-64-v3+fuel"));
    // Of what was not asked for, the cheaper one.
    assert_eq!(chosen(&forms, &Demand::default()).0.as_deref(), Some("x86-64-v2+epoch"));
}

#[test]
fn what_does_not_meet_a_demand_says_what_would() {
    let both = Demand { deadline: Urgency::Required, fuel: Urgency::Required, ..Demand::default() };
    let [plain, epoch, _, _] = forms();
    let (found, rejected) = chosen(&[plain.clone(), epoch.clone()], &both);
    assert_eq!(found, None);
    let deadline = "does not keep a deadline: compiled without epoch interruption (release the module for \
                    `x86-64-v3+epoch` too)";
    let fuel = |target| {
        format!("does not keep a limit of fuel: compiled without fuel (release the module for `{target}` too)")
    };
    let expected = [
        ("x86-64-v3".to_owned(), format!("{deadline}; {}", fuel("x86-64-v3+fuel"))),
        ("x86-64-v3+epoch".to_owned(), fuel("x86-64-v3+epoch+fuel")),
    ];
    // The plain one costs nothing; the epochs of the other one were asked for.
    assert_eq!(rejected, expected);
    // What is only preferred rejects nothing, and says why the other one is better.
    let preferred = Demand { deadline: Urgency::Preferred, ..Demand::default() };
    assert_eq!(chosen(std::slice::from_ref(&plain), &preferred).0.as_deref(), Some("x86-64-v3"));
    let (found, rejected) = chosen(&[plain, epoch], &preferred);
    assert_eq!(found.as_deref(), Some("x86-64-v3+epoch"));
    assert_eq!(rejected[0].1, "compatible, but x86-64-v3+epoch keeps a deadline");
}

#[test]
fn a_demand_of_an_artifact_alone_names_the_overlay() {
    let demand = Demand { deadline: Urgency::Required, fuel: Urgency::Preferred, ..Demand::default() };
    let [plain, epoch, _, _] = forms();
    assert_eq!(demand.unmet(&epoch.requirements), []);
    let unmet = demand.unmet(&plain.requirements);
    assert_eq!(unmet.len(), 1);
    assert_eq!(unmet[0].hint().as_deref(), Some("compile for the same target with the overlay `+epoch`"));
    assert!(Limit::Deadline.is_kept_by(&epoch.requirements) && !Limit::Fuel.is_kept_by(&epoch.requirements));
}

/// Of two forms with one cost each, the order of the costs decides.
#[test]
fn costs_have_an_order() {
    let ascending = [
        Cost::DebugInfo,
        Cost::DeterministicSimd,
        Cost::NanCanonicalization,
        Cost::EpochInterruption,
        Cost::BoundsChecks,
        Cost::Fuel,
        Cost::SinglePassRegisters,
        Cost::Unoptimized,
        Cost::GuestDebug,
    ];
    assert!(ascending[0].percent() > 0);
    for pair in ascending.windows(2) {
        assert!(pair[0].percent() < pair[1].percent(), "{pair:?}");
    }
}

#[test]
fn limits_are_required_by_their_names() {
    let names: Vec<_> = Limit::ALL.iter().map(|limit| (limit.name(), limit.overlay(), limit.to_string())).collect();
    let expected = [("deadline", "epoch", "a deadline"), ("fuel", "fuel", "a limit of fuel")];
    assert_eq!(names, expected.map(|(name, overlay, text)| (name, overlay, text.to_owned())));
    for limit in Limit::ALL {
        assert_eq!(limit.name().parse(), Ok(limit));
        let demand = Demand::required(&[limit]);
        let urgent = Limit::ALL.into_iter().filter(|limit| demand.urgency(*limit) == Urgency::Required);
        assert_eq!(urgent.collect::<Vec<_>>(), [limit]);
    }
    assert_eq!("epoch".parse::<Limit>(), Err("expected `deadline` or `fuel`".to_owned()));
    assert_eq!(Demand::required(&[]), Demand::default());
}

#[test]
fn a_requested_target_is_the_only_one_that_is_chosen() {
    let demand = |target: &str| Demand { target: Some(target.to_owned()), ..Demand::default() };
    let mut v2 = variant("x86-64-v2");
    v2.serves = vec!["mine".to_owned(), "x86-64-v2".to_owned()];
    let variants = [variant("x86-64-v3"), v2, variant("x86-64-v4")];
    for target in ["x86-64-v2", "mine"] {
        let (found, rejected) = chosen(&variants, &demand(target));
        assert_eq!(found.as_deref(), Some("x86-64-v2"));
        assert_eq!(rejected[1], ("x86-64-v3".to_owned(), format!("compiled for x86-64-v3; {target} was requested ()")));
    }
    assert_eq!(chosen(&variants, &demand("x86-64-v4")).0, None, "this machine lacks its extensions");
    // Nothing is a step down that was not asked for.
    let host = host("x86-64-v3");
    let steps = |demand: &Demand| isomer_contract::select(&variants, &host, demand).steps_down().count();
    assert_eq!((steps(&Demand::default()), steps(&demand("x86-64-v2"))), (1, 0));
    let deadline = Demand { deadline: Urgency::Required, ..Demand::default() };
    let forms = [v3_with("x86-64-v3+epoch", "epoch-interruption = true"), variant("x86-64-v4")];
    assert_eq!(isomer_contract::select(&forms, &host, &deadline).steps_down().count(), 0);
}

#[test]
fn only_the_name_differs_where_nothing_else_decides() {
    let v3 = || variant("x86-64-v3");
    let other = || of("other", "inherits = 'x86-64-v3'\n[optimize]\nmemory-init-cow = false");
    assert!(only_name_differs(&v3(), &other()));
    for decided in [
        v3_with("epoch", "epoch-interruption = true"),
        of("priority", "inherits = 'x86-64-v3'\npriority = 1"),
        variant("x86-64-v4"),
        variant("neoverse-n1"),
        made_by("48.0.2", "x86-64-v3"),
        changed("other-os", v3(), |it| it.os = "windows".to_owned()),
        v3_with("proposals", "wide-arithmetic = true"),
    ] {
        assert!(!only_name_differs(&v3(), &decided), "{}", decided.target);
    }
}
