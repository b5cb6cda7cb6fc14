// One story of two people with the generated TypeScript client: accounts, an encrypted conversation, a live change, a
// group whose key changes, its history and the proof of it. The server is where BE8_URL says.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { createClient, type Client } from './client/client/index.ts';
import * as be8 from './client/index.ts';
import { checkProof, decrypt, encrypt, newPair, pairFrom, privateJwk, publicJwk, sha256, type KeyPair } from './crypto.ts';

const baseUrl = process.env.BE8_URL ?? 'http://127.0.0.1:3000';

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
    const secret = await privateJwk(await newPair());
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
      const secret = await decrypt(this.pair, await this.publicKeyOf(keyholder), groupKey, iv!);
      this.groupKeys.set(`${groupID}:${groupVersion}`, await pairFrom(secret));
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

// --- Live changes -------------------------------------------------------------------------------------------------

/**
 * Somebody's live changes, for as long as one asks. The generated client comes back by itself, with the last id, when the
 * connection breaks. When the server ends a stream in good order, as it does to restart, that client's loop ends without an
 * error: it is opened again here, with the last id, too.
 */
class Changes {
  /** All that came. */
  seen: be8.Change[] = [];
  /** Resolved once the first stream is open, so that the story does not go on before. */
  opened = Promise.withResolvers<void>();
  /** How often the server ended a stream in good order. */
  ends = 0;
  #client: Client;
  #hangUp = new AbortController();
  #changes = this.#read();

  constructor(client: Client) {
    this.#client = client;
  }

  async *#read() {
    const { signal } = this.#hangUp;
    let last: string | undefined;
    let pause = 2500;
    while (!signal.aborted) {
      const { stream } = await be8.streamEvents({
        client: this.#client,
        signal,
        headers: last === undefined ? {} : { 'Last-Event-ID': last },
        onSseEvent: ({ id, retry }) => [last, pause] = [id ?? last, retry ?? pause],
        fetch: (request) => fetch(request).finally(this.opened.resolve),
      });
      for await (const change of stream) yield change;
      this.ends += 1;
      await sleep(pause);
    }
  }

  /** The next change of a kind. */
  async next<A extends be8.Change['action']>(action: A) {
    for (;;) {
      const { value } = await this.#changes.next();
      this.seen.push(value!);
      if (value!.action === action) return value as Extract<be8.Change, { action: A }>;
    }
  }

  close() {
    this.#hangUp.abort();
  }
}

// --- The story ----------------------------------------------------------------------------------------------------

const anna = await Person.signUp('Anna');
const ben = await Person.signUp('Ben');
console.log(`Anna is ${anna.id}, Ben is ${ben.id}.`);

const changes = new Changes(ben.client);
const arrival = changes.next('newMessage');
await changes.opened.promise;

const { threadID } = await yes(be8.startConversation({ client: anna.client, body: { receiverID: ben.id } }));
await anna.write(threadID, ben.id, await encrypt(anna.pair, await anna.publicKeyOf(ben.id), 'Shall we found a group?'));

const arrived = await arrival;
assert.deepEqual([arrived.threadID, arrived.sender, arrived.nickname], [threadID, anna.id, 'Anna']);
const letter = (await ben.read(threadID)).find(({ messageType }) => messageType === 'text')!;
assert.notEqual(letter.text, 'Shall we found a group?');
assert.equal(
  await decrypt(ben.pair, await ben.publicKeyOf(letter.sender), letter.text!, letter.iv!), 'Shall we found a group?',
);
assert.deepEqual((await anna.read(threadID)).at(-1)!.status, [ben.id], 'Anna sees that Ben has read it');
console.log('A message reached Ben at once, and only he can read it.');

// The server restarts, and so ends the stream in good order.
const restart = process.env.BE8_RESTART;
if (restart) {
  writeFileSync(restart, '');
  while (existsSync(restart)) await sleep(100);
}
await anna.write(threadID, ben.id, await encrypt(anna.pair, await anna.publicKeyOf(ben.id), 'Are you still there?'));

// Both kinds of refusals: with a status from 400, and with status 200.
await assert.rejects(yes(be8.startConversation({ client: anna.client, body: { receiverID: '9' } })), /ACCNOTEXISTS/);
await assert.rejects(yes(be8.joinGroup({ client: ben.client, body: { groupID: 'g9' } })), /GROUPNOTEXISTING/);

const group = { nickname: 'Friends', groupType: 'private' as const };
const { groupID } = await yes(be8.createGroup({ client: anna.client, body: group }));
await yes(be8.joinGroup({ client: anna.client, body: { groupID } }));
await yes(be8.addGroupMember({ client: anna.client, body: { groupID, memberID: ben.id } }));
assert.equal((await changes.next('groupJoin')).groupID, groupID);
// The conversation itself and the two messages, each once.
assert.equal(changes.seen.filter((change) => change.action === 'newMessage' && change.threadID === threadID).length, 3);
if (restart) {
  assert.equal(changes.ends, 1);
  console.log('The server was restarted; Ben came back with the last id, and nothing was missed or came twice.');
}
assert.equal(await anna.rekey(groupID), 1);
await Promise.all([anna, ben].map((person) => person.fetchGroupKeys(groupID)));
await anna.writeToGroup(groupID, 'Welcome!');
assert.equal((await changes.next('newMessage')).threadID, groupID);
changes.close();

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
    await sleep(500);
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
