// As much of a web client as its server notices: it makes an account, agrees on keys, talks, listens and shows images.

// The key that pushes are subscribed with. The server puts its own in its place.
const PUSH_KEY = 'BGcpbQEQRF2Ans4lXwnyqd9EnWT2MgNx9j-ns5EoXDtmQZonB1TqGpBuJlw32gqvbHGTZQgh79mYYjp6dX-8zOg';
const CURVE = { name: 'ECDH', namedCurve: 'P-384' };
// A password of 32 characters as the client encrypts it, and what it is encrypted under.
const PASSWORD = {
  password: 'U2FsdGVkX19fIs07t/DUfTAkWvalf6lI0Xg5kZ5cCii84zSeQfIlQ21WjFBYZVIzBqcelpRk+zqoa9wXxNr07g==',
  salt: '1657105032826',
};

/** A request as the client sends it: its type is JSON on GET too. */
async function ask(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { 'Content-Type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  return answer.json();
}
const get = (path) => ask('GET', path);
const post = (path, body) => ask('POST', path, body);

const bytes = (text) => new TextEncoder().encode(text);
function toBase64(buffer) {
  let text = '';
  for (const byte of new Uint8Array(buffer)) {
    text += String.fromCharCode(byte);
  }
  return btoa(text);
}
const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/** Keys live in the browser alone. */
function database() {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open('keys');
    opening.onupgradeneeded = () => opening.result.createObjectStore('own');
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}
async function stored(write) {
  const store = (await database()).transaction('own', 'readwrite').objectStore('own');
  const asking = write ? store.put(write, 'key') : store.get('key');
  return new Promise((resolve, reject) => {
    asking.onsuccess = () => resolve(asking.result);
    asking.onerror = () => reject(asking.error);
  });
}

/** What two accounts encrypt with: the same for both. */
async function shared(partner) {
  const { publicKeys } = await post('/getkeys', { accIDs: [partner] });
  const { accID, ext, ...jwk } = publicKeys[0].publicKey;
  const theirs = await crypto.subtle.importKey('jwk', { ...jwk, ext: ext === 'true', key_ops: [] }, CURVE, true, []);
  const own = await stored();
  const kind = { name: 'AES-GCM', length: 256 };
  return crypto.subtle.deriveKey({ name: 'ECDH', public: theirs }, own, kind, false, ['encrypt', 'decrypt']);
}
async function encrypt(partner, text) {
  const iv = crypto.randomUUID();
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv: bytes(iv) }, await shared(partner), bytes(text));
  return { iv, text: toBase64(sealed) };
}
async function decrypt(partner, iv, text) {
  const opened = await crypto.subtle.decrypt(
    { name: 'AES-GCM', iv: bytes(iv) },
    await shared(partner),
    fromBase64(text),
  );
  return new TextDecoder().decode(opened);
}

