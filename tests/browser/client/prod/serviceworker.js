// Keeps the pages, the styles and what they show, and leaves the routes and the stream to the network.
const CACHE = 'client-1';

self.addEventListener('install', (event) => {
  const precache = async () => {
    await (await caches.open(CACHE)).addAll(['/', '/bundle.css?v=1']);
    await self.skipWaiting();
  };
  event.waitUntil(precache());
});

self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  // What a program asks for has no destination: fetch() and EventSource.
  if (request.method !== 'GET' || request.destination === '') {
    return;
  }
  const answer = async () => {
    const cache = await caches.open(CACHE);
    const known = await cache.match(request);
    if (known) {
      return known;
    }
    const fresh = await fetch(request);
    if (fresh.status !== 206) {
      await cache.put(request, fresh.clone());
    }
    return fresh;
  };
  event.respondWith(answer());
});
