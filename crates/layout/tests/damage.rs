//! Every way to damage a release, and the error for each. None panics, and no wrong byte of an artifact comes out.

mod sample;

use isomer_contract::Digest;
use isomer_layout::{Layout, LayoutError};
use sample::{files, read_all, write_release};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of a release that a reader of everything needs: all but the sums.
fn needed(dir: &Path) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|(path, _)| path != "SHA256SUMS").map(|(path, _)| dir.join(path)).collect()
}

/// Looks at all blobs of the release in `dir`, and at no more of what they say than what they name.
fn check_all(dir: &Path) -> Result<(), LayoutError> {
    let layout = Layout::open(dir)?;
    layout.modules().iter().try_for_each(|entry| layout.check(&layout.module(&entry.reference)?))
}

#[test]
fn a_flipped_byte_in_any_blob_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    let mut blobs = 0;
    for path in needed(dir.path()).into_iter().filter(|path| path.parent().unwrap().ends_with("sha256")) {
        let bytes = fs::read(&path).unwrap();
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut altered = bytes.clone();
            altered[at] ^= 0x20;
            fs::write(&path, &altered).unwrap();
            match read_all(dir.path()) {
                Err(LayoutError::Digest { file, found, expected }) => {
                    assert_eq!((&file, found), (&path, Digest::of(&altered)));
                    assert_eq!(expected.hex(), path.file_name().unwrap().to_str().unwrap());
                }
                other => panic!("{}: {other:?}", path.display()),
            }
            let checked = check_all(dir.path());
            assert!(matches!(&checked, Err(LayoutError::Digest { file, .. }) if *file == path), "{checked:?}");
        }
        fs::write(&path, bytes).unwrap();
        blobs += 1;
    }
    assert!(blobs >= 20, "{blobs}");
    read_all(dir.path()).unwrap();
    check_all(dir.path()).unwrap();
}

#[test]
fn a_truncated_lengthened_missing_or_replaced_blob_is_found() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    for path in needed(dir.path()).into_iter().filter(|path| path.parent().unwrap().ends_with("sha256")) {
        let bytes = fs::read(&path).unwrap();
        let size = bytes.len() as u64;
        let longer = [&bytes[..], b"\n"].concat();
        for wrong in [&bytes[..bytes.len() - 1], &[], &longer] {
            fs::write(&path, wrong).unwrap();
            match read_all(dir.path()) {
                Err(LayoutError::Size { file, found_bytes, expected_bytes, .. }) => {
                    assert_eq!((&file, found_bytes, expected_bytes), (&path, wrong.len() as u64, size));
                }
                other => panic!("{}: {other:?}", path.display()),
            }
        }
        fs::remove_file(&path).unwrap();
        match read_all(dir.path()) {
            Err(LayoutError::MissingBlob { file, named_by }) => {
                assert_eq!(file, path);
                assert!(named_by.is_file(), "{}", named_by.display());
            }
            other => panic!("{}: {other:?}", path.display()),
        }
        assert!(matches!(check_all(dir.path()), Err(LayoutError::MissingBlob { file, .. }) if file == path));
        // A link to the very bytes is refused all the same: what it points to may change at any time.
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, &bytes).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(read_all(dir.path()), Err(LayoutError::FileType { .. })));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(read_all(dir.path()), Err(LayoutError::FileType { .. })));
        fs::remove_dir(&path).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(fifo.success());
        assert!(matches!(read_all(dir.path()), Err(LayoutError::FileType { .. })), "a FIFO");
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    read_all(dir.path()).unwrap();
}

#[test]
fn a_document_cut_anywhere_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    write_release(dir.path());
    for name in ["oci-layout", "index.json"] {
        let path = dir.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = read_all(dir.path()).unwrap_err();
            assert!(matches!(&error, LayoutError::Malformed { file, .. } if *file == path), "{length}: {error}");
        }
        fs::write(&path, bytes).unwrap();
    }
}