const client = {
  PUSH_KEY,
  account: null,
  /** What the streams sent, in the order in which it came. */
  received: [],
  /** What the policy forbade. */
  forbidden: [],
  get,
  post,

  /** Whether texts can be made into programs here; later, since what a debugger calls may do so. */
  evaluates() {
    return new Promise((resolve) => {
      setTimeout(() => {
        try {
          resolve(new Function('return true')());
        } catch {
          resolve(false);
        }
      });
    });
  },

  /** Who am I? An account is made if I am nobody. */
  async boot(nickname) {
    let me = await get('/me');
    const fresh = me.error === 'NOTAUTH';
    if (fresh) {
      await post('/newacc', { ...PASSWORD, nickname });
      me = await get('/me');
      const pair = await crypto.subtle.generateKey(CURVE, false, ['deriveKey']);
      await stored(pair.privateKey);
      const { crv, kty, x, y } = await crypto.subtle.exportKey('jwk', pair.publicKey);
      const publicKey = { accID: me.accObj.id, crv, ext: true, key_ops: [], kty, x, y };
      await post('/setkey', { publicKey });
    }
    client.account = me.accObj;
    return { fresh, account: me.accObj };
  },

  /**
   * Opens a stream, and waits until it is open. The browser reconnects by itself and says what it received last. It gives up when
   * the answer is no stream, as while a server starts: then this does the same, after a while.
   */
  listen() {
    let last = '';
    return new Promise((resolve) => {
      const open = () => {
        const stream = new EventSource(last ? `/events?last_event_id=${last}` : '/events');
        stream.onopen = resolve;
        stream.onmessage = ({ data, lastEventId }) => {
          last = lastEventId;
          client.received.push({ ...JSON.parse(data), id: lastEventId });
        };
        stream.onerror = () => {
          if (stream.readyState === EventSource.CLOSED) {
            setTimeout(open, 500);
          }
        };
        client.stream = stream;
      };
      open();
    });
  },

  /** Another way: a stream is given up at the first error, and after a while there is a new one that knows of nothing. */
  listenAnew() {
    return new Promise((resolve) => {
      const open = () => {
        const stream = new EventSource('/events');
        stream.onopen = resolve;
        stream.onmessage = ({ data, lastEventId }) => client.received.push({ ...JSON.parse(data), id: lastEventId });
        stream.onerror = () => {
          stream.close();
          setTimeout(open, 2500);
        };
      };
      open();
    });
  },

  async write(threadID, partner, text) {
    const { nickname, id, endless } = client.account;
    const message = { nickname, sender: id, endless, receiver: partner, threadID, type: 'user', messageType: 'text' };
    return post('/writemessage', { ...message, ...(await encrypt(partner, text)) });
  },

  /** The texts of a conversation, decrypted. */
  async read(threadID, partner) {
    const { messages } = await post('/getmessages', { threadID });
    const texts = messages.filter(({ messageType }) => messageType === 'text');
    return Promise.all(texts.map(({ iv, text }) => decrypt(partner, iv, text)));
  },

  /** Draws an image of some size and posts it. */
  async upload(threadID, partner, contentID, width, height) {
    const canvas = document.createElement('canvas');
    Object.assign(canvas, { width, height });
    const paper = canvas.getContext('2d');
    // Noise, which does not compress.
    const noise = paper.createImageData(width, height);
    for (let at = 0; at < noise.data.length; at += 65_536) {
      crypto.getRandomValues(noise.data.subarray(at, at + 65_536));
    }
    paper.putImageData(noise, 0, 0);
    const url = canvas.toDataURL('image/png');
    const { iv, text } = await encrypt(partner, url);
    const { nickname, id } = client.account;
    const answer = await post('/imageupload', {
      content: text, contentID, contentType: 'image', sender: id, receiver: partner, threadID, nickname,
      messageType: 'image', type: 'user', isGroup: false, imgHeight: height, imgWidth: width, iv,
    });
    return { answer, length: text.length };
  },

  /** Fetches an image, shows it both ways in which a client may, and returns its measures. */
  async show(threadID, partner, contentID, sender, messageID) {
    const image = await post('/imageget', { contentID, threadID, sender, messageID });
    if (!image.valid) {
      return image;
    }
    const data = await decrypt(partner, image.iv, image.content);
    const encoded = fromBase64(data.slice(data.indexOf(',') + 1));
    const blob = URL.createObjectURL(new Blob([encoded], { type: 'image/png' }));
    const sizes = [];
    for (const src of [data, blob]) {
      const shown = new Image();
      shown.src = src;
      await shown.decode();
      document.body.append(shown);
      sizes.push([shown.naturalWidth, shown.naturalHeight]);
    }
    return { contentID: image.contentID, sender: image.sender, receiver: image.receiver, sizes };
  },

  /** The worker, once it is in charge of this page. */
  async work() {
    await navigator.serviceWorker.register('/serviceworker.js');
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller) {
      await new Promise((resolve) => {
        navigator.serviceWorker.oncontrollerchange = resolve;
      });
    }
    return new URL((await navigator.serviceWorker.ready).scope).pathname;
  },
};

document.addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI }) => {
  client.forbidden.push(`${effectiveDirective} ${blockedURI}`);
});
window.client = client;
