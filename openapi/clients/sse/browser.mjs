// The same as libraries.mjs for what needs a browser: Chromium's own EventSource, and the libraries that stand in for it.

import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

const { BE8_URL, BE8_COOKIE, CHROMIUM = '/usr/bin/chromium' } = process.env;
const [library] = process.argv.slice(2);

/** What a page does, by library; `file` is what it loads, as a module. */
const pages = {
  EventSource: { source: 'new EventSource("/events")' },
  'event-source-polyfill': {
    file: 'event-source-polyfill/src/eventsource.js',
    source: 'new EventSourcePolyfill("/events")',
  },
  'reconnecting-eventsource': {
    file: 'reconnecting-eventsource/build/esm/reconnecting-eventsource.js',
    source: 'new library.default("/events")',
  },
  'sse.js': { file: 'sse.js/lib/sse.js', source: 'new library.SSE("/events", { autoReconnect: true })' },
};

const { file, source } = pages[library];
const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-background-networking', '--disable-component-update'],
});
const context = await browser.newContext();
const [name, value] = BE8_COOKIE.split('=');
await context.addCookies([{ name, value, url: BE8_URL, sameSite: 'Strict' }]);
const page = await context.newPage();
await page.route('**/*', async (route) => {
  const { pathname } = new URL(route.request().url());
  if (pathname === '/events') return route.fallback();
  if (pathname === '/page') return route.fulfill({ contentType: 'text/html', body: '<!doctype html>' });
  if (pathname === '/library') {
    const body = await readFile(fileURLToPath(new URL(`node_modules/${file}`, import.meta.url)), 'utf8');
    return route.fulfill({ contentType: 'text/javascript', body });
  }
  return route.abort();
});
await page.exposeFunction('print', (data, id) => console.log(JSON.stringify({ data, id })));
await page.goto(`${BE8_URL}/page`);
await page.evaluate(`(async () => {
  const library = ${file ? 'await import("/library")' : 'undefined'};
  const source = ${source};
  source.onmessage = ({ data, lastEventId }) => print(data, lastEventId);
})()`);
