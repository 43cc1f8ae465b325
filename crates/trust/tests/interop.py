"""In: a directory with isomer's keys and envelopes, and a passphrase. Out: what securesystemslib says of them, and its
own keys and envelopes beside them."""

import copy
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
directory, passphrase = Path(sys.argv[1]), sys.argv[2].encode()
GENERATE = {"ed25519": CryptoSigner.generate_ed25519, "ecdsa-p256": CryptoSigner.generate_ecdsa}


def verifies(envelope, key):
    try:
        return key.keyid in envelope.verify([key], 1)
    except VerificationError:
        return False


def altered(envelope):
    """The envelope with one bit flipped in its payload, its type and its signature."""
    payload, kind, signature = (copy.deepcopy(envelope) for _ in range(3))
    payload.payload = bytes([payload.payload[0] ^ 1]) + payload.payload[1:]
    kind.payload_type = kind.payload_type[:-1] + "o"
    (only,) = signature.signatures.values()
    only.signature = only.signature[:-1] + format(int(only.signature[-1], 16) ^ 1, "x")
    return [payload, kind, signature]


for name, generate in GENERATE.items():
    ours = json.loads((directory / f"ours-{name}.json").read_text())
    public = serialization.load_pem_public_key((directory / f"ours-{name}.pub").read_bytes())
    for suffix, password in [("key", None), ("enc", passphrase)]:
        private = serialization.load_pem_private_key((directory / f"ours-{name}.{suffix}").read_bytes(), password)
        assert private.public_key() == public, suffix
    key = SSlibKey.from_crypto(public, keyid=ours["signatures"][0]["keyid"])
    envelope = Envelope.from_dict(ours)
    assert envelope.payload == (directory / "statement.json").read_bytes()
    assert envelope.payload_type == PAYLOAD_TYPE
    assert verifies(envelope, key), name
    assert not any(verifies(other, key) for other in altered(envelope)), name
    print(f"{name}: verified, {len(altered(envelope))} alterations refused")

    signer = generate()
    private = serialization.load_pem_private_key(signer.private_bytes, None)
    spki = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    encrypted = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase),
    )
    theirs = Envelope((directory / "statement.json").read_bytes(), PAYLOAD_TYPE, {})
    theirs.sign(signer)
    (directory / f"theirs-{name}.key").write_bytes(signer.private_bytes)
    (directory / f"theirs-{name}.enc").write_bytes(encrypted)
    (directory / f"theirs-{name}.pub").write_bytes(spki)
    (directory / f"theirs-{name}.json").write_text(json.dumps(theirs.to_dict()))
