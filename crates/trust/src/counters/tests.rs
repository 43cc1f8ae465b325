//! Counters by key and module, their document, and its repair.

use super::*;
use crate::key::{Algorithm, SigningKey};
use proptest::prelude::*;
use std::sync::LazyLock;

static KEYS: LazyLock<[KeyId; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).expect("there is randomness").public_key().id())
});

fn module(name: &str) -> ModuleName {
    name.parse().expect("it is a name")
}

fn release(name: &str) -> ReleaseName {
    name.parse().expect("it is a name")
}

fn scope(key: Option<KeyId>, of: Option<&str>, name: &str) -> Scope {
    Scope { key, module: of.map(module), release: release(name) }
}

#[test]
fn a_counter_applies_to_its_key_and_module_alone() {
    let [farm, desk] = *KEYS;
    let mut counters = Counters::default();
    counters.set(farm, &module("resize"), &release("acme"), u64::MAX);
    assert_eq!(counters.least(farm, "resize", "acme"), Some(u64::MAX));
    for (key, module, release) in
        [(desk, "resize", "acme"), (farm, "sort", "acme"), (farm, "resize", "other"), (farm, "resiz", "acme")]
    {
        assert_eq!(counters.least(key, module, release), None, "{module} {release}");
    }
}

#[test]
fn a_lower_counter_is_set_where_the_caller_allows_it() {
    let [farm, desk] = *KEYS;
    let mut counters = Counters::from_json(br#"{"acme":9,"other":4}"#).expect("the form before");
    counters.set(farm, &module("resize"), &release("acme"), 7);
    assert_eq!(counters.least(farm, "resize", "acme"), Some(7));
    assert_eq!(counters.least(desk, "sort", "acme"), Some(7), "for all keys and modules");
    counters.set(desk, &module("sort"), &release("acme"), 8);
    assert_eq!((counters.least(desk, "sort", "acme"), counters.least(farm, "sort", "acme")), (Some(8), Some(7)));
    assert_eq!(counters.least(desk, "sort", "other"), Some(4));
}

#[test]
fn a_counter_of_zero_takes_no_room() {
    let mut counters = Counters::default();
    counters.set(KEYS[0], &module("resize"), &release("acme"), 0);
    assert_eq!(counters, Counters::default());
    counters.set(KEYS[0], &module("resize"), &release("acme"), 3);
    counters.set(KEYS[0], &module("resize"), &release("acme"), 0);
    assert_eq!(counters.least(KEYS[0], "resize", "acme"), Some(0));
}

#[test]
fn a_key_has_a_limited_number_of_releases_for_each_module() {
    let mut counters = Counters::default();
    for number in 0..RELEASES_MAX {
        let name = format!("r{number}");
        assert!(counters.has_room(KEYS[0], "resize", &name), "{name}");
        counters.set(KEYS[0], &module("resize"), &release(&name), 1);
    }
    assert!(!counters.has_room(KEYS[0], "resize", "one more"));
    assert!(counters.has_room(KEYS[0], "resize", "r3"), "it is there");
    assert!(counters.has_room(KEYS[0], "sort", "one more") && counters.has_room(KEYS[1], "resize", "one more"));
}

#[test]
fn counters_are_completed_where_there_is_none() {
    let [farm, desk] = *KEYS;
    let mut counters = Counters::from_json(br#"{"old":1}"#).expect("the form before");
    counters.raise(scope(Some(farm), Some("resize"), "acme"), 3);
    let mut others = Counters::default();
    for (key, of, name) in [
        (Some(farm), "resize", "acme"),
        (None, "resize", "acme"),
        (Some(desk), "sort", "old"),
        (Some(desk), "resize", "acme"),
        (Some(farm), "sort", "acme"),
    ] {
        others.raise(scope(key, Some(of), name), 9);
    }
    counters.complete(&others);
    assert_eq!(counters.least(farm, "resize", "acme"), Some(3), "it was lowered on purpose");
    assert_eq!(counters.least(desk, "sort", "old"), Some(1));
    assert_eq!(counters.least(desk, "resize", "acme"), Some(9));
    assert_eq!(counters.least(farm, "sort", "acme"), Some(9));
    assert_eq!(counters.iter().count(), 4);
}

#[test]
fn the_counters_of_a_module_are_forgotten_for_all_keys() {
    let mut counters = Counters::from_json(br#"{"acme":1}"#).expect("the form before");
    for key in *KEYS {
        counters.set(key, &module("resize"), &release("acme"), 5);
        counters.set(key, &module("sort"), &release("acme"), 6);
    }
    assert_eq!(counters.forget("resize").iter().map(|(_, counter)| *counter).collect::<Vec<_>>(), [5, 5]);
    assert_eq!(counters.forget("resize"), []);
    assert_eq!(counters.iter().count(), 3);
}

#[test]
fn counters_of_several_origins_are_merged_to_the_highest() {
    let mut counters = Counters::default();
    counters.raise(scope(Some(KEYS[0]), Some("resize"), "acme"), 3);
    counters.raise(scope(Some(KEYS[0]), Some("resize"), "acme"), 2);
    let mut others = Counters::default();
    others.raise(scope(None, Some("resize"), "acme"), 5);
    others.raise(scope(Some(KEYS[0]), Some("resize"), "acme"), 1);
    counters.merge(&others);
    assert_eq!(counters.least(KEYS[0], "resize", "acme"), Some(5));
    assert_eq!(counters.iter().map(|(_, counter)| counter).collect::<Vec<_>>(), [5, 3]);
}

#[test]
fn the_document_is_this_one() {
    let mut counters = Counters::default();
    counters.raise(scope(None, None, "old"), 3);
    let id = KEYS[0];
    counters.set(id, &module("resize"), &release("acme"), 7);
    let text = format!(
        r#"{{"counters":[{{"counter":3,"release":"old"}},{{"counter":7,"key":"{id}","module":"resize","release":"acme"}}]}}"#
    );
    assert_eq!(counters.to_json(), text);
    assert_eq!(Counters::from_json(text.as_bytes()), Ok(counters));
}

#[test]
fn an_invalid_document_is_refused_and_what_is_valid_in_it_repaired() {
    let long = "x".repeat(2 << 20);
    for (text, error, kept) in [
        ("", "EOF while parsing", 0),
        ("[]", "expected a counter", 0),
        (r#"{"acme":2,"acme":1}"#, "the key `acme` occurs twice", 0),
        (r#"{"acme":2,"other":-1}"#, "invalid value", 1),
        (r#"{"acme":2,"a..":1}"#, "invalid release name", 1),
        (&format!(r#"{{"acme":2,"{long}":1}}"#), "expected at most 1048576 bytes", 1),
        (r#"{"counters":[{"release":"a","counter":1},{"release":"a","counter":2}]}"#, "two counters for the", 1),
        (r#"{"counters":[{"release":"a","counter":1,"key":"x"}]}"#, "invalid key id `x`", 0),
        (r#"{"counters":[{"release":"a","counter":1,"module":"../x"}]}"#, "invalid module name", 0),
        (r#"{"counters":[{"release":"a","counter":1,"other":0},{"release":"b","counter":1}]}"#, "unknown field", 1),
    ] {
        let found = Counters::from_json(text.as_bytes()).expect_err("it is not valid");
        let shown: String = text.chars().take(100).collect();
        assert!(found.to_string().contains(error), "{shown}: {found}");
        let (counters, forgotten) = Counters::repair(text.as_bytes());
        assert_eq!((counters.iter().count(), forgotten.len()), (kept, 1), "{shown}");
        assert!(forgotten[0].entry.len() < 1000);
        assert_eq!(Counters::from_json(counters.to_json().as_bytes()), Ok(counters));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in prop::collection::vec(
        (0..3usize, prop::option::of("[a-z]{1,9}"), "[a-zA-Z0-9]{1,20}", any::<u64>()), 0..20)
    ) {
        let mut counters = Counters::default();
        for (key, module, release, counter) in rows {
            counters.raise(scope(KEYS.get(key).copied(), module.as_deref(), &release), counter);
        }
        let text = counters.to_json();
        prop_assert_eq!(Counters::from_json(text.as_bytes()), Ok(counters.clone()));
        prop_assert_eq!(Counters::repair(text.as_bytes()), (counters, vec![]));
    }

    #[test]
    fn any_bytes_give_counters_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Counters::from_json(&bytes);
        let _ = Counters::repair(&bytes);
    }
}
