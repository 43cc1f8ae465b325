//! Which version a name means, and what activates another one.

use crate::farm::{Farm, Server, overwrite};
use isomer_contract::Hinted;
use isomer_store::{Instead, StoreError};
use std::fs;

/// A server on which these versions were pulled and activated, in this order.
fn with(versions: &[(&str, &str)]) -> (Farm, Server) {
    let (farm, server) = (Farm::new(), Server::new());
    for (counter, (version, name)) in versions.iter().enumerate() {
        let pulled = server.activate(&farm.release_of(version, counter as u64, name).source(), &farm.trust());
        assert_eq!(server.active(), pulled.reference);
    }
    (farm, server)
}

const THREE: [(&str, &str); 3] = [("1.0.0", "pulley64"), ("1.1.0", "pulley64-epoch"), ("1.2.0", "x86-64")];

#[test]
fn a_rollback_goes_back_one_version_at_a_time() {
    let (_farm, server) = with(&THREE);
    for expected in ["sum:1.1.0", "sum:1.0.0"] {
        let installed = server.store.rollback("sum").expect("there is an earlier one");
        assert_eq!((installed.module().reference.as_str(), installed.is_active()), (expected, true));
        assert_eq!(server.active(), expected);
    }
    let error = server.store.rollback("sum").expect_err("no earlier version is left");
    assert!(matches!(&error, StoreError::NothingEarlier { module } if module == "sum"), "{error}");
    let installed = server.store.activate("sum:1.2.0").expect("it is installed");
    assert!(installed.is_active());
    assert_eq!(server.active(), "sum:1.2.0");
    let by_reference = |name| server.store.find(name).expect("it is installed").is_active();
    assert_eq!((by_reference("sum:1.2.0"), by_reference("sum:1.0.0")), (true, false));
    // To activate what is active changes nothing.
    server.store.activate("sum:1.2.0").expect("it is installed");
    assert_eq!(server.store.rollback("sum").expect("one was").module().reference, "sum:1.0.0");
}

#[test]
fn a_rollback_passes_over_what_is_damaged() {
    let (_farm, server) = with(&THREE);
    fs::remove_file(server.artifact_path("pulley64-epoch")).expect("it is ours");
    assert_eq!(server.store.rollback("sum").expect("one is whole").module().reference, "sum:1.0.0");
    // Also from an active version that is damaged.
    server.store.activate("sum:1.2.0").expect("it is installed");
    let index = server.store.find("sum").expect("it is active").module().digest;
    fs::remove_dir_all(server.path(&format!("installed/{}", index.hex()))).expect("it is ours");
    let error = server.store.find("sum").expect_err("its active version is gone");
    let StoreError::NotActive { installed, instead, .. } = &error else { panic!("{error}") };
    assert_eq!(installed, &["sum:1.0.0", "sum:1.1.0"]);
    assert_eq!(*instead, Some(Instead::RollBack("sum".to_owned())));
    assert_eq!(error.hint().as_deref(), Some("roll `sum` back"));
    assert_eq!(server.store.rollback("sum").expect("one is whole").module().reference, "sum:1.0.0");
}

#[test]
fn damaged_and_unknown_versions_are_not_activated() {
    let (_farm, server) = with(&THREE);
    overwrite(&server.artifact_path("pulley64"), b"short");
    let error = server.store.activate("sum:1.0.0").expect_err("it is damaged");
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(error.hint().as_deref(), Some("pull it again, or collect what is damaged"));
    assert!(matches!(server.store.activate("sum:9.0.0"), Err(StoreError::NotInstalled { .. })));
    assert_eq!(server.active(), "sum:1.2.0");
}

#[test]
fn a_damaged_record_of_the_active_version_is_replaced_on_request() {
    let (_farm, server) = with(&THREE);
    let record = server.path("active/sum.json");
    let spoil: [&dyn Fn(); 2] = [&|| fs::write(&record, b"{").expect("it is ours"), &|| {
        fs::remove_file(&record).expect("it is ours");
        fs::create_dir(&record).expect("it is ours");
    }];
    for spoil in spoil {
        spoil();
        let error = server.store.find("sum").expect_err("its record is damaged");
        assert!(error.hint().expect("it has one").contains("activate a version of `sum` again"), "{error}");
        assert!(!server.store.find("sum:1.1.0").expect("it is named").is_active());
        let (all, damaged) = server.store.installed().expect("they can be read");
        assert_eq!((all.len(), all.iter().filter(|it| it.is_active()).count(), damaged.len()), (3, 0, 0));
        server.store.activate("sum:1.1.0").expect("it is whole");
        assert_eq!(server.active(), "sum:1.1.0");
        assert!(matches!(server.store.rollback("sum"), Err(StoreError::NothingEarlier { .. })));
    }
}

#[test]
fn a_record_of_another_module_activates_nothing() {
    let (_farm, server) = with(&THREE[..1]);
    fs::copy(server.path("active/sum.json"), server.path("active/resize.json")).expect("it is ours");
    for result in [server.store.find("resize"), server.store.rollback("resize")] {
        let error = result.expect_err("it names an index of `sum`");
        let record = server.path("active/resize.json");
        let expected = "is malformed: it names an index of `sum`, expected one of `resize`";
        assert_eq!(error.to_string(), format!("`{}` {expected}", record.display()));
    }
}

