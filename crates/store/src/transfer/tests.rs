//! Space, interruptions, and two processes that fetch one layer.

use super::*;
use isomer_layout::SourceError;
use isomer_testing::failing::fails_once;
use std::thread;
use std::time::Duration;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("there is room");
    let store = Store::create(&dir.path().join("store")).expect("it is empty");
    (dir, store)
}

#[test]
fn too_little_space_is_an_error_before_the_transfer() {
    let (_dir, store) = store();
    store.check_space(0).expect("nothing is needed");
    store.check_space(1).expect("tests have room for a byte");
    let error = store.check_space(u64::MAX).expect_err("no disk is that large");
    let StoreError::Space { needed_bytes: u64::MAX, available_bytes, dir } = error else { panic!("{error}") };
    assert!(available_bytes > 1 << 20 && available_bytes < u64::MAX && dir == store.dir());
    // What became free since the disk was full explains nothing: what is told is less than what is needed.
    let StoreError::Space { available_bytes, .. } = store.no_space(5) else { panic!("it is about space") };
    assert_eq!(available_bytes, 4);
}

#[test]
fn a_full_disk_is_found_behind_any_number_of_errors() {
    let full = || io::Error::from(ErrorKind::StorageFull);
    let source = |source: io::Error| SourceError { message: "cut".to_owned(), hint: None, source: Some(source.into()) };
    assert!(is_full(&full()) && is_full(&source(full())) && is_full(&StoreError::Source(source(full()))));
    let other = || io::Error::from(ErrorKind::ConnectionReset);
    assert!(!is_full(&other()) && !is_full(&StoreError::Source(source(other()))));
}

#[test]
fn an_interruption_is_no_end_and_any_other_error_is() {
    for (kind, expected) in [
        (ErrorKind::Interrupted, (b"abc".to_vec(), None)),
        (ErrorKind::ConnectionReset, (b"ab".to_vec(), Some(ErrorKind::ConnectionReset))),
    ] {
        let mut copied = Vec::new();
        let result = copy(&mut fails_once(kind), |bytes| {
            copied.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!((copied, result.map_err(|error| error.kind()).err()), expected);
    }
}

#[test]
fn who_waits_for_a_layer_gets_a_file_that_has_its_name() {
    let (_dir, store) = store();
    let layer = Blob::of(b"layer");
    for keep in [false, true] {
        let mut first = Partial::open(&store, layer).expect("no other has it");
        first.file.write_all(b"half").expect("there is room");
        first.keep = keep;
        let waiting = thread::spawn({
            let store = store.clone();
            move || Partial::open(&store, layer).expect("it is ours then")
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished(), "another one has it");
        drop(first);
        let second = waiting.join().expect("it ends");
        let named = std::fs::metadata(second.path()).expect("it has its name");
        assert_eq!(named.len(), if keep { 4 } else { 0 });
        assert!(second.file.try_lock().is_ok() && std::fs::metadata(second.path()).is_ok());
    }
}
