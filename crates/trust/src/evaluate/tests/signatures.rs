//! Which signatures count: those over exactly these bytes, by a key of the policy. What a bundle says beside them decides
//! nothing.

use super::*;
use crate::dsse::Envelope;

#[test]
fn one_trusted_key_is_enough() {
    for (key, name) in [(0, "farm"), (1, "desk")] {
        let trusted = Case::default().evaluate(&policy(1), &[signed(key, 7)]).expect("it is signed");
        assert_eq!(trusted.by, [name]);
        assert_eq!(trusted.release.counter, 7);
        assert_eq!(trusted.statement, statement(REFERENCE, index(), 7));
        assert_eq!(trusted.rejected, []);
    }
}

#[test]
fn no_signature() {
    let (refusal, rejected) = Case::default().refused(&policy(1), &[]);
    assert_eq!((refusal.as_str(), rejected), ("it is not signed", vec![]));
}

#[test]
fn too_many_signatures() {
    let bundles = vec![signed(0, 7); SIGNATURES_MAX + 1];
    let (refusal, _) = Case::default().refused(&policy(1), &bundles);
    assert_eq!(refusal, "expected at most 64 signatures, found 65");
    let trusted = Case::default().evaluate(&policy(1), &bundles[1..]).expect("64 may be");
    assert_eq!((trusted.by.len(), trusted.rejected.len()), (1, 63));
}

#[test]
fn a_policy_without_keys_trusts_none() {
    let empty = Policy::of_keys([]);
    let reasons = Case::default().reasons(&empty, signed(0, 7));
    assert_eq!(reasons, [Reason::UnknownKey { hint: Some(KEYS[0].public_key().id().to_string()) }]);
}

#[test]
fn an_unknown_key() {
    let id = KEYS[2].public_key().id();
    let (refusal, rejected) = Case::default().refused(&policy(1), &[signed(2, 7)]);
    assert_eq!(refusal, "0 of 1 required keys attest it");
    assert_eq!(rejected, [format!("signature 1: it is signed by the key `{id}`, which the policy does not name")]);
}

#[test]
fn hints_decide_nothing() {
    let bundle = Bundle::sign(&statement(REFERENCE, index(), 7), &KEYS[0]);
    let stranger = KEYS[2].public_key().id().to_string();
    let desk = KEYS[1].public_key().id().to_string();
    for hint in [None, Some(String::new()), Some("x".to_owned()), Some(stranger), Some(desk.clone())] {
        // The hint says one key, the key id another, and a third has signed.
        let changed = Bundle { key_hint: hint, ..bundle.clone() };
        for keyid in ["", "y", &desk] {
            let mut json: serde_json::Value = serde_json::from_str(&changed.to_json()).expect("it was just written");
            json["dsseEnvelope"]["signatures"][0]["keyid"] = keyid.into();
            let trusted = Case::default().evaluate(&policy(1), &[json.to_string()]).expect("it is signed");
            assert_eq!(trusted.by, ["farm"]);
        }
    }
    let farm = KEYS[0].public_key().id().to_string();
    let forged = Bundle { key_hint: Some(farm), ..Bundle::sign(&statement(REFERENCE, index(), 7), &KEYS[2]) };
    assert_eq!(
        Case::default().reasons(&policy(1), forged.to_json()),
        [Reason::BadSignature { key: "farm".to_owned() }]
    );
}

#[test]
fn an_altered_statement_is_a_bad_signature() {
    let (ours, theirs) = (signed(0, 7), Bundle::sign(&statement(REFERENCE, index(), 8), &KEYS[2]));
    let mut json: serde_json::Value = serde_json::from_str(&ours).expect("it was just written");
    let other: serde_json::Value = serde_json::from_str(&theirs.to_json()).expect("it was just written");
    json["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"].clone();
    let reasons = Case::default().reasons(&policy(1), json.to_string());
    assert_eq!(reasons, [Reason::BadSignature { key: "farm".to_owned() }]);
}

#[test]
fn another_payload_type() {
    let bundle = signed(0, 7).replace("application/vnd.in-toto+json", "application/vnd.in-toto+jsom");
    let reasons = Case::default().reasons(&policy(1), bundle);
    assert_eq!(reasons, [Reason::PayloadType { found: "application/vnd.in-toto+jsom".to_owned() }]);
}

#[test]
fn a_signature_over_the_payload_without_its_type() {
    let statement = statement(REFERENCE, index(), 7).to_json();
    let bare = KEYS[0].sign(statement.as_bytes());
    let mut json: serde_json::Value = serde_json::from_str(&signed(0, 7)).expect("it was just written");
    json["dsseEnvelope"]["signatures"][0]["sig"] = base64(&bare).into();
    let reasons = Case::default().reasons(&policy(1), json.to_string());
    assert_eq!(reasons, [Reason::BadSignature { key: "farm".to_owned() }]);
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_malformed_bundle() {
    let twice = signed(0, 7).replacen('{', r#"{"mediaType":"x","#, 1);
    for bundle in [String::new(), "{}".to_owned(), "[]".to_owned(), twice, "[".repeat(100_000)] {
        let reasons = Case::default().reasons(&policy(1), bundle);
        assert!(matches!(reasons[..], [Reason::Malformed(_)]), "{reasons:?}");
    }
}

#[test]
fn a_malformed_statement() {
    let text = statement(REFERENCE, index(), 7).to_json();
    let twice = text.replacen('{', r#"{"subject":[],"#, 1);
    let other = text.replace("https://isomer.dev/build/v1", "https://example.com/build/v1");
    for payload in ["", "{}", &twice, &other, &format!("{text} ")[1..]] {
        let bundle = Bundle { key_hint: None, envelope: Envelope::sign(payload.into(), &KEYS[0]) };
        let reasons = Case::default().reasons(&policy(1), bundle.to_json());
        assert!(matches!(reasons[..], [Reason::Statement(_)]), "{reasons:?}");
    }
}

/// Whichever bit of a bundle is flipped: it is refused, or is exactly what was signed.
#[test]
fn no_flipped_bit_changes_what_is_trusted() {
    let (policy, expected) = (policy(1), statement(REFERENCE, index(), 7));
    for (key, name) in [(0, "farm"), (1, "desk")] {
        let bundle = signed(key, 7);
        let json: serde_json::Value = serde_json::from_str(&bundle).expect("it was just written");
        let envelope = &json["dsseEnvelope"];
        let signed = [&envelope["payload"], &envelope["payloadType"], &envelope["signatures"][0]["sig"]].map(|value| {
            let text = value.as_str().expect("they are strings");
            let start = bundle.find(text).expect("the bundle has it");
            start..start + text.len()
        });
        for bit in 0..bundle.len() * 8 {
            let mut bytes = bundle.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let altered = String::from_utf8_lossy(&bytes).into_owned();
            if let Ok(trusted) = Case::default().evaluate(&policy, &[altered]) {
                assert!(!signed.iter().any(|range| range.contains(&(bit / 8))), "bit {bit} of {bundle}");
                assert_eq!((&trusted.statement, &trusted.by[..]), (&expected, &[name.to_owned()][..]));
            }
        }
    }
}
