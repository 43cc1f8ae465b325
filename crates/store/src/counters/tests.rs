//! The size of `counters.json`.

use super::*;

const NAME_SIZE_BYTES: usize = 60;

fn size_bytes(counters: &Counters) -> usize {
    json(counters).len()
}

fn add(counters: &mut Counters, release: &str) {
    counters.raise(Scope { key: None, module: None, release: release.parse().expect("a name") }, 1);
}

/// Counters whose document has this size.
fn of_size(expected: usize) -> Counters {
    let name = |number: usize| format!("r{number:0width$}", width = NAME_SIZE_BYTES - 1);
    let mut counters = Counters::default();
    add(&mut counters, &name(0));
    let one = size_bytes(&counters);
    add(&mut counters, &name(1));
    let each = size_bytes(&counters) - one;
    (2..(expected - one) / each).for_each(|number| add(&mut counters, &name(number)));
    // Two more names fill the rest.
    let rest = expected - size_bytes(&counters) - 2 * (each - NAME_SIZE_BYTES);
    add(&mut counters, &"a".repeat(rest / 2));
    add(&mut counters, &"b".repeat(rest - rest / 2));
    assert_eq!(size_bytes(&counters), expected);
    counters
}

#[test]
fn what_is_written_can_be_read_again() {
    let dir = tempfile::tempdir().expect("there is room");
    let store = Store::create(&dir.path().join("store")).expect("it is empty");
    let put = |counters: &Counters| {
        let (locked, staging) = store.lock_to_change().expect("no other process has it");
        locked.put_counters(&staging, counters)
    };
    let most = of_size(COUNTERS_SIZE_BYTES_MAX);
    put(&most).expect("it has the largest size");
    assert_eq!(store.counters().expect("it can be read"), most);
    let error = put(&of_size(COUNTERS_SIZE_BYTES_MAX + 1)).expect_err("it is too large");
    assert!(matches!(error, StoreError::CountersFull { .. }), "{error}");
    assert_eq!(store.counters().expect("it can be read"), most, "it is as it was");
}
