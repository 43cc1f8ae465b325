//! In: PEM text, or the operating system's randomness. Out: keys that sign and keys that verify. Never here: a file.
//!
//! Two algorithms: Ed25519, and ECDSA over P-256 with SHA-256 for those whose hardware or rules know no other. Private
//! keys are PKCS#8, with PBES2 (scrypt, AES-256-CBC) where a passphrase protects them; public keys are
//! SubjectPublicKeyInfo. Each is what `openssl pkey` reads and writes.

mod error;

pub use error::KeyError;

use isomer_contract::Digest;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use pkcs8::der::{Decode as _, pem};
use pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef};
use pkcs8::{ObjectIdentifier, SecretDocument, SubjectPublicKeyInfoRef};
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

const PUBLIC: &str = "PUBLIC KEY";
const PRIVATE: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// RFC 5480: any elliptic curve, which the parameters name.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// RFC 5480's secp256r1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// The most memory that decrypting a key file may take. OpenSSL and this crate use 16 MiB.
const SCRYPT_MEMORY_BYTES_MAX: u64 = 256 << 20;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 as in RFC 8032.
    Ed25519,
    /// ECDSA over P-256 with SHA-256.
    EcdsaP256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::EcdsaP256 => "ecdsa-p256",
        })
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Algorithm, KeyError> {
        let found = || KeyError::UnsupportedAlgorithm { found: text.to_owned() };
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.to_string() == text).ok_or_else(found)
    }
}

/// The id of a public key: SHA-256 of its SubjectPublicKeyInfo in DER, as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Digest);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<KeyId, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<KeyId, KeyError> {
        let found = |_| KeyError::NotAnId { found: isomer_contract::shorten(text) };
        format!("sha256:{text}").parse().map(KeyId).map_err(found)
    }
}

/// A key that signs.
pub struct SigningKey(Secret);

enum Secret {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
}

impl SigningKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// When it gives none.
    pub fn generate(algorithm: Algorithm) -> Result<SigningKey, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(&mut *seed).map_err(|error| KeyError::Randomness(error.to_string()))?;
            match algorithm {
                Algorithm::Ed25519 => {
                    return Ok(SigningKey(Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))));
                }
                // A number that is zero or not below the curve's order, one in 2^32, is not a key: draw again.
                Algorithm::EcdsaP256 => {
                    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&*seed) {
                        return Ok(SigningKey(Secret::EcdsaP256(key)));
                    }
                }
            }
        }
    }

    /// Reads a PKCS#8 private key.
    ///
    /// # Errors
    /// When it is not a private key, of another algorithm, or its passphrase is missing or wrong. A passphrase for a key
    /// that has none is ignored.
    pub fn from_pem(text: &str, passphrase: Option<&str>) -> Result<SigningKey, KeyError> {
        let label = label(text)?;
        if label != PRIVATE && label != ENCRYPTED {
            return Err(KeyError::other_kind(label, "a private key"));
        }
        let (_, document) = SecretDocument::from_pem(text).map_err(KeyError::malformed)?;
        if label == PRIVATE {
            return SigningKey::from_der(document.as_bytes());
        }
        let passphrase = passphrase.ok_or(KeyError::PassphraseNeeded)?;
        let document = decrypt(document.as_bytes(), passphrase)?;
        SigningKey::from_der(document.as_bytes()).map_err(|error| match error {
            // One wrong passphrase in 256 decrypts to something.
            KeyError::Malformed { .. } => KeyError::WrongPassphrase,
            other => other,
        })
    }

    fn from_der(der: &[u8]) -> Result<SigningKey, KeyError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(KeyError::malformed)?;
        let curve = info.algorithm.parameters_oid().ok();
        Ok(SigningKey(match algorithm(info.algorithm.oid, curve)? {
            Algorithm::Ed25519 => Secret::Ed25519(info.try_into().map_err(KeyError::malformed)?),
            Algorithm::EcdsaP256 => Secret::EcdsaP256(info.try_into().map_err(KeyError::malformed)?),
        }))
    }

    /// Writes it as PKCS#8, encrypted where there is a passphrase.
    ///
    /// # Errors
    /// When the passphrase is empty, or there is no randomness to encrypt with.
    pub fn to_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<String>, KeyError> {
        let der = match &self.0 {
            // Without the public half: OpenSSL before 3 reads no other form.
            Secret::Ed25519(key) => {
                ed25519_dalek::pkcs8::KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der()
            }
            Secret::EcdsaP256(key) => key.to_pkcs8_der(),
        };
        let der = der.expect("a key that exists can be written");
        let (label, document) = match passphrase {
            None => (PRIVATE, der),
            Some("") => return Err(KeyError::EmptyPassphrase),
            Some(passphrase) => {
                let info = PrivateKeyInfoRef::from_der(der.as_bytes()).expect("it was just written");
                let encrypted = info.encrypt(passphrase).map_err(|error| KeyError::Randomness(error.to_string()))?;
                (ENCRYPTED, encrypted)
            }
        };
        Ok(document.to_pem(label, LineEnding::LF).expect("DER can be written as PEM"))
    }

    /// The key that verifies what this one signs.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(match &self.0 {
            Secret::Ed25519(key) => Public::Ed25519(key.verifying_key()),
            Secret::EcdsaP256(key) => Public::EcdsaP256(*key.verifying_key()),
        })
    }

    /// Signs `message`. Equal messages have equal signatures: ECDSA takes its nonce from RFC 6979.
    ///
    /// An Ed25519 signature is 64 bytes; an ECDSA signature is DER, as in X.509, sigstore and cosign.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Secret::Ed25519(key) => key.sign(message).to_vec(),
            Secret::EcdsaP256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }
}

