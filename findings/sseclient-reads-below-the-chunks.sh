#!/usr/bin/env bash
# Expected: a body in HTTP/1.1 chunks reads the same however it is cut into chunks (RFC 9112, 7.1).
# What happens: so as not to wait for a full buffer, sseclient reads from the file below http.client, which has the chunks' sizes
# and ends in it, too. It takes them for lines of the stream. That goes unnoticed as long as each chunk is a whole event. Where
# a chunk ends inside a line the rest of the line is lost, and the end of the body is one more event, without data.
# Packages: sseclient 0.0.27 (the newest) with requests 2.34.2 and urllib3 2.8.0, on Python 3.11.7. Seen on 2026-11-30.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv tools
tools/bin/pip install --quiet --disable-pip-version-check sseclient==0.0.27 requests==2.34.2 urllib3==2.8.0
cat > chunks.py <<'PY'
import http.server
import threading

import requests
from sseclient import SSEClient

FORMS = {"/one": [b"data: hello world\n\n"], "/two": [b"data: hello", b" world\n\n"]}


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in [*FORMS[self.path], b""]:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
threading.Thread(target=server.serve_forever, daemon=True).start()
for path, chunks in FORMS.items():
    url = f"http://127.0.0.1:{server.server_port}{path}"
    print(len(chunks), "chunks, requests:", ascii(requests.get(url).text))
    client = SSEClient(url)
    print(len(chunks), "chunks, sseclient:", [next(client).data for _ in range(2)])
PY
tools/bin/python chunks.py > seen
cat seen
diff - seen <<'SEEN'
1 chunks, requests: 'data: hello world\n\n'
1 chunks, sseclient: ['hello world', '']
2 chunks, requests: 'data: hello world\n\n'
2 chunks, sseclient: ['hello', '']
SEEN