#[test]
fn a_name_means_one_version_or_says_which_there_are() {
    let (farm, server) = (Farm::new(), Server::new());
    let error = server.store.find("sum").expect_err("nothing is installed");
    assert!(matches!(&error, StoreError::NotInstalled { nearest: None, installed, .. } if installed.is_empty()));
    assert_eq!(error.hint().as_deref(), Some("pull it first"));
    let first = farm.release_of("1.0.0", 1, "pulley64");
    server.pull(&first.source(), &farm.trust()).expect("it is trusted");
    let error = server.store.find("sun").expect_err("nothing has that name");
    assert_eq!(error.hint().as_deref(), Some("did you mean `sum`?"));
    let error = server.store.find("sum").expect_err("no version is active");
    let StoreError::NotActive { instead, .. } = &error else { panic!("{error}") };
    assert_eq!(*instead, Some(Instead::Activate("sum:1.0.0".to_owned())));
    assert_eq!(error.hint().as_deref(), Some("activate `sum:1.0.0`"));
    assert_eq!(server.store.activate("sum").expect("it is the only one").module().reference, "sum:1.0.0");

    // The same version, released again.
    let second = farm.release_of("1.0.0", 2, "pulley64-epoch");
    server.pull(&second.source(), &farm.trust()).expect("it is trusted");
    let error = server.store.find("sum:1.0.0").expect_err("there are two");
    let StoreError::Ambiguous { choices, .. } = &error else { panic!("{error}") };
    let mut expected = [first.index, second.index].map(|index| format!("sum@{index}"));
    expected.sort();
    assert_eq!(choices, &expected);
    assert_eq!(error.hint(), Some(format!("name one of them, for example `{}`", expected[0])));
    let names = [format!("sum@{}", second.index), format!("sum:1.0.0@{}", second.index), second.index.to_string()];
    for name in names {
        assert_eq!(server.store.find(&name).expect("it is one").module().digest, second.index, "{name}");
    }
    assert!(matches!(server.store.find(&format!("resize@{}", second.index)), Err(StoreError::NotInstalled { .. })));
    // Other versions are told apart by their references.
    let third = farm.release_of("1.1.0", 3, "x86-64");
    server.pull(&third.source(), &farm.trust()).expect("it is trusted");
    fs::remove_dir_all(server.path(&format!("installed/{}", first.index.hex()))).expect("it is ours");
    let Err(StoreError::Ambiguous { choices, .. }) = server.store.activate("sum") else { panic!("there are two") };
    assert_eq!(choices, ["sum:1.0.0", "sum:1.1.0"]);
    // The active version was removed, and none of the others was active before.
    let Err(StoreError::NotActive { instead, .. }) = server.store.find("sum") else { panic!("it is gone") };
    assert_eq!(instead, Some(Instead::Activate("sum:1.1.0".to_owned())));
}

#[test]
fn modules_do_not_affect_each_other() {
    let server = Server::new();
    let [sum, resize] = ["sum", "resize"].map(Farm::of);
    for (farm, name, activate) in [(&sum, "pulley64", false), (&resize, "x86-64", true)] {
        let release = farm.release_of("1.0.0", 1, name);
        server.pull_as(&release.source(), &farm.trust(), None, activate).expect("it is trusted");
    }
    let error = server.store.find("sum").expect_err("only the other one is active");
    let StoreError::NotActive { installed, instead, .. } = error else { panic!("{error}") };
    assert_eq!((installed, instead), (vec!["sum:1.0.0".to_owned()], Some(Instead::Activate("sum:1.0.0".to_owned()))));
    assert_eq!(server.store.find("resize").expect("it is active").module().reference, "resize:1.0.0");
    let (all, _) = server.store.installed().expect("they can be read");
    let found: Vec<_> = all.iter().map(|it| (it.module().reference.as_str(), it.is_active())).collect();
    assert_eq!(found, [("resize:1.0.0", true), ("sum:1.0.0", false)]);
    server.store.activate("sum").expect("it is installed");
    for name in ["sum", "resize"] {
        assert!(matches!(server.store.rollback(name), Err(StoreError::NothingEarlier { module }) if module == name));
    }
    let error = server.store.find("rezise").expect_err("nothing has that name");
    let StoreError::NotInstalled { nearest, installed, .. } = error else { panic!("{error}") };
    assert_eq!((nearest.as_deref(), installed.len()), (Some("resize"), 2));
    let counters = server.store.remembered_counters().expect("they can be read");
    let modules: Vec<_> = counters.iter().filter_map(|it| it.scope.module.as_ref().map(ToString::to_string)).collect();
    assert_eq!(modules.len(), 2, "{modules:?}");
    assert_eq!(server.store.forget_counters("sum").expect("they can be written").len(), 1);
}

#[test]
fn a_damaged_version_is_named_and_affects_no_other() {
    let (farm, server) = (Farm::new(), Server::new());
    let [first, second] = [("1.0.0", "pulley64"), ("1.1.0", "pulley64-epoch")].map(|(version, name)| {
        let release = farm.release_of(version, 1, name);
        server.pull(&release.source(), &farm.trust()).expect("it is trusted");
        release
    });
    fs::write(server.path(&format!("installed/{}/index.json", first.index.hex())), b"{").expect("it is ours");
    let damaged = |name: &str| match server.store.find(name).expect_err("it is damaged") {
        StoreError::Damaged { index, .. } => index,
        error => panic!("{name}: {error}"),
    };
    assert_eq!(damaged("sum:1.0.0"), first.index);
    assert_eq!(damaged(&first.index.to_string()), first.index);
    assert_eq!(server.store.find("sum:1.1.0").expect("it is whole").module().digest, second.index);
    let (all, damaged) = server.store.installed().expect("they can be read");
    assert_eq!((all.len(), damaged.len(), damaged[0].0), (1, 1, first.index));
    // With a damaged one, no other name is proposed.
    let error = server.store.find("sun").expect_err("nothing has that name");
    assert!(matches!(error, StoreError::NotInstalled { nearest: None, .. }), "{error}");
}
