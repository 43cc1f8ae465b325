//! Independent implementations read what isomer signs, and isomer what they sign: Python's securesystemslib over
//! OpenSSL for envelopes and key files, sigstore's JavaScript verifier for bundles.

use isomer_contract::Digest;
use isomer_testing::{python, skip};
use isomer_trust::{
    Algorithm, Build, Builder, Bundle, Counters, Envelope, Facts, KeyError, Policy, PublicKey, Release, SigningKey,
    Statement, Subject, Timestamp, TrustedKey, evaluate,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSPHRASE: &str = "correct horse";

/// A directory into which `command`, with that directory as its last argument, has installed packages, once.
fn packages(name: &str, command: &mut Command) -> Result<PathBuf, String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if directory.join("complete").is_file() {
        return Ok(directory);
    }
    let output = command.arg(&directory).output().map_err(|error| format!("{name} can't be installed: {error}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} can't be installed: {}", text.lines().last().unwrap_or_default()));
    }
    fs::write(directory.join("complete"), "").expect("the directory was just made");
    Ok(directory)
}

/// What `script` of this directory prints.
#[track_caller]
fn output(script: &str, command: &mut Command, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = command.arg(path).args(arguments).output().expect("its packages could be installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn keys() -> [SigningKey; 2] {
    Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness"))
}

fn statement() -> Statement {
    Statement {
        subjects: [("resize:1.4.0".to_owned(), Digest::of(b"index"))].into(),
        release: Release { name: "acme-plugins".parse().unwrap(), version: "1.4.0".parse().unwrap(), counter: 7 },
        build: Build {
            targets: BTreeMap::new(),
            passes: vec![],
            engine: "48.0.8".to_owned(),
            isomer: "0.1.0".to_owned(),
            not_compiled: Default::default(),
        },
        inputs: [("resize.wasm".to_owned(), Digest::of(b"wasm"))].into(),
        builder: Builder { id: "https://farm.example/isomer".to_owned(), version: BTreeMap::new() },
        finished_on: None,
    }
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room for a directory")
}

#[test]
fn bundles_are_read_by_sigstore() {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "@sigstore/bundle@4.0.0", "@sigstore/verify@3.1.1", "--prefix"]);
    let packages = match packages("sigstore-verify-3.1.1", &mut npm) {
        Ok(packages) => packages,
        Err(reason) => return skip("bundles_are_read_by_sigstore", &reason),
    };
    let directory = scratch();
    for key in keys() {
        let name = key.public_key().algorithm();
        let write = |suffix: &str, text: &str| {
            fs::write(directory.path().join(format!("{name}.{suffix}")), text).expect("the directory is ours");
        };
        write("pub", &key.public_key().to_pem());
        write("bundle.json", &Bundle::sign(&statement(), &key).to_json());
    }
    let mut node = Command::new("node");
    node.env("NODE_PATH", packages.join("node_modules"));
    let text = output("interop.js", &mut node, &[directory.path().to_str().expect("it is text")]);
    assert_eq!(text, "ed25519: true, altered: false\necdsa-p256: true, altered: false\n");
}

#[test]
fn envelopes_and_keys_are_read_by_securesystemslib_and_the_reverse() {
    let test = "envelopes_and_keys_are_read_by_securesystemslib_and_the_reverse";
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("securesystemslib-1.6.0");
    if let Err(reason) = python::install(&["securesystemslib[crypto]==1.6.0"], &packages) {
        return skip(test, &reason);
    }
    let directory = scratch();
    let file = |name: &str| directory.path().join(name);
    let write = |name: &str, bytes: &str| fs::write(file(name), bytes).expect("the directory is ours");
    let read = |name: &str| fs::read_to_string(file(name)).expect("the script wrote it");

    let keys = keys();
    write("statement.json", &statement().to_json());
    for key in &keys {
        let name = key.public_key().algorithm();
        write(&format!("ours-{name}.pub"), &key.public_key().to_pem());
        write(&format!("ours-{name}.key"), &key.to_pem(None).expect("there is no passphrase"));
        write(&format!("ours-{name}.enc"), &key.to_pem(Some(PASSPHRASE)).expect("it is not empty"));
        write(&format!("ours-{name}.json"), &Envelope::sign(statement().to_json().into_bytes(), key).to_json());
    }
    let mut python = Command::new(python::interpreter().expect("it has just installed the packages"));
    python.env("PYTHONPATH", &packages).env("PYTHONDONTWRITEBYTECODE", "1");
    let arguments = [directory.path().to_str().expect("it is text"), PASSPHRASE];
    let text = output("interop.py", &mut python, &arguments);
    assert_eq!(text, "ed25519: verified, 3 alterations refused\necdsa-p256: verified, 3 alterations refused\n");

    for algorithm in Algorithm::ALL {
        let public = PublicKey::from_pem(&read(&format!("theirs-{algorithm}.pub"))).expect("it is a public key");
        assert_eq!(public.algorithm(), algorithm);
        for (name, passphrase) in [("key", None), ("enc", Some(PASSPHRASE))] {
            let text = read(&format!("theirs-{algorithm}.{name}"));
            let key = SigningKey::from_pem(&text, passphrase).expect("it is a private key");
            assert_eq!(key.public_key(), public);
        }
        let wrong = SigningKey::from_pem(&read(&format!("theirs-{algorithm}.enc")), Some("wrong horse"));
        assert_eq!(wrong.expect_err("it is another passphrase"), KeyError::WrongPassphrase);

        let envelope = Envelope::from_json(read(&format!("theirs-{algorithm}.json")).as_bytes());
        let envelope = envelope.expect("it is an envelope");
        assert!(envelope.verifies(&public));
        // Their key ids are made in another way than isomer's, and need not match.
        let bundle = Bundle { key_hint: None, envelope }.to_json();
        let policy = Policy::of_keys([TrustedKey::new("theirs", public)]);
        let subject = Subject { module: "resize", reference: "resize:1.4.0", index: Digest::of(b"index") };
        let counters = Counters::default();
        let facts = Facts {
            engines: &[],
            digests: &[],
            now: Timestamp::UNIX_EPOCH,
            counters: &counters,
            allow_rollback: false,
        };
        let trusted = evaluate(&policy, &[&bundle], &subject, &facts).expect("it is signed");
        assert_eq!(trusted.statement, statement());
        let other = Policy::of_keys([TrustedKey::new("ours", keys[0].public_key())]);
        evaluate(&other, &[&bundle], &subject, &facts).expect_err("by another key");
    }
}
