// What the stories in TypeScript do without the server: encryption as the web client does it, and the check of a proof. It
// needs none of the generated code.

import assert from 'node:assert/strict';
import { createHash, randomUUID, webcrypto } from 'node:crypto';

const { subtle } = webcrypto;
const P384 = { name: 'ECDH', namedCurve: 'P-384' };
const bytes = (text: string) => new TextEncoder().encode(text);
export const sha256 = (...parts: (string | Uint8Array)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

// --- ECDH on P-384, AES-256-GCM; the vector is a UUID as text -----------------------------------------------------

export type KeyPair = webcrypto.CryptoKeyPair;
type Jwk = { x?: string; y?: string };

export const newPair = () => subtle.generateKey(P384, true, ['deriveKey', 'deriveBits']) as Promise<KeyPair>;

/** The public half, with the members that `/setkey` wants. */
export async function publicJwk(pair: KeyPair) {
  const { x, y } = await subtle.exportKey('jwk', pair.publicKey);
  return { crv: 'P-384', ext: true, key_ops: [] as string[], kty: 'EC', x: x!, y: y! };
}

/** The private half as text, as it is wrapped for the members of a group. */
export async function privateJwk(pair: KeyPair) {
  return JSON.stringify(await subtle.exportKey('jwk', pair.privateKey));
}

export async function pairFrom(privateJwk: string): Promise<KeyPair> {
  const jwk = JSON.parse(privateJwk);
  const privateKey = await subtle.importKey('jwk', jwk, P384, true, ['deriveKey', 'deriveBits']);
  const publicKey = await subtle.importKey('jwk', { ...jwk, d: undefined, key_ops: [] }, P384, true, []);
  return { privateKey, publicKey };
}

/** The cipher that both ends derive from one's secret and the other's public key. */
async function cipher(mine: KeyPair, { x, y }: Jwk) {
  const theirs = await subtle.importKey('jwk', { kty: 'EC', crv: 'P-384', x, y }, P384, true, []);
  const aes = { name: 'AES-GCM', length: 256 };
  return subtle.deriveKey({ name: 'ECDH', public: theirs }, mine.privateKey, aes, false, ['encrypt', 'decrypt']);
}

export async function encrypt(mine: KeyPair, theirs: Jwk, text: string) {
  const iv: string = randomUUID();
  const sealed = await subtle.encrypt({ name: 'AES-GCM', iv: bytes(iv) }, await cipher(mine, theirs), bytes(text));
  return { text: Buffer.from(sealed).toString('base64'), iv };
}

export async function decrypt(mine: KeyPair, theirs: Jwk, text: string, iv: string) {
  const opened = await subtle.decrypt(
    { name: 'AES-GCM', iv: bytes(iv) }, await cipher(mine, theirs), Buffer.from(text, 'base64'),
  );
  return new TextDecoder().decode(opened);
}

// --- Proofs -------------------------------------------------------------------------------------------------------

/** Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962). */
export function checkProof(canonical: Buffer, proof: string) {
  const [head, checkpoint] = proof.split('\n\n');
  const [format, index, ...hashes] = head.split('\n');
  const [, size, root] = checkpoint.split('\n');
  assert.equal(format, 'c2sp.org/tlog-proof@v1');
  let at = BigInt(index.replace('index ', ''));
  let last = BigInt(size) - 1n;
  let hash = sha256(Uint8Array.of(0), sha256(canonical));
  for (const sibling of hashes.map((text) => Buffer.from(text, 'base64'))) {
    assert(last > 0n, 'the proof is too long');
    if (at & 1n || at === last) {
      hash = sha256(Uint8Array.of(1), sibling, hash);
      while (!(at & 1n) && at !== 0n) [at, last] = [at >> 1n, last >> 1n];
    } else {
      hash = sha256(Uint8Array.of(1), hash, sibling);
    }
    [at, last] = [at >> 1n, last >> 1n];
  }
  assert.equal(last, 0n, 'the proof is too short');
  assert.equal(hash.toString('base64'), root);
}
