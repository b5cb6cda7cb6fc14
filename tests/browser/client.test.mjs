// A web client that the server itself serves, in a browser: what such a client needs of both.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';
import { Server } from './server.mjs';
import { SOUND, build } from './site.mjs';

const DAY = 86_400;

let folder, vapid, server, browser, anna, ben, thread;

/** Somebody in front of the client, with a jar of cookies and a database of one's own. */
async function open(url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.wrong = [];
  page.on('pageerror', (error) => page.wrong.push(String(error)));
  await page.goto(url);
  await page.waitForFunction(() => window.client);
  return page;
}

/** Waits until the page has received this many changes of a kind, and returns them. */
async function received(page, action, count) {
  const enough = ([kind, least]) => window.client.received.filter(({ action }) => action === kind).length >= least;
  await page.waitForFunction(enough, [action, count]);
  return page.evaluate((kind) => window.client.received.filter(({ action }) => action === kind), action);
}

/** The key pair that the server pushes with, and how its public half is written. */
function pushKey() {
  const { d, x, y } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  return { secret: d, public: point.toString('base64url') };
}

/** Another site, with a page of this content, until the test ends. */
async function elsewhere(test, html) {
  const site = createServer((_, answer) => answer.setHeader('Content-Type', 'text/html').end(html));
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  test.after(() => {
    site.close();
    site.closeAllConnections();
  });
  return `http://127.0.0.1:${site.address().port}/`;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'be8-client-'));
  await build(folder);
  vapid = pushKey();
  server = await Server.start(
    { 'client-dir': folder, 'vapid-subject': 'mailto:somebody@example.org' },
    { 'vapid-key-file': vapid.secret },
  );
  browser = await launch();
  anna = await open(server.url);
  ben = await open(server.url);
});

after(async () => {
  await browser?.close();
  await server?.remove();
  await rm(folder, { recursive: true, force: true });
});

test('a visit makes an account, and a second one knows it', async () => {
  assert.equal(await anna.evaluate(() => isSecureContext), true);
  for (const [page, nickname] of [[anna, 'Anna'], [ben, 'Ben']]) {
    const first = await page.evaluate((nickname) => client.boot(nickname), nickname);
    assert.equal(first.fresh, true);
    await page.reload();
    await page.waitForFunction(() => window.client);
    const second = await page.evaluate((nickname) => client.boot(nickname), nickname);
    assert.deepEqual([second.fresh, second.account.id], [false, first.account.id]);
    await page.evaluate(() => client.listen());
  }
});

test('the cookie is out of the reach of programs and of other sites', async () => {
  const cookies = await anna.context().cookies();
  assert.equal(cookies.length, 1);
  const [{ name, path, httpOnly, secure, sameSite, expires }] = cookies;
  assert.deepEqual(
    { name, path, httpOnly, secure, sameSite },
    { name: 'be8', path: '/', httpOnly: true, secure: false, sameSite: 'Strict' },
  );
  assert.ok(expires > Date.now() / 1000 + 365 * DAY, 'it stays as long as browsers keep any');
  assert.equal(await anna.evaluate(() => document.cookie), '');
});

test('what one encrypts, the other reads', async () => {
  const partner = (await ben.evaluate(() => client.account)).id;
  const own = (await anna.evaluate(() => client.account)).id;
  thread = await anna.evaluate(
    async (partner) => (await client.post('/startConversation', { ...client.account, receiverID: partner })).threadID,
    partner,
  );
  assert.equal(thread, `${own}:${partner}`);
  await received(anna, 'newConversation', 1);
  const write = ([thread, to, text]) => client.write(thread, to, text);
  assert.equal((await anna.evaluate(write, [thread, partner, 'Grüße ✉'])).valid, true);
  for (const page of [anna, ben]) {
    const [change] = await received(page, 'newMessage', 1);
    assert.deepEqual([change.threadID, change.sender], [thread, own]);
  }
  const read = ([thread, partner]) => client.read(thread, partner);
  assert.deepEqual(await ben.evaluate(read, [thread, own]), ['Grüße ✉']);
  assert.equal((await received(anna, 'messageRead', 1))[0].threadID, thread);
  assert.deepEqual(await anna.evaluate(read, [thread, partner]), ['Grüße ✉']);
});

test('an image of two megabytes arrives, and is shown as data and as a blob', async () => {
  const [own, partner] = thread.split(':');
  const before = (await received(ben, 'newMessage', 1)).length;
  // The second one is about as large as the client takes.
  for (const [at, size] of [64, 720].entries()) {
    const contentID = `${'0123456789abcdefghijABCDEFGHIJ!'}${at}`;
    const { answer, length } = await anna.evaluate(
      ([thread, partner, contentID, size]) => client.upload(thread, partner, contentID, size, size),
      [thread, partner, contentID, size],
    );
    assert.equal(answer.valid, true);
    assert.ok(size === 64 || (length > 3_000_000 && length < 3_900_000), `${length} characters`);
    await received(ben, 'newMessage', before + at + 1);
    const shown = await ben.evaluate(
      async ([thread, own, contentID]) => {
        const { messages } = await client.post('/getmessages', { threadID: thread });
        const { messageID, sender } = messages.find((message) => message.contentID === contentID);
        return client.show(thread, own, contentID, sender, messageID);
      },
      [thread, own, contentID],
    );
    const sizes = [[size, size], [size, size]];
    assert.deepEqual(shown, { contentID, sender: own, receiver: partner, sizes });
  }
  const missing = ([thread, own]) => client.show(thread, own, 'never-posted', own, '1');
  assert.deepEqual(await ben.evaluate(missing, [thread, own]), { valid: false, contentID: 'never-posted' });
});

