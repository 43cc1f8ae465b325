//! In: a statement and a key, or a bundle's JSON. Out: a sigstore bundle. Never here: whether its signer is trusted.
//!
//! [Version 0.3](https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto) of the format, with
//! a key instead of a certificate, and without a transparency log. Its envelope has exactly one signature: what several
//! keys signed has several bundles.

use crate::dsse::{ENVELOPE_SIZE_BYTES_MAX, Envelope, EnvelopeError};
use crate::key::SigningKey;
use crate::statement::Statement;
use crate::strict_json::{self, JsonError};
use isomer_contract::{Hinted, canonical_json, shorten};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Media type of a bundle, which it also declares itself.
pub use isomer_contract::manifest::BUNDLE_MEDIA_TYPE;

/// A signed statement as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Which key may have made the signature. Not signed: a hint.
    pub key_hint: Option<String>,
    /// What was signed, with one signature.
    pub envelope: Envelope,
}

/// Why bytes are not a bundle that isomer reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Not JSON, or of another shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A bundle of another version, or something else.
    #[error("expected the mediaType `{BUNDLE_MEDIA_TYPE}`, found `{found}`")]
    MediaType {
        /// The type.
        found: String,
    },
    /// It is to be verified with something else than a key.
    #[error("expected `publicKey` alone in its verificationMaterial, found {found}")]
    Material {
        /// What it holds instead.
        found: String,
    },
    /// More or fewer signatures than the format allows.
    #[error("expected 1 signature in its envelope, found {found}")]
    SignatureCount {
        /// How many there are.
        found: usize,
    },
    /// Its envelope is malformed.
    #[error("its envelope is malformed: {0}")]
    Envelope(EnvelopeError),
}

