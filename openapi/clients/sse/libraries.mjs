// Each library of npm, as its documentation says, with what it needs to be set for this server; those that need no browser.
//
//   node libraries.mjs LIBRARY
//
// reads /events of BE8_URL with the cookie BE8_COOKIE, and prints each message as one line of JSON: data and id.

const url = `${process.env.BE8_URL}/events`;
const headers = { cookie: process.env.BE8_COOKIE };
const print = (data, id) => console.log(JSON.stringify({ data, id }));
const withCookie = (input, init) => fetch(input, { ...init, headers: { ...init?.headers, ...headers } });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The function of Microsoft's and its forks. Without the error of `onclose`, an end in good order is the end of all. */
async function fetchEventSource(library) {
  // It looks for these without asking.
  globalThis.window ??= globalThis;
  globalThis.document ??= { addEventListener() {}, removeEventListener() {} };
  const { fetchEventSource } = await import(library);
  await fetchEventSource(url, {
    headers,
    openWhenHidden: true,
    onmessage: ({ data, id }) => print(data, id),
    onclose() { throw new Error('come back'); },
  });
}

const libraries = {
  '@microsoft/fetch-event-source': fetchEventSource,
  '@microsoft/fetch-event-source without onclose': async () => {
    globalThis.window ??= globalThis;
    globalThis.document ??= { addEventListener() {}, removeEventListener() {} };
    const { fetchEventSource } = await import('@microsoft/fetch-event-source');
    await fetchEventSource(url, { headers, openWhenHidden: true, onmessage: ({ data, id }) => print(data, id) });
  },
  '@fortaine/fetch-event-source': fetchEventSource,
  '@ai-zen/node-fetch-event-source': fetchEventSource,
  '@ardatan/fetch-event-source': fetchEventSource,
  '@waylaidwanderer/fetch-event-source': fetchEventSource,
  // Reads once: coming back is one's own loop.
  '@sentool/fetch-event-source': async (library) => {
    const { fetchEventSource } = await import(library);
    for (let last; ; await sleep(2500)) {
      await fetchEventSource(url, {
        headers: { ...headers, ...(last && { 'Last-Event-ID': last }) },
        parseJson: false,
        onmessage: ({ data, id }) => { print(data, id); last = id ?? last; },
      });
    }
  },
  // Comes back after an end in good order, but closes at the first error: a new one is opened with the last id.
  '@rangermauve/fetch-event-source': async (library) => {
    const { default: createEventSource } = await import(library);
    const { EventSource } = createEventSource(withCookie);
    let last;
    const open = () => {
      const source = new EventSource(last ? `${url}?last_event_id=${last}` : url);
      source.onmessage = ({ data, lastEventId }) => { print(data, lastEventId); last = lastEventId; };
      source.onerror = () => setTimeout(open, 2500);
    };
    open();
  },
  'extended-eventsource': async (library) => {
    const { EventSource } = await import(library);
    new EventSource(url, { headers, disableLogger: true }).onmessage = ({ data, lastEventId }) => print(data, lastEventId);
  },
  // While it waits before it comes back, it does not keep the process running.
  eventsource: async (library) => {
    setInterval(() => {}, 60_000);
    const { EventSource } = await import(library);
    new EventSource(url, { fetch: withCookie }).onmessage = ({ data, lastEventId }) => print(data, lastEventId);
  },
  'eventsource as it is': async () => {
    const { EventSource } = await import('eventsource');
    new EventSource(url, { fetch: withCookie }).onmessage = ({ data, lastEventId }) => print(data, lastEventId);
  },
  'eventsource-client': async (library) => {
    const { createEventSource } = await import(library);
    createEventSource({ url, headers, onMessage: ({ data, id }) => print(data, id) });
  },
  'launchdarkly-eventsource': async (library) => {
    const { EventSource } = await import(library);
    const source = new EventSource(url, { headers });
    source.onmessage = ({ data, lastEventId }) => print(data, lastEventId);
    source.onerror = () => {};
  },
};

const [name] = process.argv.slice(2);
await libraries[name](name);
