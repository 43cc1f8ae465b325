//! In: a payload and a key, or an envelope's JSON. Out: a DSSE envelope. Never here: what the payload means.
//!
//! The [protocol](https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md) signs the payload's type with the
//! payload. The key ids in an envelope are not signed: they are hints, and nothing depends on them.

use crate::key::{PublicKey, SigningKey};
use crate::strict_json::{self, JsonError};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use isomer_contract::{Hinted, canonical_json, shorten};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The only payload type that is read: an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The largest envelope, and the largest bundle, that is read, in bytes: what registries accept as a manifest.
pub const ENVELOPE_SIZE_BYTES_MAX: usize = 4 << 20;
/// The most signatures in one envelope.
pub const SIGNATURES_MAX: usize = 16;

/// Some writers leave the padding out, as the JSON form of protocol buffers allows.
const LENIENT: GeneralPurposeConfig = general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A statement with its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// Which key may have made it. Not signed: a hint.
    pub keyid: Option<String>,
    /// The signature.
    pub sig: Vec<u8>,
}

/// Why bytes are not an envelope with a statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not JSON, or of another shape.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The payload or a signature cannot be decoded.
    #[error("the {field} is not base64: {reason}")]
    Base64 {
        /// Which part.
        field: &'static str,
        /// The decoder's words.
        reason: String,
    },
    /// Something else than an in-toto statement was signed.
    #[error("expected the payload type `{PAYLOAD_TYPE}`, found `{found}`")]
    PayloadType {
        /// The type.
        found: String,
    },
    /// No signature, or too many.
    #[error("expected 1 to {SIGNATURES_MAX} signatures, found {found}")]
    SignatureCount {
        /// How many there are.
        found: usize,
    },
}

impl Hinted for EnvelopeError {
    fn hint(&self) -> Option<String> {
        match self {
            EnvelopeError::PayloadType { .. } => Some("the signature is not for a release".to_owned()),
            _ => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a DSSE envelope")]
struct EnvelopeJson {
    payload: String,
    payload_type: String,
    signatures: Vec<SignatureJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(expecting = "a signature of a DSSE envelope")]
struct SignatureJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

impl Envelope {
    /// Signs `payload`, an in-toto statement.
    pub fn sign(payload: Vec<u8>, key: &SigningKey) -> Envelope {
        let mut envelope = Envelope { payload, signatures: Vec::new() };
        envelope.add_signature(key);
        envelope
    }

    /// Signs it with one more key.
    pub fn add_signature(&mut self, key: &SigningKey) {
        let keyid = Some(key.public_key().id().to_string());
        self.signatures.push(EnvelopeSignature { keyid, sig: key.sign(&self.signed_bytes()) });
    }

    /// The same without the ids of the keys, which are not signed.
    pub(crate) fn without_key_ids(mut self) -> Envelope {
        self.signatures.iter_mut().for_each(|signature| signature.keyid = None);
        self
    }

    /// Reads an envelope. Fields that the protocol does not define are ignored, as it requires.
    ///
    /// # Errors
    /// When it is malformed, or holds something else than a statement, or no signature.
    pub fn from_json(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        Envelope::from_value(strict_json::read(bytes, ENVELOPE_SIZE_BYTES_MAX)?)
    }

    pub(crate) fn from_value(value: Value) -> Result<Envelope, EnvelopeError> {
        let json: EnvelopeJson = strict_json::from_value(value)?;
        if json.payload_type != PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType { found: shorten(&json.payload_type) });
        }
        if json.signatures.is_empty() || json.signatures.len() > SIGNATURES_MAX {
            return Err(EnvelopeError::SignatureCount { found: json.signatures.len() });
        }
        let payload = decode("payload", &json.payload)?;
        let signature =
            |it: SignatureJson| Ok(EnvelopeSignature { keyid: it.keyid, sig: decode("signature", &it.sig)? });
        let signatures = json.signatures.into_iter().map(signature).collect::<Result<_, EnvelopeError>>()?;
        Ok(Envelope { payload, signatures })
    }

    /// Its canonical JSON.
    pub fn to_json(&self) -> String {
        canonical_json(&self.json())
    }

    pub(crate) fn json(&self) -> impl Serialize + use<> {
        let encode = |bytes: &[u8]| general_purpose::STANDARD.encode(bytes);
        let signature = |it: &EnvelopeSignature| SignatureJson { keyid: it.keyid.clone(), sig: encode(&it.sig) };
        EnvelopeJson {
            payload: encode(&self.payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: self.signatures.iter().map(signature).collect(),
        }
    }

    /// The statement, whose signature is not verified before [`Envelope::verifies`].
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its signatures, in the order of the envelope.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// Whether one of its signatures is `key`'s.
    pub fn verifies(&self, key: &PublicKey) -> bool {
        let message = self.signed_bytes();
        self.signatures.iter().any(|signature| key.verifies(&message, &signature.sig))
    }

    /// What is signed: the protocol's pre-authentication encoding.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(PAYLOAD_TYPE, &self.payload)
    }
}

/// Type and payload, each with its length before it, so that no two pairs have the same encoding.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend(payload);
    bytes
}

