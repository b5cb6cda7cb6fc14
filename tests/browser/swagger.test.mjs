// Swagger UI as people use it. Every operation's example, executed as it stands, is answered as the document says.
//
// Which needs which first: everything but /newacc, /login, /insights, the public log, the witness, /healthz, /readyz and
// /metrics needs an account, and the operator's operations need the token. The examples name the accounts 10001 and 10002
// and the group g10001, so two accounts come first, the second one acts, and both the conversation and the group are made
// before what names them. The operator removes 10003.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';
import { Server } from './server.mjs';
import { Reader, operations } from './swagger.mjs';

const OPERATOR = 'an operator token of more than thirty-two bytes';
const ENDLESS = "[[token]]\ntoken = '12345678901234567890123456789012'\ntype = 'endless'\n";
// The log that is witnessed, and what it brings, which is the example.
const LOG = readFileSync(new URL('../../openapi/example-log/key.txt', import.meta.url), 'utf8').trim();
// Where pictures for the README go, if somebody asks for them.
const PICTURES = process.env.BE8_PICTURES;

/** In the order in which they work on a fresh server. The first account's are marked. */
const WALK = [
  'getMe', 'listSessions', 'nameSession', 'subscribe', 'listDevices', 'unsubscribe', 'setKey', 'getKey', 'getKeys',
  'startConversation', 'writeMessage', 'listThreads', 'listMessages', 'uploadImage', 'getImage',
  'createGroup', 'joinGroup', 'addGroupMember', 'listGroupMembers', 'increaseGroupVersion', 'getGroupVersion',
  'storeGroupKey', 'listGroupKeys', 'signalGroupUpdate', 'first:leaveGroup', 'addGroupMember', 'kickGroupMember',
  'getGroupHistory', 'getGroupFindings', 'getGroupProof', 'getGroupBundle',
  'getLogCheckpoint', 'getLogKey', 'getLogTilePart', 'getLogTile', 'getWitnessKey', 'addCheckpoint', 'destroyGroup',
  'useToken', 'countInviteLink', 'getInsights', 'getInsightsUntil', 'changeNickname', 'setStatus',
  'setCodes', 'hasCodes', 'enterCode', 'updateCode', 'first:openSession', 'changePassword', 'endOtherSessions',
  'getHealth', 'getReadiness', 'getMetrics',
];
/** What the operator does, the removal of the third account last. */
const OPERATORS = [
  'getRegistration', 'setRegistration', 'listSessionsAsOperator', 'endSessionsAsOperator', 'removeAccountAsOperator',
];
/** What there is in a log of more than 256,000 events. */
const LATER = ['getLogTileFrom1000', 'getLogTilePartFrom1000'];
/** What ends a session or an account, each with a fresh one. */
const ENDS = ['endSession', 'endSessionByName', 'removeAccountByGet', 'removeAccount'];

let server, browser, first, second, third, fourth;

before(async () => {
  server = await Server.start(
    {
      'checkpoint-interval': '1',
      'witness-logs': LOG,
      'witness-key': join(mkdtempSync(join(tmpdir(), 'be8-witness-')), 'key'),
    },
    { 'operator-token-file': OPERATOR, 'tokens-file': ENDLESS },
  );
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

test('somebody new makes an account, and the cookie works', async () => {
  first = await Reader.open(browser, server);
  if (PICTURES) {
    await first.page.screenshot({ path: join(PICTURES, 'swagger-ui.png') });
  }
  // What everything else needs stands first.
  const shown = await first.page.locator('.opblock').evaluateAll((blocks) => blocks.map((block) => block.id));
  const firstOf = (tag) => shown.find((id) => id.startsWith(`operations-${tag}-`));
  assert.equal(firstOf('Accounts'), 'operations-Accounts-createAccount');
  assert.equal(firstOf('Groups'), 'operations-Groups-createGroup');
  await first.tidy();
  const refused = await first.send('getMe');
  assert.equal(refused.status(), 401);
  await first.shows('getMe', refused);
  assert.equal((await first.execute('createAccount')).accID, 10001);
  assert.equal((await first.execute('getMe')).accID, '10001');
  second = await Reader.open(browser, server);
  assert.equal((await second.execute('createAccount')).accID, 10002);
  third = await Reader.open(browser, server);
  assert.equal((await third.execute('createAccount')).accID, 10003);
  fourth = await Reader.open(browser, server);
  await Promise.all([second, third, fourth].map((reader) => reader.tidy()));
});

test('every example is accepted when what it names is there', async (t) => {
  const walked = new Set(['createAccount', 'streamEvents', ...LATER, ...OPERATORS, ...ENDS]);
  for (const step of WALK) {
    const [id, reader] = step.startsWith('first:') ? [step.slice('first:'.length), first] : [step, second];
    walked.add(id);
    await t.test(id, async () => {
      if (id === 'getGroupProof') {
        // What is new is covered by the next checkpoint, and a reader comes back until then.
        let answer;
        do {
          answer = await reader.send(id);
          assert.ok([200, 503].includes(answer.status()), `${id}: ${answer.status()}`);
          await reader.shows(id, answer);
        } while (!answer.ok());
      }
      if (id === 'getLogTile') {
        // A full one.
        await second.page.evaluate(async () => {
          for (let n = 0; n < 256; n++) {
            const headers = { 'Content-Type': 'application/json' };
            await fetch('/userstatusset', { method: 'POST', headers, body: JSON.stringify({ userStatus: `${n}` }) });
          }
          while (!(await fetch('/audit/log/tile/0/000')).ok) {
            await new Promise((resolve) => setTimeout(resolve, 200));
          }
        });
      }
      await reader.execute(id, PICTURES && id === 'getGroupHistory' && join(PICTURES, 'swagger-history.png'));
    });
  }
  const document = await (await fetch(`${server.address}/openapi.json`)).json();
  assert.deepEqual([...walked].sort(), [...operations(document).keys()].sort(), 'the walk leaves out no operation');
});

test('what is not there yet is refused, as the document says', async () => {
  for (const id of LATER) {
    const answer = await second.send(id);
    assert.equal(answer.status(), 404);
    await second.shows(id, answer);
  }
  await second.turn(LATER[0]);
});

test('what ends a session or an account is accepted, and ends it', async (t) => {
  for (const id of ENDS) {
    await t.test(id, async () => {
      await fourth.execute('createAccount');
      await fourth.execute(id);
      assert.equal((await fourth.send('getMe')).status(), 401);
    });
  }
});

test('the stream is open until its account ends, and the page then shows what came', async () => {
  await fourth.execute('createAccount');
  const stream = await fourth.send('streamEvents');
  assert.equal(stream.headers()['content-type'], 'text/event-stream');
  const tab = await Reader.open(browser, server, fourth.context);
  await tab.execute('startConversation');
  await tab.execute('removeAccount');
  assert.match(await fourth.shows('streamEvents', stream), /"action":"newConversation","partner":"10001"/);
});

test('the operator enters the token behind "Authorize"', async (t) => {
  assert.equal((await second.send('getRegistration')).status(), 401);
  await second.authorize('operator', OPERATOR);
  for (const id of OPERATORS) {
    await t.test(id, () => second.execute(id));
  }
  assert.equal((await second.send('getMe')).status(), 200);
  assert.equal((await third.send('getMe')).status(), 401, 'the account is removed');
});

test('no script failed, and none was forbidden', () => {
  assert.deepEqual([first, second, third, fourth].flatMap((reader) => reader.wrong), []);
});
