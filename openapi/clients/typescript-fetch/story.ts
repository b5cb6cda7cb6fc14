// The story of two people with the client that openapi-generator's typescript-fetch makes; the one in ../typescript says more
// about each step. The server is where BE8_URL says.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { checkProof, decrypt, encrypt, newPair, pairFrom, privateJwk, publicJwk, sha256, type KeyPair } from './crypto';
import * as be8 from './generated';

const basePath = process.env.BE8_URL ?? 'http://127.0.0.1:3000';

// --- Answers ------------------------------------------------------------------------------------------------------

/** What was accepted; a refusal of either kind is an exception with its code. */
async function yes<T extends { valid: boolean }>(asked: Promise<T>): Promise<Exclude<T, be8.Refused>> {
  const answer = await asked.catch(async (error) => {
    if (error instanceof be8.ResponseError) throw new Error((await error.response.json()).error);
    throw error;
  });
  if (!answer.valid) throw new Error((answer as { reason?: string }).reason ?? 'refused');
  return answer as Exclude<T, be8.Refused>;
}

/**
 * Every union of the document hands on the reason of a refusal, and so does every part what is in it. Such a union is read
 * as the first part, in the order of the names, whose required members are all there; its other members are dropped.
 */
async function checkUnions() {
  const document = JSON.parse(readFileSync(process.env.BE8_DOCUMENT!, 'utf8'));
  const schemas = document.components.schemas;
  let unions = 0;
  for (const operation of Object.values<any>(document.paths).flatMap((path) => Object.values<any>(path))) {
    for (const { $ref } of operation.responses?.[200]?.content?.['application/json']?.schema.oneOf ?? []) {
      const { properties } = schemas[$ref.split('/').at(-1)];
      const whole = Object.fromEntries(Object.keys(properties).map((name) => [name, sample(schemas, properties[name])]));
      const fetchApi = async () => Response.json(whole);
      const apis = Object.entries<any>(be8).filter(([name]) => name.endsWith('Api'));
      const api = apis.map(([, Api]) => new Api(new be8.Configuration({ fetchApi }))).find((api) => operation.operationId in api);
      const anything = new Proxy({}, { get: () => ({}) });
      const answer = await api[operation.operationId](anything);
      assert.deepEqual(JSON.parse(JSON.stringify(answer)), whole, `${operation.operationId} as ${$ref}`);
      unions += 1;
    }
  }
  assert(unions > 40, `${unions} parts of unions`);
}

/** A value that a schema of the document allows. */
function sample(schemas: any, schema: any): unknown {
  if (schema.$ref) return sample(schemas, schemas[schema.$ref.split('/').at(-1)]);
  if (schema.allOf) return sample(schemas, schema.allOf[0]);
  if (schema.enum) return schema.enum[0];
  const of = { string: 'text', boolean: true, integer: 1, number: 1, array: [], object: {} } as Record<string, unknown>;
  return of[schema.type];
}

// --- A person -----------------------------------------------------------------------------------------------------