test('a browser whose server is restarted receives all that it missed, once', async () => {
  const [own, partner] = thread.split(':');
  const write = (text) => anna.evaluate(([thread, to, text]) => client.write(thread, to, text), [thread, partner, text]);
  await ben.evaluate(() => client.received.splice(0));
  await write('before');
  await received(ben, 'newMessage', 1);
  await server.end();
  await server.launch();
  // Nobody listens yet, or hardly anybody.
  await write('meanwhile');
  await write('and again');
  const changes = await received(ben, 'newMessage', 3);
  await write('after');
  const all = await received(ben, 'newMessage', changes.length + 1);
  const ids = all.map(({ id }) => id);
  assert.equal(new Set(ids).size, 4, `each change once: ${ids}`);
  assert.equal(ids.length, 4, `each change once: ${ids}`);
  const read = ([thread, own]) => client.read(thread, own);
  assert.deepEqual((await ben.evaluate(read, [thread, own])).slice(-4), ['before', 'meanwhile', 'and again', 'after']);
});

test('a client that opens a new stream after an error receives what it missed', async () => {
  const [, partner] = thread.split(':');
  await ben.evaluate(async () => {
    client.stream.close();
    client.received.splice(0);
    await client.listenAnew();
  });
  const write = (text) => anna.evaluate(([thread, to, text]) => client.write(thread, to, text), [thread, partner, text]);
  await write('before the restart');
  const known = (await received(ben, 'newMessage', 1)).map(({ id }) => id);
  await server.end();
  await server.launch();
  await write('while it was away');
  // At least once: what was received before may be received again.
  const news = (known) => client.received.find(({ action, id }) => action === 'newMessage' && !known.includes(id));
  const change = await (await ben.waitForFunction(news, known)).jsonValue();
  assert.equal(change.threadID, thread);
});

