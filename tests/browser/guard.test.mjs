// No other site acts for a visitor, in a browser: neither one of another name nor one of the same name and another port, over
// HTTP/1.1 and over HTTP/2. The own page does.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launch } from './browser.mjs';
import { Server } from './server.mjs';

const [UNLOCK, DESTROY] = ['unlock-code', 'destroy-code'];

let folder, files, browser;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'be8-guard-'));
  files = { cert: join(folder, 'certificate.pem'), key: join(folder, 'key.pem') };
  const wanted = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-subj', '/CN=localhost', '-days', '2'];
  const names = ['-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const out = ['-nodes', '-keyout', files.key, '-out', files.cert];
  execFileSync('openssl', ['req', '-x509', ...wanted, ...names, ...out], { stdio: 'ignore' });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Another server of pages on this machine, which speaks as the one that is attacked; answers its port. */
async function elsewhere(t, secure) {
  const answer = (_, response) => response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>win</title>');
  const tls = secure && { cert: await readFile(files.cert), key: await readFile(files.key) };
  const site = secure ? https.createServer(tls, answer) : http.createServer(answer);
  site.listen(0, '127.0.0.1');
  await once(site, 'listening');
  t.after(() => {
    site.close();
    site.closeAllConnections();
  });
  return site.address().port;
}

/** Asks from the page that is open, as a client of its origin does. */
const ask = (page, path, body) =>
  page.evaluate(
    async ([path, body]) => {
      const method = body === undefined ? 'GET' : 'POST';
      const headers = { 'Content-Type': 'application/json' };
      const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
      return answer.json();
    },
    [path, body],
  );

/** Posts a form from the page that is open, as a visitor would by a click; answers the status. */
async function postForm(page, target, fields) {
  const posted = page.waitForResponse((answer) => answer.url() === target && answer.request().method() === 'POST');
  await page.evaluate(
    ([target, fields]) => {
      const form = Object.assign(document.createElement('form'), { method: 'post', action: target });
      for (const [name, value] of Object.entries(fields)) {
        form.append(Object.assign(document.createElement('input'), { name, value }));
      }
      document.body.append(form);
      form.submit();
    },
    [target, fields],
  );
  const status = (await posted).status();
  await page.waitForURL(target);
  return status;
}

for (const [protocol, secure] of [['http/1.1', false], ['h2', true]]) {
  test(`no other site acts for a visitor over ${protocol}, the own page does`, async (t) => {
    const server = await Server.start(secure ? { 'tls-cert': files.cert, 'tls-key': files.key } : {});
    t.after(() => server.remove());
    const scheme = secure ? 'https' : 'http';
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    t.after(() => context.close());
    const own = await context.newPage();
    await own.goto(`${server.url}/docs`);
    assert.equal(await own.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol), protocol);
    const { accID: other } = await ask(own, '/newacc', { nickname: 'Eve', password: 'known to Eve' });
    const { accID: account } = await ask(own, '/newacc', { nickname: 'Anna', password: 'made up and forgotten' });
    const codes = { unlockCode: UNLOCK, destroyCode: DESTROY };
    assert.equal((await ask(own, '/codeset', codes)).valid, true);
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie.name, cookie.secure], secure ? ['__Host-be8', true] : ['be8', false]);

    const port = await elsewhere(t, secure);
    for (const [where, host] of [['another site', '127.0.0.1'], ['another port', 'localhost']]) {
      const origin = `${scheme}://${host}:${port}/`;
      const page = await context.newPage();
      for (const [path, fields] of [
        ['/newacc', { nickname: 'Eve', password: 'known to Eve' }],
        ['/login', { accID: other, password: 'known to Eve' }],
        ['/logout', {}],
        ['/codeset', codes],
        ['/codeunlock', { code: DESTROY }],
        ['/changenickname', { newNickname: 'Eve' }],
        ['/destroyacc', {}],
      ]) {
        await page.goto(origin);
        assert.equal(await postForm(page, server.url + path, fields), 403, `${path} from ${where}`);
      }
      await page.goto(origin);
      await page.evaluate(async ([url, code]) => {
        const post = (path, body, type) =>
          fetch(url + path, { method: 'POST', mode: 'no-cors', credentials: 'include', body, headers: { 'Content-Type': type } });
        await post('/codeunlock', new URLSearchParams({ code }), 'application/x-www-form-urlencoded').catch(() => {});
        await post('/destroyacc', '{}', 'text/plain').catch(() => {});
        const image = new Image();
        const ended = new Promise((resolve) => Object.assign(image, { onload: resolve, onerror: resolve }));
        image.src = `${url}/destroyacc`;
        await ended;
      }, [server.url, DESTROY]);
      // What a link leads to.
      await page.evaluate((target) => location.assign(target), `${server.url}/destroyacc`);
      await page.waitForURL(`${server.url}/destroyacc`);
      // A cookie for all hosts of this name that another port tosses.
      await page.goto(origin);
      await page.evaluate((token) => {
        document.cookie = `__Host-be8=${token}; Secure; Path=/; Domain=localhost`;
        document.cookie = `=__Host-be8=${token}`;
        document.cookie = `__Host-be8=${token}; Path=/newacc`;
      }, 'A'.repeat(43));
      await page.close();
      const me = await ask(own, '/me');
      assert.deepEqual([me.accID, me.accObj?.nickname], [String(account), 'Anna'], `after ${where}`);
    }
    assert.deepEqual((await context.cookies(server.url)).filter(({ name }) => name.endsWith('be8')).map(({ value }) => value), [cookie.value]);
    // Typing the address removes nothing either, and the own page may.
    assert.equal((await own.goto(`${server.url}/destroyacc`)).status(), 403);
    await own.goto(`${server.url}/docs`);
    assert.equal((await ask(own, '/destroyacc')).valid, true);
    assert.equal((await ask(own, '/me')).error, 'NOTAUTH');
  });
}
