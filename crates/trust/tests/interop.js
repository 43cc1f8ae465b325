// In: a directory with bundles and public keys that isomer wrote. Out: what sigstore's own verifier says of them.

const fs = require("fs");
const path = require("path");
const { bundleFromJSON } = require("@sigstore/bundle");
const { Verifier, toSignedEntity, toTrustMaterial } = require("@sigstore/verify");

const directory = process.argv[2];
const read = (name) => fs.readFileSync(path.join(directory, name), "utf8");

function verifies(json, pem, hint) {
  const rawBytes = Buffer.from(pem.replace(/-----[^-]*-----|\s/g, ""), "base64");
  const none = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const verifier = new Verifier(toTrustMaterial(none, { [hint]: { rawBytes } }), {
    ctlogThreshold: 0,
    tlogThreshold: 0,
    timestampThreshold: 0,
  });
  const entity = toSignedEntity(bundleFromJSON(json));
  try {
    verifier.verify(entity);
    return true;
  } catch (error) {
    if (error.code !== "SIGNATURE_ERROR") throw error;
    return false;
  }
}

for (const name of ["ed25519", "ecdsa-p256"]) {
  const json = JSON.parse(read(`${name}.bundle.json`));
  const pem = read(`${name}.pub`);
  const hint = json.verificationMaterial.publicKey.hint;
  const altered = structuredClone(json);
  altered.dsseEnvelope.payload = Buffer.from("{}").toString("base64");
  console.log(`${name}: ${verifies(json, pem, hint)}, altered: ${verifies(altered, pem, hint)}`);
}