/// Either alphabet, as the protocol requires, but not both at once.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).map_err(|error| EnvelopeError::Base64 { field, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// One key of each algorithm.
    static KEYS: LazyLock<[SigningKey; 2]> =
        LazyLock::new(|| Algorithm::ALL.map(|algorithm| SigningKey::generate(algorithm).expect("there is randomness")));

    #[test]
    fn the_encoding_is_the_protocols() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
        assert_eq!(pre_authentication_encoding("é", b"\xff"), b"DSSEv1 2 \xc3\xa9 1 \xff");
    }

    #[test]
    fn an_envelope_may_have_several_signatures() {
        let mut envelope = Envelope::sign(b"{}".to_vec(), &KEYS[0]);
        assert!(envelope.verifies(&KEYS[0].public_key()) && !envelope.verifies(&KEYS[1].public_key()));
        envelope.add_signature(&KEYS[1]);
        let read = Envelope::from_json(envelope.to_json().as_bytes()).expect("it was just written");
        assert_eq!(read, envelope);
        assert!(KEYS.iter().all(|key| read.verifies(&key.public_key())));
    }

    fn envelope(payload: &str, payload_type: &str, signatures: &str) -> Result<Envelope, EnvelopeError> {
        let text = format!(r#"{{"payload":"{payload}","payloadType":"{payload_type}","signatures":{signatures}}}"#);
        Envelope::from_json(text.as_bytes())
    }

    #[test]
    fn both_alphabets_of_base64_are_read() {
        let expected = Envelope {
            payload: vec![0xfb, 0xff, 0xbf, 0xfe],
            signatures: vec![EnvelopeSignature { keyid: None, sig: vec![1] }],
        };
        for payload in ["+/+//g==", "-_-__g==", "+/+//g", "-_-__g"] {
            assert_eq!(envelope(payload, PAYLOAD_TYPE, r#"[{"sig":"AQ==","other":[]}]"#), Ok(expected.clone()));
        }
        for payload in ["+_+//g==", "+/+//h==", "+/+/\\n/g==", " ", "é", "=", "A", "AQ=", "AQ==AQ=="] {
            let error = envelope(payload, PAYLOAD_TYPE, r#"[{"sig":"AQ=="}]"#);
            // One `=` of two is padding as well; nothing else here is base64.
            assert!(
                payload == "AQ=" || matches!(error, Err(EnvelopeError::Base64 { field: "payload", .. })),
                "{payload}"
            );
        }
    }

    #[test]
    fn each_refusal_names_what_was_found() {
        let one = r#"[{"sig":"AQ=="}]"#;
        for (found, expected) in [
            (
                envelope("", "application/json", one),
                "expected the payload type `application/vnd.in-toto+json`, found `application/json`",
            ),
            (envelope("", PAYLOAD_TYPE, "[]"), "expected 1 to 16 signatures, found 0"),
            (
                envelope("", PAYLOAD_TYPE, &format!("[{}]", vec![r#"{"sig":"AQ=="}"#; 17].join(","))),
                "expected 1 to 16 signatures, found 17",
            ),
            (
                envelope("", PAYLOAD_TYPE, r#"[{"sig":"AQ==","sig":"Ag=="}]"#),
                "the key `sig` occurs twice in one object",
            ),
            (envelope("", PAYLOAD_TYPE, r#"[{}]"#), "missing field `sig`"),
            (Envelope::from_json(b"[]"), "invalid length 0, expected a DSSE envelope"),
            (
                Envelope::from_json(&vec![b' '; ENVELOPE_SIZE_BYTES_MAX + 1]),
                "expected at most 4194304 bytes, found 4194305",
            ),
        ] {
            assert_eq!(found.expect_err(expected).to_string(), expected);
        }
    }

    #[test]
    fn the_limits_are_included() {
        let sixteen = format!("[{}]", vec![r#"{"sig":"AQ=="}"#; SIGNATURES_MAX].join(","));
        assert_eq!(envelope("", PAYLOAD_TYPE, &sixteen).map(|it| it.signatures().len()), Ok(SIGNATURES_MAX));
        let mut text = Envelope::sign(b"{}".to_vec(), &KEYS[0]).to_json().into_bytes();
        text.resize(ENVELOPE_SIZE_BYTES_MAX, b' ');
        Envelope::from_json(&text).expect("it has the largest size");
    }

    #[test]
    fn only_another_payload_type_has_a_hint() {
        let other = EnvelopeError::PayloadType { found: String::new() };
        assert!(other.hint().is_some_and(|hint| hint.contains("not for a release")));
        assert_eq!(EnvelopeError::SignatureCount { found: 0 }.hint(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_flipped_bit_verifies(
            payload in prop::collection::vec(any::<u8>(), 0..300),
            which in 0..2usize,
            flip: prop::sample::Index,
        ) {
            let key = &KEYS[which];
            let envelope = Envelope::sign(payload, key);
            let public = key.public_key();
            prop_assert!(envelope.verifies(&public));
            let mut altered = envelope.clone();
            let bits = (altered.payload.len() + altered.signatures[0].sig.len()) * 8;
            let bit = flip.index(bits);
            let mut bytes = altered.payload.iter_mut().chain(&mut altered.signatures[0].sig);
            *bytes.nth(bit / 8).expect("the index is in range") ^= 1 << (bit % 8);
            prop_assert!(!altered.verifies(&public));
            let message = envelope.signed_bytes();
            let bit = flip.index(message.len() * 8);
            let mut altered = message.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!public.verifies(&altered, &envelope.signatures[0].sig));
        }

        #[test]
        fn any_bytes_give_an_envelope_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::from_json(&bytes);
        }

        #[test]
        fn any_text_decodes_or_does_not(text in ".*", payload_type in ".*", keyid: Option<String>) {
            let signatures = vec![SignatureJson { keyid, sig: text.clone() }];
            let json = EnvelopeJson { payload: text, payload_type, signatures };
            if let Ok(envelope) = Envelope::from_json(canonical_json(&json).as_bytes()) {
                prop_assert_eq!(Envelope::from_json(envelope.to_json().as_bytes()), Ok(envelope));
            }
        }
    }
}
