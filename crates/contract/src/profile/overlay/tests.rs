//! Overlays on profiles: the shipped ones on every profile, a user's own, and what does not fit.

use super::*;
use crate::name::TargetName;
use crate::profile::shipped_names;

fn shipped(name: &str) -> Profile {
    Profile::shipped(name).expect("a shipped profile")
}

fn error(names: &[&str]) -> (String, String) {
    let error = shipped("x86-64-v3").with_overlays(names.iter().copied()).expect_err("they do not fit");
    (error.to_string(), error.hint().expect("a hint"))
}

/// An overlay states settings and nothing else, and every profile takes each.
#[test]
fn every_profile_takes_every_overlay() {
    for overlay in overlays() {
        assert!(!overlay.description.is_empty() && overlay.is_shipped(), "{}", overlay.name);
        for name in shipped_names() {
            let plain = shipped(name);
            let profile = plain.with_overlays([overlay.name.as_str()]).expect("it fits");
            assert_eq!(profile.name, format!("{name}+{}", overlay.name));
            profile.name.parse::<TargetName>().expect("a valid name");
            for (section, key, value) in overlay.values() {
                let key = format!("{}.{key}", section.name());
                assert_eq!(profile.effective().0.get(&key), Some(&value), "{} {key}", profile.name);
            }
            assert_eq!(profile.isa, plain.isa);
        }
    }
}

#[test]
fn a_target_has_one_name_whatever_the_order_of_its_overlays() {
    let at_once = shipped("x86-64-v3").with_overlays(["fuel", "debug", "epoch"]).expect("they fit");
    let one_by_one = shipped("haswell").with_overlays(["fuel"]).and_then(|it| it.with_overlays(["epoch", "debug"]));
    let one_by_one = one_by_one.expect("they fit");
    assert_eq!(at_once.name, "x86-64-v3+debug+epoch+fuel");
    assert_eq!((&one_by_one.name, one_by_one.digest()), (&at_once.name, at_once.digest()));
    let names: Vec<_> = one_by_one.overlays.iter().map(|overlay| overlay.name.as_str()).collect();
    assert_eq!(names, ["debug", "epoch", "fuel"]);
    assert_eq!(at_once.aliases[0], "haswell+debug+epoch+fuel");
    assert_eq!(at_once.origin("fuel"), Origin::Overlay("fuel".to_owned()));
    assert_eq!(at_once.origin("simd"), Origin::Default);
}

#[test]
fn what_does_not_fit_is_named() {
    let pair = |message: &str, hint: &str| (message.to_owned(), hint.to_owned());
    assert_eq!(
        error(&["epohc"]),
        pair("unknown overlay `epohc` in the target `x86-64-v3+epohc`", "did you mean `+epoch`?")
    );
    assert_eq!(
        error(&["telepathy"]),
        pair(
            "unknown overlay `telepathy` in the target `x86-64-v3+telepathy`",
            "the overlays are `+debug`, `+default`, `+epoch`, `+fuel`, `+portable-collector`; one of your own is a file, \
             `+./NAME.toml`"
        )
    );
    assert_eq!(
        error(&["epoch", "fuel", "epoch"]),
        pair("the target `x86-64-v3+epoch+fuel+epoch` has the overlay `epoch` twice", "name it once")
    );
    assert_eq!(
        error(&["epoch", "default"]),
        pair(
            "the overlays `default` and `epoch` contradict each other: `epoch-interruption` is false and true",
            "leave one of them out"
        )
    );
    let twice = shipped("z14").with_overlays(["fuel"]).and_then(|it| it.with_overlays(["fuel"]));
    assert!(matches!(twice, Err(OverlayError::Twice { .. })));
}

fn own(name: &str, text: &str) -> Result<Overlay, ProfileError> {
    Overlay::parse(ProfileText { name: name.to_owned(), path: format!("own/{name}.toml"), text: text.to_owned() })
}

#[test]
fn an_overlay_of_ones_own_is_put_on_as_the_shipped_ones_are() {
    let small = || own("small", "[optimize]\nmemory-reservation = '64MiB'\n[wasm]\nfuel = false").expect("valid");
    let profile = shipped("haswell").put_on([small()]).and_then(|it| it.with_overlays(["epoch"])).expect("they fit");
    assert_eq!((profile.name.as_str(), profile.settings.memory_reservation.0), ("x86-64-v3+epoch+small", 64 << 20));
    assert_eq!(profile.origin("memory-reservation"), Origin::Overlay("small".to_owned()));
    assert_eq!(profile.path, "targets/x86-64-v3.toml (shipped) + own/small.toml");
    // In whichever order they come, they agree or they do not.
    let first = shipped("x86-64-v3").put_on([small()]).and_then(|it| it.with_overlays(["fuel"]));
    let second = shipped("x86-64-v3").with_overlays(["fuel"]).and_then(|it| it.put_on([small()]));
    let message = "the overlays `fuel` and `small` contradict each other: `fuel` is true and false";
    assert_eq!(first.expect_err("they do not fit").to_string(), message);
    assert_eq!(second.expect_err("they do not fit").to_string(), message);
    let twice = shipped("z14").put_on([small(), small()]).expect_err("it is there twice");
    assert!(matches!(twice, OverlayError::Twice { .. }));
}

#[test]
fn what_is_no_overlay_is_refused_with_its_line() {
    for (name, text, expected) in [
        ("my", "isa = ['avx']\n", "own/my.toml:1: `isa` is for profiles; an overlay has a description and settings"),
        ("my", "[wasm]\nful = true\n", "own/my.toml:2: unknown key `ful` in [wasm]"),
        ("my", "description = 'nothing'\n", "own/my.toml: the overlay states no setting"),
        ("fuel", "[wasm]\nfuel = true\n", "own/fuel.toml: `fuel` is the name of a shipped overlay"),
        ("a+b", "[wasm]\nfuel = true\n", "own/a+b.toml: invalid profile name `a+b`"),
    ] {
        let error = own(name, text).expect_err(expected);
        assert!(error.to_string().starts_with(expected) && error.hint().is_some(), "{error}");
    }
    // What fits no platform has the overlay's line.
    let signals = own("signals", "\n[optimize]\nsignals-based-traps = true").expect("a valid overlay");
    let error = shipped("pulley64").put_on([signals]).expect_err("Pulley has no signals");
    let OverlayError::Profile { source, .. } = error else { panic!("{error}") };
    assert!(source.to_string().starts_with("own/signals.toml:3: `signals-based-traps` clashes"), "{source}");
}
