// One story of two people with the generated TypeScript client: accounts, an encrypted conversation, a live change, a
// group whose key changes, its history and the proof of it. The server is where BE8_URL says.

import assert from 'node:assert/strict';
import { createHash, randomUUID, webcrypto } from 'node:crypto';

import { createClient, type Client } from './client/client/index.ts';
import * as be8 from './client/index.ts';

const { subtle } = webcrypto;
const baseUrl = process.env.BE8_URL ?? 'http://127.0.0.1:3000';
const P384 = { name: 'ECDH', namedCurve: 'P-384' };
const bytes = (text: string) => new TextEncoder().encode(text);
const sha256 = (...parts: (string | Uint8Array)[]) =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

// --- Sessions and answers -----------------------------------------------------------------------------------------

/** A client that keeps its session cookie. A browser does that by itself. */
function session(): Client {
  const client = createClient({ baseUrl });
  let cookie: string | undefined;
  client.interceptors.request.use((request) => {
    if (cookie) request.headers.set('cookie', cookie);
    return request;
  });
  client.interceptors.response.use((response) => {
    cookie = response.headers.get('set-cookie')?.split(';')[0] ?? cookie;
    return response;
  });
  return client;
}

/** What was accepted; a refusal of either kind is an exception with its code. */
async function yes<T extends { valid: boolean }>(
  asked: Promise<{ data?: T; error?: be8.ErrorBody }>,
): Promise<Extract<T, { valid: true }>> {
  const { data, error } = await asked;
  if (!data) throw new Error(error?.error ?? 'no answer');
  if (!data.valid) throw new Error((data as { reason?: string }).reason ?? 'refused');
  return data as Extract<T, { valid: true }>;
}

// --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text -----------------------------------------

type KeyPair = webcrypto.CryptoKeyPair;
type Jwk = be8.PublicKey | webcrypto.JsonWebKey;

const newPair = () => subtle.generateKey(P384, true, ['deriveKey', 'deriveBits']) as Promise<KeyPair>;

async function publicJwk(pair: KeyPair): Promise<be8.PublicKeyInput> {
  const { x, y } = await subtle.exportKey('jwk', pair.publicKey);
  return { crv: 'P-384', ext: true, key_ops: [], kty: 'EC', x: x!, y: y! };
}

/** The cipher that both ends derive from one's secret and the other's public key. */
async function cipher(mine: KeyPair, { x, y }: Jwk) {
  const theirs = await subtle.importKey('jwk', { kty: 'EC', crv: 'P-384', x, y }, P384, true, []);
  const aes = { name: 'AES-GCM', length: 256 };
  return subtle.deriveKey({ name: 'ECDH', public: theirs }, mine.privateKey, aes, false, ['encrypt', 'decrypt']);
}

async function encrypt(mine: KeyPair, theirs: Jwk, text: string) {
  const iv: string = randomUUID();
  const sealed = await subtle.encrypt({ name: 'AES-GCM', iv: bytes(iv) }, await cipher(mine, theirs), bytes(text));
  return { text: Buffer.from(sealed).toString('base64'), iv };
}

async function decrypt(mine: KeyPair, theirs: Jwk, text: string, iv: string) {
  const opened = await subtle.decrypt(
    { name: 'AES-GCM', iv: bytes(iv) }, await cipher(mine, theirs), Buffer.from(text, 'base64'),
  );
  return new TextDecoder().decode(opened);
}

// --- A person -----------------------------------------------------------------------------------------------------

class Person {
  client = session();
  id = '';
  nickname: string;
  pair!: KeyPair;
  /** The keys of groups by `<groupID>:<version>`. */
  groupKeys = new Map<string, KeyPair>();

  constructor(nickname: string) {
    this.nickname = nickname;
  }

  /** An account and its public key. */
  static async signUp(nickname: string) {
    const person = new Person(nickname);
    const { client } = person;
    const body = { nickname, password: randomUUID() };
    person.id = String((await yes(be8.createAccount({ client, body }))).accID);
    person.pair = await newPair();
    await yes(be8.setKey({ client, body: { publicKey: await publicJwk(person.pair) } }));
    return person;
  }

