//! Blobs of every size, up and down.

use crate::client::{blob, casd, connect, options};
use isomer_remote::{Blob, BlobDigest, RemoteError};
use isomer_testing::casd::Casd;
use isomer_testing::grpc_proxy::{GrpcProxy, Verdict};
use std::collections::BTreeSet;
use std::thread;

fn round_trip(casd: &Casd, blobs: &[Blob]) {
    let remote = connect(&options(casd.address()));
    let digests: BTreeSet<_> = blobs.iter().map(Blob::digest).collect();
    let size_bytes: u64 = digests.iter().map(BlobDigest::size_bytes).sum();
    assert_eq!(remote.upload(blobs).unwrap(), size_bytes);
    assert_eq!(remote.upload(blobs).unwrap(), 0, "a second upload sends nothing");
    assert_eq!(remote.find_missing(&digests).unwrap(), BTreeSet::new());
    let found = remote.download(&digests).unwrap();
    for blob in blobs {
        assert_eq!(found[&blob.digest()], blob.bytes(), "{blob:?}");
    }
}

#[test]
fn small_ones_go_in_batches() {
    let Some(casd) = casd() else { return };
    let mut blobs: Vec<_> = (0..3000).map(|_| blob(3000)).collect();
    blobs.push(Blob::new(&b""[..]));
    blobs.push(blobs[0].clone());
    round_trip(&casd, &blobs);
}

/// A batch is limited as a message, not as the sum of its blobs: at 4 MiB the frame decides.
#[test]
fn sizes_around_the_limits_of_a_batch() {
    let Some(casd) = casd() else { return };
    let (limit, message) = (3_500 << 10, 4 << 20);
    for size in [limit - 129, limit - 128, limit - 127, limit, message - 200, message - 1, message, message + 1] {
        round_trip(&casd, &[blob(size)]);
    }
    round_trip(&casd, &[blob(message / 2), blob(message / 2 + 1)]);
    round_trip(&casd, &[blob(3 << 19), blob(3 << 19), blob(3 << 19)]);
}

#[test]
fn large_ones_are_streamed() {
    let Some(casd) = casd() else { return };
    round_trip(&casd, &[blob(5 << 20), blob(10)]);
    round_trip(&casd, &[blob(40 << 20)]);
}

#[test]
fn a_blob_that_is_not_there() {
    let Some(casd) = casd() else { return };
    let remote = connect(&options(casd.address()));
    for size in [10, 5 << 20] {
        let digest = blob(size).digest();
        assert_eq!(remote.find_missing(&BTreeSet::from([digest])).unwrap(), BTreeSet::from([digest]));
        let error = remote.download(&BTreeSet::from([digest])).unwrap_err();
        assert!(matches!(error, RemoteError::Missing { digest: missing, .. } if missing == digest), "{error}");
    }
}

#[test]
fn a_blob_that_is_too_large_for_us() {
    let Some(casd) = casd() else { return };
    let mut options = options(casd.address());
    options.blob_size_bytes_max = 1000;
    let remote = connect(&options);
    let large = blob(1001);
    remote.upload(std::slice::from_ref(&large)).unwrap();
    let error = remote.download(&BTreeSet::from([large.digest()])).unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { size_bytes_max: 1000, .. }), "{error}");
}

#[test]
fn blobs_shared_by_threads_are_sent_once() {
    let Some(casd) = casd() else { return };
    let proxy = GrpcProxy::start(casd.address(), |_| Verdict::Forward);
    let remote = connect(&options(proxy.address));
    let shared = blob(6 << 20);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let own = blob(100_000);
                remote.upload(&[own.clone(), shared.clone()]).unwrap();
                let found = remote.download(&BTreeSet::from([own.digest(), shared.digest()])).unwrap();
                assert_eq!(found[&own.digest()], own.bytes());
                assert_eq!(found[&shared.digest()], shared.bytes());
            });
        }
    });
    assert_eq!(proxy.calls("Write"), 1);
}
