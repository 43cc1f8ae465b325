//! Hits, misses and damage of a cache in a directory.

use super::*;

pub(super) fn cache_with(jobs: &[&str]) -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SealKey::ephemeral());
    let cache = Cache::open(&directory.path().join("cache"), key).unwrap();
    for job in jobs {
        let (entry, layer) = pack_entry(job.as_bytes(), Digest::of(b"code")).unwrap();
        cache.put(Digest::of(job.as_bytes()), &entry, &Maker::Local, &layer).unwrap();
    }
    (directory, cache)
}

#[test]
fn a_hit_returns_what_was_put() {
    let (_directory, cache) = cache_with(&["a"]);
    let (entry, maker) = cache.find(Digest::of(b"a")).unwrap().unwrap();
    assert_eq!(cache.read_artifact(&entry).unwrap(), b"a");
    assert_eq!(entry.code, Digest::of(b"code"));
    assert_eq!(maker, Maker::Local);
    assert!(cache.find(Digest::of(b"b")).unwrap().is_none());
}

#[test]
fn an_entry_says_which_remote_made_it() {
    let (_directory, cache) = cache_with(&[]);
    let maker = Maker::RemoteCache { url: "grpc://cache.example".to_owned() };
    let (entry, layer) = pack_entry(b"a", Digest::of(b"code")).unwrap();
    cache.put(Digest::of(b"a"), &entry, &maker, &layer).unwrap();
    assert_eq!(cache.find(Digest::of(b"a")).unwrap().unwrap(), (entry, maker));
    // What made it a local one would need the key.
    let path = cache.action(Digest::of(b"a"));
    let text = fs::read_to_string(&path).unwrap();
    let local = text.replace(r#"{"kind":"remote-cache","url":"grpc://cache.example"}"#, r#"{"kind":"local"}"#);
    assert_ne!(text, local);
    fs::write(&path, local).unwrap();
    let error = cache.find(Digest::of(b"a")).unwrap_err().to_string();
    assert!(error.contains("its seal does not match"), "{error}");
    assert!(cache.find(Digest::of(b"a")).unwrap().is_none());
}

/// Every user can compute digests, and so make files like ours; but for the seal.
#[test]
fn what_another_key_sealed_is_not_a_hit() {
    let (_directory, cache) = cache_with(&["a", "b"]);
    let theirs = Cache::open(cache.dir(), Arc::new(SealKey::ephemeral())).unwrap();
    assert!(theirs.find(Digest::of(b"a")).unwrap().is_none());
    assert_eq!((theirs.of_other_keys(), cache.of_other_keys()), (1, 0));
    // What this user compiles replaces it.
    let (entry, layer) = pack_entry(b"a", Digest::of(b"code")).unwrap();
    theirs.put(Digest::of(b"a"), &entry, &Maker::Local, &layer).unwrap();
    assert!(theirs.find(Digest::of(b"a")).unwrap().is_some());
    assert!(cache.find(Digest::of(b"a")).unwrap().is_none());
    assert!(cache.find(Digest::of(b"b")).unwrap().is_some());
}

/// Any flipped bit of any file is found and reported once, and then the job is unknown.
#[test]
fn every_damaged_byte_is_found() {
    let (_directory, cache) = cache_with(&["a"]);
    let job = Digest::of(b"a");
    let (entry, maker) = cache.find(job).unwrap().unwrap();
    for path in [cache.action(job), cache.artifact(&entry)] {
        let right = fs::read(&path).unwrap();
        for offset in 0..right.len() {
            let mut wrong = right.clone();
            wrong[offset] ^= 1;
            fs::write(&path, &wrong).unwrap();
            // A flipped bit in the name of the key makes it another key's.
            let others = cache.of_other_keys();
            let found = cache.find(job);
            assert!(found.is_err() || cache.of_other_keys() > others, "{}: offset {offset}", path.display());
            assert!(cache.find(job).unwrap().is_none(), "{}: offset {offset}", path.display());
            let (_, layer) = pack_entry(b"a", entry.code).unwrap();
            cache.put(job, &entry, &maker, &layer).unwrap();
        }
    }
    // An entry under another job's name.
    fs::copy(cache.action(job), cache.action(Digest::of(b"b"))).unwrap();
    assert!(cache.find(Digest::of(b"b")).is_err());
}

/// Another isomer of this version reads what this one wrote.
#[test]
fn the_format_of_an_action_is_fixed() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SealKey::from_hex(&"07".repeat(32)).unwrap());
    let cache = Cache::open(&directory.path().join("cache"), key).unwrap();
    let job = Digest::of(b"job");
    let entry = Entry { artifact: Blob::of(b"artifact"), code: Digest::of(b"code"), layer: Blob::of(b"layer") };
    cache.put(job, &entry, &Maker::Local, b"layer").unwrap();
    let expected = concat!(
        r#"{"content":{"entry":{"artifact":{"digest":"sha256:c7c5c1d70c5dec4416ab6158afd0b223ef40c29b1dc1f97ed9428b94d4cadb1c","size-bytes":8},"#,
        r#""code":"sha256:5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b","#,
        r#""layer":{"digest":"sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85","size-bytes":5}},"#,
        r#""job":"sha256:5e8c9902207afaeb7120430c585a445f21e92932081d64bc99f80e4925bcb002","maker":{"kind":"local"}},"#,
        r#""key":"b3d7cd1b5ddb1219","seal":"4799a3742ff815cba7c50684673710c763de239e1e851c1925324baf94e2a26b"}"#,
    );
    assert_eq!(fs::read_to_string(cache.action(job)).unwrap(), expected);
}

#[test]
fn profiles_are_found_by_their_digest() {
    let (_directory, cache) = cache_with(&[]);
    let effective = isomer_contract::Profile::shipped("z15").unwrap().effective();
    assert_eq!(cache.profile(effective.digest()), None);
    cache.put_profile(&effective).unwrap();
    assert_eq!(cache.profile(effective.digest()), Some(effective.clone()));
    fs::write(cache.profile_path(effective.digest()), "{}").unwrap();
    assert_eq!(cache.profile(effective.digest()), None);
}