  async publicKeyOf(accID: string) {
    return (await yes(be8.getKey({ client: this.client, body: { accID } }))).publicKey;
  }

  /** Writes to a thread; a repetition under the same key would not be a second message. */
  write(threadID: string, receiver: string, letter: { text: string; iv: string; groupVersionKey?: string }) {
    const body = { ...letter, threadID, receiver, sender: this.id, messageType: 'text' as const };
    const headers = { 'Idempotency-Key': randomUUID() };
    return yes(be8.writeMessage({ client: this.client, body, headers }));
  }

  async read(threadID: string) {
    return (await yes(be8.listMessages({ client: this.client, body: { threadID } }))).messages;
  }

  /** Takes a new version of the group's key and hands it, wrapped, to each member. */
  async rekey(groupID: string) {
    const { client } = this;
    const version = (await yes(be8.increaseGroupVersion({ client, body: { groupID } }))).groupVersion;
    const accIDs = (await yes(be8.listGroupMembers({ client, body: { groupID } }))).members.map(({ id }) => id);
    const { publicKeys } = await yes(be8.getKeys({ client, body: { accIDs } }));
    const secret = JSON.stringify(await subtle.exportKey('jwk', (await newPair()).privateKey));
    await Promise.all(publicKeys.map(async ({ accID, publicKey }) => {
      const { text: groupKey, iv } = await encrypt(this.pair, publicKey, secret);
      const stored = await yes(be8.storeGroupKey({ client, body: { groupID, accID, keyholder: this.id, groupKey, iv } }));
      assert.equal(stored.groupVersion, String(version));
    }));
    return version;
  }

  /** Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored. */
  async fetchGroupKeys(groupID: string) {
    const { groupKeys } = await yes(be8.listGroupKeys({ client: this.client, body: { groupID, accID: this.id } }));
    for (const { groupVersion, groupKey, keyholder, iv } of groupKeys) {
      const jwk = JSON.parse(await decrypt(this.pair, await this.publicKeyOf(keyholder), groupKey, iv!));
      const privateKey = await subtle.importKey('jwk', jwk, P384, true, ['deriveKey', 'deriveBits']);
      const publicKey = await subtle.importKey('jwk', { ...jwk, d: undefined, key_ops: [] }, P384, true, []);
      this.groupKeys.set(`${groupID}:${groupVersion}`, { privateKey, publicKey });
    }
    return groupKeys;
  }

  async writeToGroup(groupID: string, text: string) {
    const { groupVersion } = await yes(be8.getGroupVersion({ client: this.client, body: { groupID } }));
    const groupVersionKey = `${groupID}:${groupVersion}`;
    const pair = this.groupKeys.get(groupVersionKey)!;
    return this.write(groupID, groupID, { ...(await encrypt(pair, await publicJwk(pair), text)), groupVersionKey });
  }

  async readFromGroup(groupID: string) {
    const texts = (await this.read(groupID)).filter(({ messageType }) => messageType === 'text');
    return Promise.all(texts.map(async ({ groupVersionKey, text, iv }) => {
      const pair = this.groupKeys.get(groupVersionKey!)!;
      return decrypt(pair, await publicJwk(pair), text!, iv!);
    }));
  }
}

/** The next change of a kind. */
async function hear<A extends be8.Change['action']>(stream: AsyncGenerator<be8.Change | undefined>, action: A) {
  while (true) {
    const { value, done } = await stream.next();
    if (done) throw new Error(`the stream ended before ${action}`);
    // A comment line, which keeps the connection alive, comes as undefined.
    if (value?.action === action) return value as Extract<be8.Change, { action: A }>;
  }
}

/** Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962). */
function checkProof(canonical: Buffer, proof: string) {
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

// --- The story ----------------------------------------------------------------------------------------------------

const anna = await Person.signUp('Anna');
const ben = await Person.signUp('Ben');
console.log(`Anna is ${anna.id}, Ben is ${ben.id}.`);

const hangUp = new AbortController();
const opened = Promise.withResolvers<void>();
const { stream } = await be8.streamEvents({
  client: ben.client,
  signal: hangUp.signal,
  // Only so that this story does not go on before he listens.
  fetch: (request) => fetch(request).finally(opened.resolve),
});
const next = hear(stream, 'newMessage');
await opened.promise;

const { threadID } = await yes(be8.startConversation({ client: anna.client, body: { receiverID: ben.id } }));
await anna.write(threadID, ben.id, await encrypt(anna.pair, await anna.publicKeyOf(ben.id), 'Shall we found a group?'));

const heard = await next;
assert.deepEqual([heard.threadID, heard.sender, heard.nickname], [threadID, anna.id, 'Anna']);
const letter = (await ben.read(threadID)).find(({ messageType }) => messageType === 'text')!;
assert.notEqual(letter.text, 'Shall we found a group?');
assert.equal(
  await decrypt(ben.pair, await ben.publicKeyOf(letter.sender), letter.text!, letter.iv!), 'Shall we found a group?',
);
assert.deepEqual((await anna.read(threadID)).at(-1)!.status, [ben.id], 'Anna sees that Ben has read it');
console.log('Ben heard of a message at once, and only he can read it.');

// Both kinds of refusals: with a status from 400, and with status 200.
await assert.rejects(yes(be8.startConversation({ client: anna.client, body: { receiverID: '9' } })), /ACCNOTEXISTS/);
await assert.rejects(yes(be8.joinGroup({ client: ben.client, body: { groupID: 'g9' } })), /GROUPNOTEXISTING/);

const group = { nickname: 'Friends', groupType: 'private' as const };
const { groupID } = await yes(be8.createGroup({ client: anna.client, body: group }));
await yes(be8.joinGroup({ client: anna.client, body: { groupID } }));
await yes(be8.addGroupMember({ client: anna.client, body: { groupID, memberID: ben.id } }));
assert.equal((await hear(stream, 'groupJoin')).groupID, groupID);
assert.equal(await anna.rekey(groupID), 1);
await Promise.all([anna, ben].map((person) => person.fetchGroupKeys(groupID)));
await anna.writeToGroup(groupID, 'Welcome!');
assert.equal((await hear(stream, 'newMessage')).threadID, groupID);
hangUp.abort();

assert.equal(await ben.rekey(groupID), 2);
await anna.fetchGroupKeys(groupID);
const stored = await ben.fetchGroupKeys(groupID);
await ben.writeToGroup(groupID, 'A new key, and thank you.');
assert.deepEqual(await anna.readFromGroup(groupID), ['Welcome!', 'A new key, and thank you.']);
console.log(`The group ${groupID} has changed its key; all that was written under both can be read.`);

// Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
const { entries } = await yes(be8.getGroupHistory({ client: ben.client, path: { groupID } }));
assert.deepEqual(
  entries.map(({ act }) => act).filter((act) => act !== 'message'),
  ['created', 'joined', 'added', ...Array(2).fill(['versionAllocated', 'keyStored', 'keyStored']).flat()],
);
const fingerprints = entries.filter(({ act, account }) => act === 'keyStored' && account === ben.id);
assert.deepEqual(
  fingerprints.map(({ fingerprint }) => fingerprint), stored.map(({ groupKey }) => sha256(groupKey).toString('hex')),
);

const { position } = fingerprints.at(-1)!;
while (true) {
  const asked = await be8.getGroupProof({ client: ben.client, path: { groupID }, query: { position } });
  if (asked.error?.error === 'NOTCOVEREDYET') {
    // The next checkpoint will cover it.
    await new Promise((resolve) => setTimeout(resolve, 500));
    continue;
  }
  const { canonical, proof } = await yes(Promise.resolve(asked));
  checkProof(Buffer.from(canonical, 'base64'), proof);
  break;
}
// What anybody may read: whose log it is, and the first of its hashes.
const { data: logKey } = await be8.getLogKey({ client: ben.client });
const { data: checkpoint } = await be8.getLogCheckpoint({ client: ben.client });
assert.equal(checkpoint!.split('\n')[0], logKey!.split('+')[0]);
const { data: hash } = await be8.getLogTilePart({ client: ben.client, path: { level: 0, number: '000', width: 1 } });
assert.equal((hash as Blob).size, 32);
console.log('The history says who had which key, and the event that gave Ben his is proved to be in the log.');