/// Shows the public half alone.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key()).finish()
    }
}

/// A key that verifies.
#[derive(Clone)]
pub struct PublicKey {
    key: Public,
    id: KeyId,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(p256::ecdsa::VerifyingKey),
}

impl PublicKey {
    fn new(key: Public) -> PublicKey {
        let id = KeyId(Digest::of(&key.to_der()));
        PublicKey { key, id }
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// When it is not a public key, of another algorithm, or one for which valid signatures exist without a private key.
    pub fn from_pem(text: &str) -> Result<PublicKey, KeyError> {
        let label = label(text)?;
        if label != PUBLIC {
            return Err(KeyError::other_kind(label, "a public key"));
        }
        let (_, document) = pkcs8::Document::from_pem(text).map_err(KeyError::malformed)?;
        let info = SubjectPublicKeyInfoRef::from_der(document.as_bytes()).map_err(KeyError::malformed)?;
        let curve = info.algorithm.parameters_oid().ok();
        Ok(PublicKey::new(match algorithm(info.algorithm.oid, curve)? {
            Algorithm::Ed25519 => {
                let key: ed25519_dalek::VerifyingKey = info.try_into().map_err(KeyError::malformed)?;
                if key.is_weak() {
                    return Err(KeyError::Weak);
                }
                Public::Ed25519(key)
            }
            Algorithm::EcdsaP256 => Public::EcdsaP256(info.try_into().map_err(KeyError::malformed)?),
        }))
    }

    /// Writes it as a SubjectPublicKeyInfo.
    pub fn to_pem(&self) -> String {
        pem::encode_string(PUBLIC, LineEnding::LF, &self.key.to_der()).expect("DER can be written as PEM")
    }

    /// How it verifies.
    pub fn algorithm(&self) -> Algorithm {
        match self.key {
            Public::Ed25519(_) => Algorithm::Ed25519,
            Public::EcdsaP256(_) => Algorithm::EcdsaP256,
        }
    }

    /// Its id. Every PEM of the same key has the same.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether `signature` is this key's for `message`.
    ///
    /// Ed25519 by the strict rules: no small-order points, one encoding. ECDSA in DER, with either of the two values of
    /// `s`: anyone who sees one signature can compute the other, which is why signers are counted and signatures are not.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Public::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl Public {
    fn to_der(&self) -> Vec<u8> {
        let der = match self {
            Public::Ed25519(key) => key.to_public_key_der(),
            Public::EcdsaP256(key) => key.to_public_key_der(),
        };
        der.expect("a key that exists can be written").into_vec()
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm(), self.id)
    }
}

/// Whether the first PEM block of `text` has the label of a private key, of any form.
pub(crate) fn is_private(text: &str) -> bool {
    label(text).is_ok_and(|label| label.ends_with(PRIVATE))
}

/// The label of the first PEM block of `text`.
fn label(text: &str) -> Result<&str, KeyError> {
    if !text.contains("-----BEGIN ") {
        return Err(KeyError::NotPem { reason: "it has no line `-----BEGIN …-----`".to_owned() });
    }
    pem::decode_label(text.as_bytes()).map_err(|error| KeyError::NotPem { reason: error.to_string() })
}

fn algorithm(oid: ObjectIdentifier, parameters: Option<ObjectIdentifier>) -> Result<Algorithm, KeyError> {
    match (oid, parameters) {
        (ED25519, _) => Ok(Algorithm::Ed25519),
        (EC, Some(P256)) => Ok(Algorithm::EcdsaP256),
        (EC, Some(curve)) => Err(KeyError::unsupported(curve)),
        (EC, None) => Err(KeyError::UnsupportedAlgorithm { found: "an elliptic curve without a name".to_owned() }),
        (other, _) => Err(KeyError::unsupported(other)),
    }
}

fn decrypt(der: &[u8], passphrase: &str) -> Result<SecretDocument, KeyError> {
    use pkcs8::pkcs5::Error as Pkcs5;
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|error| match error.kind() {
        pkcs8::der::ErrorKind::OidUnknown { oid } => KeyError::UnsupportedEncryption { found: oid.to_string() },
        _ => KeyError::malformed(error),
    })?;
    let scrypt = encrypted.encryption_algorithm.pbes2().and_then(|parameters| parameters.kdf.scrypt());
    if let Some(scrypt) = scrypt {
        let memory_bytes = u128::from(scrypt.cost_parameter) * u128::from(scrypt.block_size) * 128;
        // The crate below takes the logarithm of the cost before it looks at it.
        if scrypt.cost_parameter < 2
            || memory_bytes > u128::from(SCRYPT_MEMORY_BYTES_MAX)
            || scrypt.parallelization > 16
        {
            return Err(KeyError::UnsupportedEncryption {
                found: format!("scrypt with N = {}, r = {}", scrypt.cost_parameter, scrypt.block_size),
            });
        }
    }
    encrypted.decrypt(passphrase).map_err(|error| match error {
        pkcs8::Error::EncryptedPrivateKey(Pkcs5::UnsupportedAlgorithm { oid }) => {
            KeyError::UnsupportedEncryption { found: oid.to_string() }
        }
        pkcs8::Error::EncryptedPrivateKey(Pkcs5::NoPbes1CryptSupport) => {
            KeyError::UnsupportedEncryption { found: "PBES1".to_owned() }
        }
        pkcs8::Error::EncryptedPrivateKey(Pkcs5::AlgorithmParametersInvalid { oid }) => {
            KeyError::UnsupportedEncryption { found: format!("{oid} with parameters that are invalid") }
        }
        _ => KeyError::WrongPassphrase,
    })
}

#[cfg(test)]
mod tests;
