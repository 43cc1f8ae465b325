//! The counters that keep older releases out.

use crate::farm::{Farm, Server};
use isomer_contract::Hinted;
use isomer_runtime::{Trust, TrustError};
use isomer_store::{CounterRepair, StoreError};
use std::fs;

fn counters(server: &Server) -> Vec<u64> {
    server.store.remembered_counters().expect("they can be read").iter().map(|it| it.counter).collect()
}

#[test]
fn an_older_release_is_refused_unless_an_operator_allows_it() {
    let (farm, server) = (Farm::new(), Server::new());
    let [old, new] = [("1.0.0", 4, "pulley64"), ("1.1.0", 5, "pulley64-epoch")]
        .map(|(version, counter, name)| farm.release_of(version, counter, name));
    server.activate(&new.source(), &farm.trust());
    assert_eq!(counters(&server), [5]);
    let error = server.pull(&old.source(), &farm.trust()).expect_err("it is older");
    assert!(matches!(error, StoreError::Trust(TrustError::Untrusted { .. })), "{error}");
    assert_eq!((server.names("installed").len(), counters(&server)), (1, vec![5]));
    // The counters of the file and of what is installed count, each without the other.
    fs::remove_dir_all(server.path("installed")).expect("it is ours");
    assert_eq!(counters(&server), [5]);
    server.pull(&old.source(), &farm.trust()).expect_err("it is older");
    server.pull(&new.source(), &farm.trust()).expect("it is not older");
    fs::remove_file(server.path("counters.json")).expect("it exists");
    assert_eq!(counters(&server), [5]);
    server.pull(&old.source(), &farm.trust()).expect_err("it is older");
    // What an operator allows is the new minimum.
    let Trust::Signed(mut signers) = farm.trust() else { unreachable!("keys are trusted") };
    signers.allow_rollback = true;
    server.pull(&old.source(), &Trust::Signed(signers)).expect("it is allowed");
    assert_eq!(counters(&server), [4]);
    server.pull(&old.source(), &farm.trust()).expect("it is not older any more");
    // Another key and unsigned modules have no counter here.
    let other = Farm::new();
    server.pull(&other.release_of("0.9.0", 1, "x86-64").source(), &other.trust()).expect("it is another key");
    assert_eq!(counters(&server).iter().sum::<u64>(), 5);
    server
        .pull(&farm.release_unsigned("0.8.0", 1, &[("x86-64-v1", "x86-64-nan")]).source(), &Trust::Unsigned)
        .expect("it is accepted unsigned");
    assert_eq!(counters(&server).iter().sum::<u64>(), 5);
}

#[test]
fn a_damaged_file_of_counters_is_repaired_on_request() {
    let (farm, server) = (Farm::new(), Server::new());
    let file = server.path("counters.json");
    let repair = || {
        let CounterRepair { kept, forgotten } = server.store.repair_counters().expect("it can be written");
        (kept, forgotten.len())
    };
    assert_eq!((repair(), file.exists()), ((0, 0), false));
    server.activate(&farm.release_of("1.0.0", 4, "pulley64").source(), &farm.trust());
    let whole = fs::read_to_string(&file).expect("it was written");
    assert_eq!(repair(), (1, 0));
    assert_eq!(fs::read_to_string(&file).expect("it exists"), whole, "nothing is wrong with it");
    let spoilt = whole.replacen('[', "[{\"release\":\"acme\",\"counter\":\"many\"},", 1);
    fs::write(&file, spoilt).expect("it is ours");
    let error = server.store.remembered_counters().expect_err("one does not parse");
    assert!(error.hint().expect("it has one").contains("repair it, which keeps what is valid"), "{error}");
    server.pull(&farm.release_of("1.1.0", 5, "x86-64").source(), &farm.trust()).expect_err("it cannot be read");
    assert_eq!(server.names("installed").len(), 1);
    assert_eq!(repair(), (1, 1));
    assert_eq!(fs::read_to_string(&file).expect("it exists"), whole);
}

#[test]
fn the_counters_of_a_module_are_forgotten_on_request() {
    let (farm, server) = (Farm::new(), Server::new());
    server.activate(&farm.release_of("1.0.0", 4, "pulley64").source(), &farm.trust());
    assert_eq!(server.store.forget_counters("resize").expect("it can be read"), []);
    fs::remove_dir_all(server.path("installed")).expect("it is ours");
    assert_eq!(counters(&server), [4]);
    let forgotten = server.store.forget_counters("sum").expect("it can be written");
    assert_eq!(forgotten.iter().map(|it| it.counter).collect::<Vec<_>>(), [4]);
    assert_eq!(counters(&server), [0; 0]);
}
