//! What [`select`] chooses, in which order it ranks the others, and why it says that they lost.

use isomer_contract::isa;
use isomer_contract::{Digest, Host, Kind, Profile, Rejected, Requirements, Selection, Variant, major, select};

fn variant(target: &str) -> Variant {
    made_by("48.0.8", target)
}

fn made_by(engine: &str, target: &str) -> Variant {
    let mut requirements = Requirements::of_profile(&Profile::shipped(target).expect("a profile"), Kind::Module);
    requirements.engine = major(engine).to_owned();
    let manifest = Digest::of(format!("{target} {engine}").as_bytes());
    Variant { target: target.to_owned(), serves: vec![], engine: engine.to_owned(), requirements, manifest }
}

/// `variant` with other extensions or proposals, under another name.
fn changed(name: &str, mut variant: Variant, change: impl FnOnce(&mut Requirements)) -> Variant {
    change(&mut variant.requirements);
    Variant { target: name.to_owned(), manifest: Digest::of(name.as_bytes()), ..variant }
}

/// A host that has exactly what the profile `target` needs.
fn host(target: &str) -> Host {
    let Requirements { arch, os, isa, .. } = variant(target).requirements;
    let baseline = isa::all(arch).filter(|row| row.baseline).map(|row| row.name.to_owned());
    Host {
        arch,
        os,
        cpu: None,
        isa: isa.into_iter().chain(baseline).collect(),
        native_code: true,
        engine: "48.0.8".to_owned(),
    }
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