impl Hinted for BundleError {
    fn hint(&self) -> Option<String> {
        match self {
            BundleError::Material { .. } => {
                Some("isomer verifies with keys, not certificates: sign with a key".to_owned())
            }
            BundleError::Envelope(error) => error.hint(),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a sigstore bundle")]
struct BundleJson<E> {
    media_type: String,
    verification_material: MaterialJson,
    dsse_envelope: E,
}

/// It holds one of the three. A log's entries and timestamps are ignored.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "verification material")]
struct MaterialJson {
    public_key: Option<PublicKeyJson>,
    #[serde(default, skip_serializing)]
    certificate: Option<Value>,
    #[serde(default, skip_serializing)]
    x509_certificate_chain: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "an identifier of a public key")]
struct PublicKeyJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Bundle {
    /// Signs a statement. The envelope has no key id: verifiers compare it with ids of their own making, cosign with an
    /// SSH fingerprint, and pass over a signature whose id is another. The hint beside it is for isomer.
    pub fn sign(statement: &Statement, key: &SigningKey) -> Bundle {
        let envelope = Envelope::sign(statement.to_json().into_bytes(), key).without_key_ids();
        Bundle { key_hint: Some(key.public_key().id().to_string()), envelope }
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// When it is malformed, of another version, or made with a certificate.
    pub fn from_json(bytes: &[u8]) -> Result<Bundle, BundleError> {
        let json: Value = strict_json::read(bytes, ENVELOPE_SIZE_BYTES_MAX)?;
        // Before its shape: other versions, and bundles of files, have other fields.
        let media_type = json.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if media_type != BUNDLE_MEDIA_TYPE {
            return Err(BundleError::MediaType { found: shorten(media_type) });
        }
        let json: BundleJson<Value> = strict_json::from_value(json)?;
        let key_hint = key_hint(json.verification_material)?;
        let envelope = Envelope::from_value(json.dsse_envelope).map_err(BundleError::Envelope)?;
        match envelope.signatures().len() {
            1 => Ok(Bundle { key_hint, envelope }),
            found => Err(BundleError::SignatureCount { found }),
        }
    }

    /// Its canonical JSON.
    pub fn to_json(&self) -> String {
        let public_key = Some(PublicKeyJson { hint: self.key_hint.clone() });
        canonical_json(&BundleJson {
            media_type: BUNDLE_MEDIA_TYPE.to_owned(),
            verification_material: MaterialJson { public_key, ..MaterialJson::default() },
            dsse_envelope: self.envelope.json(),
        })
    }

    /// All ids that it gives for its key, none of them signed.
    pub(crate) fn key_hints(&self) -> impl Iterator<Item = &str> {
        let keyids = self.envelope.signatures().iter().filter_map(|signature| signature.keyid.as_deref());
        self.key_hint.as_deref().into_iter().chain(keyids).filter(|hint| !hint.is_empty())
    }
}

fn key_hint(material: MaterialJson) -> Result<Option<String>, BundleError> {
    let found = match material {
        MaterialJson { public_key: Some(key), certificate: None, x509_certificate_chain: None } => return Ok(key.hint),
        MaterialJson { public_key: Some(_), .. } => "a key and a certificate",
        MaterialJson { public_key: None, certificate: None, x509_certificate_chain: None } => {
            "neither key nor certificate"
        }
        MaterialJson { public_key: None, .. } => "a certificate",
    };
    Err(BundleError::Material { found: found.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;
    use crate::statement::tests::{any_statement, statement};
    use isomer_contract::Digest;
    use proptest::prelude::*;

    fn bundle() -> (Bundle, SigningKey) {
        let key = SigningKey::generate(Algorithm::Ed25519).expect("there is randomness");
        (Bundle::sign(&statement("resize:1.4.0", Digest::of(b"index"), 7), &key), key)
    }

    #[test]
    fn the_json_is_what_sigstore_reads() {
        let (bundle, key) = bundle();
        let json: Value = serde_json::from_str(&bundle.to_json()).expect("it was just written");
        let envelope: Value = serde_json::from_str(&bundle.envelope.to_json()).expect("it was just written");
        let id = key.public_key().id().to_string();
        let expected = serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": id}},
            "dsseEnvelope": envelope,
        });
        assert_eq!(json, expected);
        assert_eq!(json["dsseEnvelope"]["signatures"][0].get("keyid"), None);
        assert_eq!(Bundle::from_json(bundle.to_json().as_bytes()), Ok(bundle));
    }

    #[test]
    fn each_refusal_names_what_was_found() {
        let (bundle, key) = bundle();
        let refused = |pointer: &str, value: Value| {
            let mut json: Value = serde_json::from_str(&bundle.to_json()).expect("it was just written");
            let (parent, name) = pointer.rsplit_once('/').expect("pointers have one");
            json.pointer_mut(parent).expect("the bundle has it")[name] = value;
            Bundle::from_json(json.to_string().as_bytes()).map(drop).expect_err(pointer).to_string()
        };
        assert_eq!(
            refused("/mediaType", "application/vnd.dev.sigstore.bundle+json;version=0.1".into()),
            "expected the mediaType `application/vnd.dev.sigstore.bundle.v0.3+json`, \
             found `application/vnd.dev.sigstore.bundle+json;version=0.1`"
        );
        let certificate = serde_json::json!({"rawBytes": "AA=="});
        for (material, found) in [
            (serde_json::json!({"certificate": certificate}), "a certificate"),
            (serde_json::json!({"x509CertificateChain": {"certificates": [certificate]}}), "a certificate"),
            (serde_json::json!({"publicKey": {}, "certificate": certificate}), "a key and a certificate"),
            (serde_json::json!({"tlogEntries": []}), "neither key nor certificate"),
        ] {
            let expected = format!("expected `publicKey` alone in its verificationMaterial, found {found}");
            assert_eq!(refused("/verificationMaterial", material), expected);
        }
        assert_eq!(
            refused("/dsseEnvelope/payloadType", "text/plain".into()),
            "its envelope is malformed: expected the payload type `application/vnd.in-toto+json`, found `text/plain`"
        );
        let mut two = bundle.clone();
        two.envelope.add_signature(&key);
        let error = Bundle::from_json(two.to_json().as_bytes()).expect_err("there are two");
        assert_eq!(error.to_string(), "expected 1 signature in its envelope, found 2");
        let text = bundle.to_json().replacen(r#""payload":"#, r#""payload":"AA==","payload":"#, 1);
        let error = Bundle::from_json(text.as_bytes()).expect_err("the payload occurs twice");
        assert_eq!(error.to_string(), "the key `payload` occurs twice in one object");
    }

    #[test]
    fn log_entries_and_an_empty_hint_are_ignored() {
        let (bundle, _) = bundle();
        let mut json: Value = serde_json::from_str(&bundle.to_json()).expect("it was just written");
        json["verificationMaterial"] =
            serde_json::json!({"publicKey": {}, "tlogEntries": [{"logIndex": "1"}], "timestampVerificationData": {}});
        let read = Bundle::from_json(json.to_string().as_bytes()).expect("it is one");
        assert_eq!(read, Bundle { key_hint: None, ..bundle });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(statement in any_statement(), key_hint: Option<String>) {
            let (_, key) = bundle();
            let bundle = Bundle { key_hint, ..Bundle::sign(&statement, &key) };
            let read = Bundle::from_json(bundle.to_json().as_bytes());
            prop_assert_eq!(read.as_ref(), Ok(&bundle));
            prop_assert_eq!(Statement::from_json(bundle.envelope.payload()), Ok(statement));
        }

        #[test]
        fn any_bytes_give_a_bundle_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Bundle::from_json(&bytes);
        }
    }
}