test('the policy lets the client do what it does, and nothing else', async (t) => {
  const color = await anna.evaluate(() => getComputedStyle(document.querySelector('h1')).color);
  assert.equal(color, 'rgb(1, 2, 3)', 'styles in attributes');
  assert.equal(await anna.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(10, 20, 30)');
  for (const page of [anna, ben]) {
    assert.deepEqual(await page.evaluate(() => client.forbidden), []);
  }
  const foreign = await elsewhere(t, `<iframe src="${server.url}"></iframe>`);
  const forbidden = await anna.evaluate(async (foreign) => {
    const script = document.createElement('script');
    script.textContent = 'window.injected = true';
    const image = Object.assign(new Image(), { src: `${foreign}image` });
    document.body.append(script, image);
    const refused = await fetch(foreign, { mode: 'no-cors' }).then(() => false, () => true);
    return { injected: window.injected, refused, evaluated: await client.evaluates() };
  }, foreign);
  assert.deepEqual(forbidden, { injected: undefined, refused: true, evaluated: false });
  await anna.waitForFunction(() => client.forbidden.length >= 4);
  const blocked = (await anna.evaluate(() => client.forbidden)).sort();
  const what = ['connect-src', 'img-src', 'script-src', 'script-src-elem'];
  assert.deepEqual(blocked.map((line) => line.split(' ')[0]), what, blocked.join('\n'));

  // Nobody shows it in a frame.
  const page = await anna.context().newPage();
  const refusal = page.waitForEvent('console', (message) => /frame-ancestors|refused to connect/i.test(message.text()));
  await page.goto(foreign);
  await refusal;
  await page.close();
});

test('a sound is fetched in parts', async () => {
  const asked = [];
  const page = await anna.context().newPage();
  page.on('response', (answer) => answer.url().endsWith('.wav') && asked.push(answer));
  await page.goto(server.url);
  const at = await page.evaluate(async (to) => {
    const audio = document.querySelector('audio');
    const happens = (name) => new Promise((resolve) => audio.addEventListener(name, resolve, { once: true }));
    if (audio.readyState === 0) {
      await happens('loadedmetadata');
    }
    const sought = happens('seeked');
    audio.currentTime = to;
    await sought;
    return [audio.duration, audio.currentTime];
  }, SOUND.seconds - 1);
  assert.deepEqual(at, [SOUND.seconds, SOUND.seconds - 1]);
  assert.ok(asked.length > 0 && asked.every((answer) => answer.status() === 206), 'parts, not the whole');
  const part = await page.evaluate(async () => {
    const answer = await fetch('/assets/sounds/received.wav', { headers: { Range: 'bytes=8-11' } });
    return [answer.status, await answer.text(), answer.headers.get('content-range')];
  });
  assert.deepEqual(part, [206, 'WAVE', `bytes 8-11/${SOUND.seconds * SOUND.rate * 2 + 44}`]);
  await page.close();
});

test('the bundle subscribes with the key of this server', async () => {
  assert.equal(await anna.evaluate(() => client.PUSH_KEY), vapid.public);
  const subscription = { endpoint: 'https://fcm.googleapis.com/fcm/send/one', expirationTime: null };
  const keys = { p256dh: vapid.public, auth: 'AAAAAAAAAAAAAAAAAAAAAA' };
  const subscribed = await anna.evaluate((body) => client.post('/subscribe', body), { ...subscription, keys });
  assert.deepEqual(subscribed, { valid: true, subscribe: true });
});

test('the service worker has the pages when the server is away, and leaves the routes alone', async () => {
  assert.equal(await anna.evaluate(() => client.work()), '/');
  // Once under its care, so that it has the program too.
  await anna.reload();
  await anna.waitForFunction(() => window.client);
  await server.end();
  await anna.goto(server.url);
  await anna.waitForFunction(() => window.client);
  assert.equal(await anna.title(), 'a client of the tests');
  assert.equal(await anna.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(10, 20, 30)');
  const refused = () => client.get('/me').then(() => false, () => true);
  assert.equal(await anna.evaluate(refused), true, 'no answer is made up');
  await server.launch();
  const again = await anna.evaluate(() => client.boot('Anna'));
  assert.deepEqual([again.fresh, again.account.nickname], [false, 'Anna']);
  await anna.evaluate(() => client.listen());
  const worker = await fetch(`${server.address}/serviceworker.js`);
  assert.equal(worker.headers.get('cache-control'), 'no-cache', 'a new worker is noticed');
});

test('an account is kept when its owner follows an invite link', async (t) => {
  const link = `${server.url}/?user=U2FsdGVkX1%2B%2Fblob%3D`;
  const foreign = await elsewhere(t, `<a href="${link}">come</a>`);
  const page = await ben.context().newPage();
  await page.goto(foreign);
  const arrives = page.waitForRequest(link);
  await page.click('a');
  const arrival = await arrives;
  assert.equal((await arrival.allHeaders()).cookie, undefined, 'the browser arrives without its cookie');
  assert.equal((await (await arrival.response()).allHeaders())['set-cookie'], undefined);
  await page.waitForFunction(() => window.client);
  const { fresh, account } = await page.evaluate(() => client.boot('Ben'));
  assert.deepEqual([fresh, account.nickname], [false, 'Ben']);
  await page.close();
});

test('no other site and no address bar removes an account, but its client does', async (t) => {
  const target = `${server.url}/destroyacc`;
  const foreign = await elsewhere(t, `<form method="post" action="${target}"><button>win</button></form><img src="${target}">`);
  const page = await ben.context().newPage();
  // The browser keeps an answer that is no image from the page.
  const image = page.waitForEvent('requestfailed', (request) => request.url() === target);
  await page.goto(foreign);
  await image;
  const posted = page.waitForResponse((answer) => answer.url() === target && answer.request().method() === 'POST');
  await page.click('button');
  assert.notEqual((await posted).status(), 200);
  assert.equal((await page.goto(target)).status(), 403);
  await page.close();
  assert.equal((await ben.evaluate(() => client.get('/me'))).valid, true);

  assert.equal((await ben.evaluate(() => client.get('/destroyacc'))).valid, true);
  await ben.reload();
  await ben.waitForFunction(() => window.client);
  assert.equal((await ben.evaluate(() => client.boot('Ben again'))).fresh, true);
  await received(anna, 'expiredAcc', 1);
});

test('over https the cookie is secure, and one connection carries all streams', async () => {
  const [certificate, key] = [join(folder, 'certificate.pem'), join(folder, 'key.pem')];
  const wanted = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-subj', '/CN=localhost', '-days', '2'];
  const out = ['-nodes', '-keyout', key, '-out', certificate];
  execFileSync('openssl', ['req', '-x509', ...wanted, '-addext', 'subjectAltName=DNS:localhost', ...out], { stdio: 'ignore' });
  const secure = await Server.start({ 'client-dir': folder, 'tls-cert': certificate, 'tls-key': key });
  try {
    const page = await open(secure.url, { ignoreHTTPSErrors: true });
    await page.evaluate(() => client.boot('Carla'));
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie.name, cookie.secure, cookie.httpOnly, cookie.sameSite], ['__Host-be8', true, true, 'Strict']);
    assert.equal(await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), 'h2');
    // More than the six connections that a browser opens to a host without HTTP/2.
    const streams = await page.evaluate(async () => {
      for (let count = 0; count < 12; count++) {
        await client.listen();
      }
      return (await client.get('/me')).valid;
    });
    assert.equal(streams, true);
  } finally {
    await secure.remove();
  }
});

test('no script failed', () => {
  assert.deepEqual([...anna.wrong, ...ben.wrong], []);
});
