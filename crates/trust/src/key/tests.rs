//! Keys by the letter of their standards, and each refusal.

use super::*;
use isomer_contract::Hinted;
use pkcs8::pkcs5::{EncryptionScheme, pbes2::Kdf};

fn public(base64: &str) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
}

fn generate(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).expect("there is randomness")
}

/// The example of RFC 8410, section 10.
#[test]
fn reads_the_key_of_the_standard() {
    let private = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
    let expected = public("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    let key = SigningKey::from_pem(private, None).expect("it is the standard's");
    assert_eq!(key.public_key().to_pem(), expected);
    assert_eq!(*key.to_pem(None).expect("there is no passphrase"), private);
    assert_eq!(PublicKey::from_pem(&expected), Ok(key.public_key()));
    // sha256sum of the 44 bytes in the PEM.
    let der = pkcs8::Document::from_pem(&expected).expect("it was just written").1;
    assert_eq!(key.public_key().id().to_string(), Digest::of(der.as_bytes()).hex());
}

#[test]
fn both_algorithms_sign_and_verify_after_a_round_trip() {
    for algorithm in Algorithm::ALL {
        let key = generate(algorithm);
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        for passphrase in [None, Some("correct horse")] {
            let pem = key.to_pem(passphrase).expect("the passphrase is not empty");
            let label = if passphrase.is_some() { ENCRYPTED } else { PRIVATE };
            assert!(pem.starts_with(&format!("-----BEGIN {label}-----\n")), "{}", *pem);
            let again = SigningKey::from_pem(&pem, passphrase).expect("it was just written");
            assert_eq!(again.public_key(), key.public_key());
            assert_eq!(again.sign(b"message"), key.sign(b"message"), "signatures are deterministic");
        }
        let public = PublicKey::from_pem(&key.public_key().to_pem()).expect("it was just written");
        assert_eq!((public.algorithm(), public.id()), (algorithm, key.public_key().id()));
        assert_eq!(public.id().to_string().parse(), Ok(public.id()));
        let signature = key.sign(b"message");
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!generate(algorithm).public_key().verifies(b"message", &signature));
        assert!(!public.verifies(b"message", &[&signature[..], &[0]].concat()));
        assert!(!public.verifies(b"message", &signature[..signature.len() - 1]));
        assert!(!public.verifies(b"message", b""));
    }
}

#[test]
fn ecdsa_is_der_with_either_s() {
    let key = generate(Algorithm::EcdsaP256);
    let signature = p256::ecdsa::Signature::from_der(&key.sign(b"message")).expect("it is DER");
    let negated = p256::ecdsa::Signature::from_scalars(signature.r().to_bytes(), (-*signature.s()).to_bytes());
    let negated = negated.expect("neither is zero");
    assert_ne!(negated, signature);
    assert!(key.public_key().verifies(b"message", negated.to_der().as_bytes()));
    assert!(!key.public_key().verifies(b"message", &signature.to_bytes()), "not as two plain numbers");
}

#[test]
fn one_key_has_one_id() {
    let uncompressed = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYlDwDjGwA5rKNA+5BbfF5+M0nwCm\n\
                        8a5ciH85K2W+e+nyLIRWC4gywMzqDJfPgTvJuPF0zTamWe9/EiQp0kZmUg==";
    let compressed = "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACYlDwDjGwA5rKNA+5BbfF5+M0nwCm\n8a5ciH85K2W+e+k=";
    let [long, short] = [uncompressed, compressed].map(|text| PublicKey::from_pem(&public(text)).expect("it is a key"));
    assert_eq!(long, short);
    assert_eq!(long.id(), short.id());
    assert_eq!(short.to_pem(), public(uncompressed));
}

#[test]
fn a_key_of_another_algorithm_is_named() {
    for (key, name) in [
        (
            "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEkGIZW3F55i7rRXPhOLLLG2bH6Jfmx5rt\n\
             5/mD/VReq3Jpq2zwYNN4YRdDUhZMFxg4LCB7RowMs/gF5U1eeUKwj5dUDWKIYjKM\n\
             3A+gVKQO5hwy/j8zXvZ0dG0orscCNonJ",
            "P-384",
        ),
        (
            "MEMwBQYDK2VxAzoAwBqxtm20F/rcQniqAn46MweMcB6v7BxvXIZXV3tuJeZilF/y\n\
             kG2R/UI+Ypqu8iK7t7iYuwkn7cCA",
            "Ed448",
        ),
        ("MCowBQYDK2VuAyEArrVDQ+h4IyTP2fgrMhDiJSBCls12rLP5RicIL+4P8yY=", "X25519"),
        (
            "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCtktIfpxRy6aqsdO9VLfOTGXVV\n\
             ZcmWwMn+KZV0+z8JjViW+hGfOUQUZkBb62svPUmgoUdHtC4By3B+Q/nXyd8epMzi\n\
             aicPf4mfoGDBm4N7HL5qGB44IKtyzAHRGyy3wAHOJYfW7c4GzMMd8j0E+Aa2kL2o\n\
             6cSRtAq4JS/M5RgTlQIDAQAB",
            "RSA",
        ),
        (
            "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAE5yy8zk6pF7ByicOQfHhPEgkMsb0AuvV2\n\
             DGI7w0L+KUqT7MHwgIFTcFMZEhzXiOEp+fL6vHeBp4qeOy4+eG97rA==",
            "secp256k1",
        ),
    ] {
        let error = PublicKey::from_pem(&public(key)).expect_err(name);
        assert_eq!(error, KeyError::UnsupportedAlgorithm { found: name.to_owned() });
        assert!(error.hint().is_some_and(|hint| hint.contains("make a new key")));
    }
    assert_eq!(
        "rsa".parse::<Algorithm>().expect_err("isomer makes no RSA keys").to_string(),
        "expected the algorithm ed25519 or ecdsa-p256, found rsa"
    );
}

