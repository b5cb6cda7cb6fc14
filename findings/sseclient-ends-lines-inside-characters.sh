#!/usr/bin/env bash
# Expected: a stream of server-sent events is UTF-8 whatever its headers say, and its lines end at CR and LF only (HTML standard,
# 9.2.5 and 9.2.6), so JSON with letters in it arrives as it was sent.
# What happens: sseclient asks requests for the encoding, which is Latin-1 for every text/* without a charset, and ends lines where
# Python's str.splitlines does, at U+0085 too. The second byte of "Å" in UTF-8 is 85: the data ends in the middle of the
# letter. With a charset it still ends at U+2028, which JSON has in its strings. aiosseclient decodes rightly and ends there, too.
# Packages: sseclient 0.0.27 (the newest) with requests 2.34.2, aiosseclient 0.1.8 (the newest) with aiohttp 3.14.5. Seen on
# 2026-11-30.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check \
  sseclient==0.0.27 requests==2.34.2 aiosseclient==0.1.8 aiohttp==3.14.5
cat > forms.py <<'PY'
import asyncio
import http.server
import threading

from aiosseclient import aiosseclient
from sseclient import SSEClient

NAMES = ["Anna", "Zoë", "Åsa", "line\u2028separator"]


class Stream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" + (self.path == "/charset") * "; charset=utf-8")
        self.end_headers()
        self.wfile.write("".join('data: {"name":"%s"}\n\n' % name for name in NAMES).encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"


async def read():
    return [event.data async for event in aiosseclient(base + "/")]


def first(url):
    client = SSEClient(url)
    return [next(client).data for _ in NAMES]


for library, data in [
    ("sseclient", first(base + "/")),
    ("sseclient with a charset", first(base + "/charset")),
    ("aiosseclient", asyncio.run(read())),
]:
    for name, text in zip(NAMES, data):
        print(f"{library}: {ascii(name)} as {ascii(text)}")
PY
tools/bin/python forms.py > seen
cat seen
diff - seen <<'SEEN'
sseclient: 'Anna' as '{"name":"Anna"}'
sseclient: 'Zo\xeb' as '{"name":"Zo\xc3\xab"}'
sseclient: '\xc5sa' as '{"name":"\xc3'
sseclient: 'line\u2028separator' as '{"name":"line\xe2\x80\xa8separator"}'
sseclient with a charset: 'Anna' as '{"name":"Anna"}'
sseclient with a charset: 'Zo\xeb' as '{"name":"Zo\xeb"}'
sseclient with a charset: '\xc5sa' as '{"name":"\xc5sa"}'
sseclient with a charset: 'line\u2028separator' as '{"name":"line'
aiosseclient: 'Anna' as '{"name":"Anna"}'
aiosseclient: 'Zo\xeb' as '{"name":"Zo\xeb"}'
aiosseclient: '\xc5sa' as '{"name":"\xc5sa"}'
aiosseclient: 'line\u2028separator' as '{"name":"line'
SEEN
