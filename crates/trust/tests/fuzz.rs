//! Documents that are nearly right, for each parser: none panics, and what is read is written back the same.
//!
//! A few thousand each time. A million take minutes:
//! `ISOMER_FUZZ_RUNS=1000000 cargo test --release -p isomer-trust --test fuzz -- --nocapture`.

use isomer_contract::Digest;
use isomer_testing::fuzz::Fuzzer;
use isomer_trust::{
    Algorithm, Build, Builder, Bundle, Counters, Envelope, Facts, Policy, PublicKey, Release, SigningKey, Statement,
    Subject, Timestamp, TrustedKey, evaluate, strict_json,
};
use std::collections::BTreeMap;

/// What these documents are made of, beside JSON.
const WORDS: &[&[u8]] = &[
    b"\\ud800",
    b"=",
    b"-",
    b"_",
    b"\n",
    b"'''",
    b"[[key]]",
    b"\"sig\":",
    b"\"sha256\"",
    b"2026-01-01",
    b"-----BEGIN PUBLIC KEY-----",
    b"AAAA",
];

fn statement(counter: u64) -> Statement {
    Statement {
        subjects: [("resize:1.4.0".to_owned(), Digest::of(b"index")), ("sort:1.4.0".to_owned(), Digest::of(b"b"))]
            .into(),
        release: Release { name: "acme".parse().unwrap(), version: "1.4.0".parse().unwrap(), counter },
        build: Build {
            targets: [("x86-64-v3".to_owned(), Digest::of(b"profile"))].into(),
            passes: vec!["pass".to_owned()],
            engine: "48.0.8".to_owned(),
            isomer: "0.1.0".to_owned(),
            not_compiled: Default::default(),
        },
        inputs: [("resize.wasm".to_owned(), Digest::of(b"wasm"))].into(),
        builder: Builder { id: "https://farm.example".to_owned(), version: BTreeMap::new() },
        finished_on: Some("2026-01-01T00:00:00Z".to_owned()),
    }
}

fn keys() -> [SigningKey; 2] {
    Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness"))
}

fn bundles(keys: &[SigningKey]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| Bundle::sign(&statement(7), key).to_json().into_bytes()).collect()
}

#[test]
fn fuzz_strict_json() {
    let mut documents = bundles(&keys());
    documents.push(statement(7).to_json().into_bytes());
    documents.push(br#"{"a":[1,-2,3.5e1,true,false,null,"\u00e9\n"],"b":{"c":{"d":[[[[]]]]}},"e":{}}"#.to_vec());
    Fuzzer::json(documents, WORDS).run("strict JSON", 2000, |bytes| {
        let read = strict_json::read::<serde_json::Value>(bytes, 1 << 20);
        if let Ok(value) = &read {
            assert_eq!(serde_json::from_slice::<serde_json::Value>(bytes).ok().as_ref(), Some(value));
        }
        read.is_ok()
    });
}

#[test]
fn fuzz_envelope() {
    let keys = keys();
    let mut two = Envelope::sign(statement(7).to_json().into_bytes(), &keys[0]);
    let one = two.to_json().into_bytes();
    two.add_signature(&keys[1]);
    Fuzzer::json(vec![one, two.to_json().into_bytes()], WORDS).run("DSSE envelope", 2000, |bytes| {
        let read = Envelope::from_json(bytes);
        if let Ok(envelope) = &read {
            assert_eq!(Envelope::from_json(envelope.to_json().as_bytes()).as_ref(), Ok(envelope));
        }
        read.is_ok()
    });
}

#[test]
fn fuzz_statement() {
    Fuzzer::json(vec![statement(7).to_json().into_bytes()], WORDS).run("statement", 2000, |bytes| {
        let read = Statement::from_json(bytes);
        if let Ok(statement) = &read {
            assert_eq!(Statement::from_json(statement.to_json().as_bytes()).as_ref(), Ok(statement));
        }
        read.is_ok()
    });
}

#[test]
fn fuzz_bundle() {
    Fuzzer::json(bundles(&keys()), WORDS).run("bundle", 2000, |bytes| {
        let read = Bundle::from_json(bytes);
        if let Ok(bundle) = &read {
            assert_eq!(Bundle::from_json(bundle.to_json().as_bytes()).as_ref(), Ok(bundle));
        }
        read.is_ok()
    });
}

#[test]
fn fuzz_policy() {
    let keys = keys();
    let (pem, id, digest) = (keys[0].public_key().to_pem(), keys[0].public_key().id(), Digest::of(b"bad"));
    let small =
        "threshold = 1\n[[key]]\nname = \"a\"\nfile = \"a.pub\"\nmodules = [\"a*\", \"b\"]\nnot-after = 2026-12-31\n";
    let text = format!(
        "minimum-engine = \"48.0.5\"\n{small}not-before = 2026-01-01T00:00:00+01:00\n\
         [[key]]\nname = \"b\"\npem = \"\"\"\n{pem}\"\"\"\n\
         [revoked]\nkeys = [\"{id}\"]\ndigests = [\"{digest}\"]\n[minimum-counter]\nacme = 7\n"
    );
    let key = keys[1].public_key();
    Fuzzer::json(vec![small.into(), text.into()], WORDS).run("policy", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = Policy::parse("trust.toml", &text, |_| Ok(key.clone()));
        if let Err(error) = &read {
            assert!(!error.to_string().is_empty());
        }
        read.is_ok()
    });
}

#[test]
fn fuzz_keys() {
    let keys = keys();
    let public = keys.iter().map(|key| key.public_key().to_pem().into_bytes());
    let private = keys.iter().map(|key| key.to_pem(None).expect("there is no passphrase").as_bytes().to_vec());
    Fuzzer::json(public.chain(private).collect(), WORDS).run("keys", 2000, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let public = PublicKey::from_pem(&text);
        if let Ok(key) = &public {
            assert_eq!(PublicKey::from_pem(&key.to_pem()).as_ref(), Ok(key));
        }
        public.is_ok() || SigningKey::from_pem(&text, None).is_ok()
    });
}

/// Only what was signed is trusted, whatever happened to the bundle in transit.
#[test]
fn fuzz_evaluate() {
    let keys = keys();
    let policy =
        Policy::of_keys(keys.iter().map(|key| TrustedKey::new(key.public_key().id().to_string(), key.public_key())));
    let stranger = SigningKey::generate(Algorithm::Ed25519).expect("there is randomness");
    let mut documents = bundles(&keys);
    documents.push(Bundle::sign(&statement(7), &stranger).to_json().into_bytes());
    let subject = Subject { module: "resize", reference: "resize:1.4.0", index: Digest::of(b"index") };
    let counters = Counters::default();
    let facts =
        Facts { engines: &[], digests: &[], now: Timestamp::UNIX_EPOCH, counters: &counters, allow_rollback: false };
    let expected = statement(7);
    Fuzzer::json(documents, WORDS).run("evaluate", 2000, |bytes| match evaluate(&policy, &[bytes], &subject, &facts) {
        Ok(trusted) => {
            assert_eq!(trusted.statement, expected);
            true
        }
        Err(untrusted) => {
            assert!(!untrusted.refusals.is_empty() && !untrusted.rejected.is_empty());
            false
        }
    });
}