#[test]
fn a_key_of_small_order_is_refused() {
    // The neutral element.
    let weak = public("MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    assert_eq!(PublicKey::from_pem(&weak), Err(KeyError::Weak));
}

#[test]
fn the_other_half_and_other_things_are_named() {
    let key = generate(Algorithm::Ed25519);
    let private = key.to_pem(None).expect("there is no passphrase");
    let shown = |error: KeyError| (error.to_string(), error.hint().unwrap_or_default());
    let (message, hint) = shown(PublicKey::from_pem(&private).expect_err("it is private"));
    assert_eq!(message, "expected a public key, found a private key");
    assert!(hint.contains("public half"), "{hint}");
    let (message, hint) = shown(SigningKey::from_pem(&key.public_key().to_pem(), None).expect_err("it is public"));
    assert_eq!(message, "expected a private key, found a public key");
    assert!(hint.contains("private half"), "{hint}");
    for (label, expected) in [
        ("EC PRIVATE KEY", "expected a private key, found a private key in the form of SEC 1"),
        ("OPENSSH PRIVATE KEY", "expected a private key, found a private key in OpenSSH's form"),
        ("ENCRYPTED SIGSTORE PRIVATE KEY", "expected a private key, found a private key in cosign's form"),
        ("RSA PRIVATE KEY", "expected the algorithm ed25519 or ecdsa-p256, found RSA"),
        ("CERTIFICATE", "expected a private key, found a certificate"),
        ("PARAMETERS", "expected a private key, found `PARAMETERS` in PEM"),
    ] {
        let text = format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let error = SigningKey::from_pem(&text, None).expect_err(label);
        assert_eq!(error.to_string(), expected);
    }
    for text in ["", "hello", "untrusted comment: minisign public key\nRWQ=", "ssh-ed25519 AAAA"] {
        let error = PublicKey::from_pem(text).expect_err(text);
        assert!(matches!(error, KeyError::NotPem { .. }), "{error}");
    }
    let damaged = private.replacen("MC4", "MC5", 1);
    assert!(matches!(SigningKey::from_pem(&damaged, None), Err(KeyError::Malformed { .. })));
    assert!(!format!("{key:?}").contains("secret"), "{key:?}");
}

#[test]
fn passphrases_are_asked_for_and_held_against_the_key() {
    let key = generate(Algorithm::EcdsaP256);
    let pem = key.to_pem(Some("right")).expect("the passphrase is not empty");
    let error =
        |passphrase: Option<&str>| SigningKey::from_pem(&pem, passphrase).expect_err("it is not the passphrase");
    assert_eq!(error(None), KeyError::PassphraseNeeded);
    // Enough of them that some decrypt to bytes whose padding looks right.
    for wrong in 0..4 {
        assert_eq!(error(Some(&format!("wrong {wrong}"))), KeyError::WrongPassphrase);
    }
    assert_eq!(error(Some("")), KeyError::WrongPassphrase);
    assert_eq!(key.to_pem(Some("")), Err(KeyError::EmptyPassphrase));
}

/// An encrypted key with other scrypt parameters than it was encrypted with.
fn scrypt(cost: u64, block_size: u16) -> Result<SigningKey, KeyError> {
    let pem = generate(Algorithm::Ed25519).to_pem(Some("x")).expect("the passphrase is not empty");
    let (_, document) = SecretDocument::from_pem(&pem).expect("it was just written");
    let mut info = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).expect("it was just written");
    let EncryptionScheme::Pbes2(parameters) = &mut info.encryption_algorithm else { panic!("it is PBES2") };
    let Kdf::Scrypt(scrypt) = &mut parameters.kdf else { panic!("it is scrypt") };
    (scrypt.cost_parameter, scrypt.block_size) = (cost, block_size);
    let changed = SecretDocument::try_from(&info).expect("it can be written");
    SigningKey::from_pem(&changed.to_pem(ENCRYPTED, LineEnding::LF).expect("it can be written"), Some("x"))
}

#[test]
fn a_key_file_can_not_ask_for_all_memory() {
    for (cost, block_size) in [(0, 8), (1, 8), (3, 8), (1 << 19, 8), (1 << 62, 8), (1 << 14, u16::MAX), (1 << 14, 0)] {
        let error = scrypt(cost, block_size).expect_err("the parameters are wrong");
        assert!(matches!(error, KeyError::UnsupportedEncryption { .. }), "{cost} {block_size}: {error}");
    }
    assert_eq!(scrypt(1 << 13, 8).expect_err("another cost makes another key"), KeyError::WrongPassphrase);
}

#[test]
fn an_id_has_one_spelling() {
    let id = generate(Algorithm::Ed25519).public_key().id().to_string();
    for wrong in ["", &id[1..], &format!("sha256:{id}"), &id.replace(|_: char| true, "A")] {
        assert_eq!(wrong.parse::<KeyId>(), Err(KeyError::NotAnId { found: wrong.to_owned() }));
    }
}
