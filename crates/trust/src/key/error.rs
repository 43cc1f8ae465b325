//! What can be wrong with a key: what was found, what was expected, and what to do.

use isomer_contract::Hinted;
use pkcs8::ObjectIdentifier;

/// Why text is not a key of the required kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not PEM.
    #[error("expected a key in PEM: {reason}")]
    NotPem {
        /// The parser's words.
        reason: String,
    },
    /// The other half of a key, or something else in PEM.
    #[error("expected {expected}, found {found}")]
    OtherKind {
        /// What it is.
        found: String,
        /// What is required.
        expected: &'static str,
    },
    /// PEM whose contents do not parse.
    #[error("the key is damaged: {reason}")]
    Malformed {
        /// The parser's words.
        reason: String,
    },
    /// A key, or the name of one, that isomer does not sign with.
    #[error("expected the algorithm ed25519 or ecdsa-p256, found {found}")]
    UnsupportedAlgorithm {
        /// Its name, or its object identifier.
        found: String,
    },
    /// A public key of small order.
    #[error("the key is an Ed25519 key of small order, for which valid signatures exist without a private key")]
    Weak,
    /// An encrypted key, and no passphrase.
    #[error("the key is encrypted, and no passphrase was given")]
    PassphraseNeeded,
    /// An encrypted key, and a wrong passphrase.
    #[error("the key cannot be decrypted: the passphrase is wrong, or the file is damaged")]
    WrongPassphrase,
    /// A passphrase without a character.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// Encrypted in another way.
    #[error("expected encryption by PBES2 with scrypt or PBKDF2, and AES, found {found}")]
    UnsupportedEncryption {
        /// Its name, or its object identifier.
        found: String,
    },
    /// Text that is not a key id.
    #[error("invalid key id `{found}`: expected 64 lower-case hexadecimal digits")]
    NotAnId {
        /// As typed.
        found: String,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Randomness(String),
}

/// Algorithms of keys that people have, by object identifier.
const NAMES: [(&str, &str); 14] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.3.132.0.33", "P-224"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
    ("1.3.101.110", "X25519"),
    ("1.3.101.111", "X448"),
    ("1.3.101.113", "Ed448"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

impl KeyError {
    pub(super) fn malformed(error: impl std::fmt::Display) -> KeyError {
        KeyError::Malformed { reason: error.to_string() }
    }

    pub(super) fn unsupported(oid: ObjectIdentifier) -> KeyError {
        let oid = oid.to_string();
        let name = NAMES.iter().find(|(number, _)| *number == oid);
        KeyError::UnsupportedAlgorithm { found: name.map_or(oid.clone(), |(_, name)| (*name).to_owned()) }
    }

    pub(super) fn other_kind(label: &str, expected: &'static str) -> KeyError {
        let found = match label {
            "PUBLIC KEY" => "a public key",
            "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => "a private key",
            "EC PRIVATE KEY" => "a private key in the form of SEC 1",
            "OPENSSH PRIVATE KEY" => "a private key in OpenSSH's form",
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => "a private key in cosign's form",
            "CERTIFICATE" => "a certificate",
            "RSA PRIVATE KEY" | "RSA PUBLIC KEY" => return KeyError::UnsupportedAlgorithm { found: "RSA".to_owned() },
            other => return KeyError::OtherKind { found: format!("`{other}` in PEM"), expected },
        };
        KeyError::OtherKind { found: found.to_owned(), expected }
    }
}

impl Hinted for KeyError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            KeyError::NotPem { .. } => {
                "a key begins with `-----BEGIN PUBLIC KEY-----` or `-----BEGIN PRIVATE KEY-----`"
            }
            KeyError::OtherKind { found, .. } => match found.as_str() {
                "a private key" => "name the file with its public half; this one stays where releases are signed",
                "a public key" => "name the file with its private half",
                "a private key in the form of SEC 1" => "convert it: `openssl pkcs8 -topk8 -in KEY -out NEW`",
                "a certificate" => "take its key out: `openssl x509 -pubkey -noout -in CERTIFICATE`",
                _ => return None,
            },
            KeyError::UnsupportedAlgorithm { .. } | KeyError::Weak => "make a new key of one of these two algorithms",
            KeyError::UnsupportedEncryption { .. } => "convert it: `openssl pkcs8 -topk8 -scrypt -in KEY -out NEW`",
            KeyError::PassphraseNeeded => "give the passphrase that it was encrypted with",
            KeyError::EmptyPassphrase => "give none for a key without a passphrase",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
