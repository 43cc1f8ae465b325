//! Transfers that fail: what stays, and what the next one continues with.

use crate::farm::{Farm, Server};
use isomer_contract::Hinted;
use isomer_store::StoreError;
use std::error::Error as _;
use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

#[test]
fn a_cut_transfer_is_continued_by_the_next_pull() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let mut source = release.source();
    source.cut = Some((100, ErrorKind::ConnectionReset));
    let error = server.pull(&source, &farm.trust()).expect_err("it is cut");
    assert!(matches!(error, StoreError::Source(_)), "{error}");
    let partial = server.names("partial");
    assert_eq!(partial.len(), 1);
    assert_eq!(fs::metadata(server.path("partial").join(&partial[0])).expect("it stays").len(), 100);
    assert_eq!((server.names("installed").len(), server.names("tmp").len()), (0, 0));
    let source = release.source();
    server.pull(&source, &farm.trust()).expect("it is whole");
    assert_eq!(source.resumed_at.load(Ordering::Relaxed), 100);
    assert_eq!(server.names("partial"), [""; 0]);
}

#[test]
fn nothing_stays_of_a_transfer_that_brought_nothing_or_filled_the_disk() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let mut source = release.source();
    source.cut = Some((0, ErrorKind::ConnectionReset));
    server.pull(&source, &farm.trust()).expect_err("it is cut");
    assert_eq!(server.names("partial"), [""; 0]);
    source.cut = Some((100, ErrorKind::StorageFull));
    let error = server.pull(&source, &farm.trust()).expect_err("the disk is full");
    let StoreError::Space { needed_bytes, available_bytes, .. } = &error else { panic!("{error}") };
    assert!(available_bytes < needed_bytes && *needed_bytes > 0, "{error}");
    assert!(error.hint().expect("it has one").contains("what is installed is as it was"));
    assert_eq!((server.names("partial").len(), server.names("installed").len()), (0, 0));
}

#[test]
fn a_pull_leaves_the_partial_layers_of_other_pulls() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    fs::create_dir(server.path("partial")).expect("it is ours");
    fs::write(server.path("partial/other"), b"bytes").expect("it is ours");
    server.pull(&release.source(), &farm.trust()).expect("it is trusted");
    assert_eq!(server.names("partial"), ["other"]);
}

#[test]
fn a_cause_is_told_once() {
    let (farm, server) = (Farm::new(), Server::new());
    let release = farm.release_of("1.0.0", 1, "pulley64");
    let mut source = release.source();
    source.cut = Some((1, ErrorKind::ConnectionReset));
    let error = server.pull(&source, &farm.trust()).expect_err("it is cut");
    assert_eq!(error.to_string(), "the transfer ended");
    assert_eq!(error.source().expect("it has one").to_string(), "connection reset");
}