class Person {
  /** Keeps the session cookie. A browser does that by itself. */
  configuration = new be8.Configuration({
    basePath,
    middleware: [{
      pre: async ({ url, init }) => ({ url, init: { ...init, headers: { ...init.headers, cookie: this.#cookie } } }),
      post: async ({ response }) => {
        this.#cookie = response.headers.get('set-cookie')?.split(';')[0] ?? this.#cookie;
      },
    }],
  });
  accounts = new be8.AccountsApi(this.configuration);
  audit = new be8.AuditApi(this.configuration);
  conversations = new be8.ConversationsApi(this.configuration);
  events = new be8.EventsApi(this.configuration);
  groups = new be8.GroupsApi(this.configuration);
  groupKeys = new be8.GroupKeysApi(this.configuration);
  keys = new be8.KeysApi(this.configuration);
  messages = new be8.MessagesApi(this.configuration);
  id = '';
  pair!: KeyPair;
  /** The keys of groups by `<groupID>:<version>`. */
  pairs = new Map<string, KeyPair>();
  #cookie = '';

  /** An account and its public key. */
  static async signUp(nickname: string) {
    const person = new Person();
    const made = await person.accounts.createAccount({ accountInput: { nickname, password: randomUUID() } });
    if (!('accID' in made)) throw new Error(made.warning);
    person.id = String(made.accID);
    person.pair = await newPair();
    const { key_ops: keyOps, ...jwk } = await publicJwk(person.pair);
    await yes(person.keys.setKey({ keyInput: { publicKey: { ...jwk, keyOps } } }));
    return person;
  }

  async publicKeyOf(accID: string) {
    return (await yes(this.keys.getKey({ keyOwnerInput: { accID } }))).publicKey;
  }

  /** Writes to a thread; a repetition under the same key would not be a second message. */
  write(threadID: string, receiver: string, letter: { text: string; iv: string; groupVersionKey?: string }) {
    const messageInput = { ...letter, threadID, receiver, sender: this.id, messageType: be8.SentType.Text };
    return yes(this.messages.writeMessage({ messageInput, idempotencyKey: randomUUID() }));
  }

  async read(threadID: string) {
    return (await yes(this.messages.listMessages({ messagesInput: { threadID } }))).messages;
  }

  /** Takes a new version of the group's key and hands it, wrapped, to each member. */
  async rekey(groupID: string) {
    const groupInput = { groupID };
    const version = (await yes(this.groupKeys.increaseGroupVersion({ groupInput }))).groupVersion;
    const accIDs = (await yes(this.groups.listGroupMembers({ groupInput }))).members.map(({ id }) => id);
    const { publicKeys } = await yes(this.keys.getKeys({ keyOwnersInput: { accIDs } }));
    const secret = await privateJwk(await newPair());
    await Promise.all(publicKeys.map(async ({ accID, publicKey }) => {
      const { text: groupKey, iv } = await encrypt(this.pair, publicKey, secret);
      const groupKeyInput = { groupID, accID, keyholder: this.id, groupKey, iv };
      assert.equal((await yes(this.groupKeys.storeGroupKey({ groupKeyInput }))).groupVersion, String(version));
    }));
    return version;
  }

  /** Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored. */
  async fetchGroupKeys(groupID: string) {
    const { groupKeys } = await yes(this.groupKeys.listGroupKeys({ groupKeysInput: { groupID, accID: this.id } }));
    for (const { groupVersion, groupKey, keyholder, iv } of groupKeys) {
      const secret = await decrypt(this.pair, await this.publicKeyOf(keyholder), groupKey, iv!);
      this.pairs.set(`${groupID}:${groupVersion}`, await pairFrom(secret));
    }
    return groupKeys;
  }

  async writeToGroup(groupID: string, text: string) {
    const { groupVersion } = await yes(this.groupKeys.getGroupVersion({ groupInput: { groupID } }));
    const groupVersionKey = `${groupID}:${groupVersion}`;
    const pair = this.pairs.get(groupVersionKey)!;
    return this.write(groupID, groupID, { ...(await encrypt(pair, await publicJwk(pair), text)), groupVersionKey });
  }

  async readFromGroup(groupID: string) {
    const texts = (await this.read(groupID)).filter(({ messageType }) => messageType === 'text');
    return Promise.all(texts.map(async ({ groupVersionKey, text, iv }) => {
      const pair = this.pairs.get(groupVersionKey!)!;
      return decrypt(pair, await publicJwk(pair), text!, iv!);
    }));
  }
}

// --- Live changes -------------------------------------------------------------------------------------------------

/**
 * Somebody's live changes, for as long as one asks. `streamEvents` would wait for the end of the stream; `streamEventsRaw`
 * answers with its body. Whether the connection breaks or the server ends the stream in good order, as it does to restart:
 * one comes back after the pause that the server asked for, with the last id.
 */
class Changes {
  /** All that came. */
  seen: be8.Change[] = [];
  /** Resolved once the first stream is open, so that the story does not go on before. */
  opened = Promise.withResolvers<void>();
  /** How often the server ended a stream in good order. */
  ends = 0;
  #hangUp = new AbortController();
  #last: string | undefined;
  #pause = 2500;
  #changes = this.#read();

  constructor(private events: be8.EventsApi) {}

  async *#read(): AsyncGenerator<be8.Change> {
    for (;; await sleep(this.#pause)) {
      try {
        const { raw } = await this.events.streamEventsRaw({ lastEventID: this.#last }, { signal: this.#hangUp.signal });
        this.opened.resolve();
        yield* this.#parse(raw.body!.pipeThrough(new TextDecoderStream()));
        this.ends += 1;
      } catch (error) {
        if (error instanceof be8.ResponseError && error.response.status < 500) throw error;
        if (this.#hangUp.signal.aborted) return;
      }
    }
  }

  async *#parse(pieces: ReadableStream<string>) {
    let rest = '';
    let data: string | undefined;
    let id: string | undefined;
    for await (const piece of pieces) {
      const lines = (rest + piece).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const [, field, value] = /^(\w+): (.*)$/.exec(line) ?? [];
        if (field === 'data') data = value;
        if (field === 'id') id = value;
        if (field === 'retry') this.#pause = Number(value);
        if (line === '' && data !== undefined) {
          // The id counts from here on only: what was cut off in between comes again.
          this.#last = id;
          yield be8.ChangeFromJSON(JSON.parse(data));
          data = undefined;
        }
      }
    }
  }

  /** The next change of a kind. */
  async next<A extends be8.Change['action']>(action: A) {
    for (;;) {
      const { value } = await this.#changes.next();
      this.seen.push(value);
      if (value.action === action) return value as Extract<be8.Change, { action: A }>;
    }
  }

  close() {
    this.#hangUp.abort();
  }
}

// --- The story ----------------------------------------------------------------------------------------------------

async function story() {
  await checkUnions();

  const anna = await Person.signUp('Anna');
  const ben = await Person.signUp('Ben');
  console.log(`Anna is ${anna.id}, Ben is ${ben.id}.`);

  const changes = new Changes(ben.events);
  const arrival = changes.next('newMessage');
  await changes.opened.promise;

  const { threadID } = await anna.conversations.startConversation({ conversationInput: { receiverID: ben.id } });
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
  const nobody = anna.conversations.startConversation({ conversationInput: { receiverID: '9' } });
  await assert.rejects(yes(nobody), /ACCNOTEXISTS/);
  await assert.rejects(yes(ben.groups.joinGroup({ groupInput: { groupID: 'g9' } })), /GROUPNOTEXISTING/);

  const groupCreateInput = { nickname: 'Friends', groupType: be8.GroupType.Private };
  const { groupID } = await anna.groups.createGroup({ groupCreateInput });
  await yes(anna.groups.joinGroup({ groupInput: { groupID } }));
  await yes(anna.groups.addGroupMember({ groupAddInput: { groupID, memberID: ben.id } }));
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
  const { entries } = await ben.audit.getGroupHistory({ groupID });
  assert.deepEqual(
    entries.map(({ act }) => act).filter((act) => act !== 'message'),
    ['created', 'joined', 'added', ...Array(2).fill(['versionAllocated', 'keyStored', 'keyStored']).flat()],
  );
  const fingerprints = entries.filter(({ act, account }) => act === 'keyStored' && account === ben.id);
  assert.deepEqual(
    fingerprints.map(({ fingerprint }) => fingerprint), stored.map(({ groupKey }) => sha256(groupKey).toString('hex')),
  );

  const { position } = fingerprints.at(-1)!;
  for (;;) {
    try {
      const { canonical, proof } = await yes(ben.audit.getGroupProof({ groupID, position }));
      checkProof(Buffer.from(canonical, 'base64'), proof);
      break;
    } catch (error) {
      // The next checkpoint will cover it.
      assert.match(String(error), /NOTCOVEREDYET/);
      await sleep(500);
    }
  }
  // What anybody may read: whose log it is, and the first of its hashes.
  const [logKey, checkpoint] = await Promise.all([ben.audit.getLogKey(), ben.audit.getLogCheckpoint()]);
  assert.equal(checkpoint.split('\n')[0], logKey.split('+')[0]);
  assert.equal((await ben.audit.getLogTilePart({ level: 0, number: '000', width: 1 })).size, 32);
  console.log('The history says who had which key, and the event that gave Ben his is proved to be in the log.');
}

void story();
