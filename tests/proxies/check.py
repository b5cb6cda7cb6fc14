"""What be8 needs of a proxy, tried through one: arguments are its port, the port of be8 behind it, its certificate, its process."""

import base64
import http.client
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

PORT, SERVER, CERTIFICATE, PROCESS = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
NAME = "chat.example.org"
ORIGIN = f"https://{NAME}:{PORT}"
PATIENCE = 60


def connect():
    context = ssl.create_default_context(cafile=CERTIFICATE)
    connection = http.client.HTTPSConnection(NAME, PORT, timeout=PATIENCE, context=context)
    connection.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", PORT), PATIENCE), server_hostname=NAME)
    return connection


def ask(method, path, body=None, cookie=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        headers["content-type"] = "application/json"
    if cookie:
        headers["cookie"] = cookie
    connection = connect()
    connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer, data


def ok(answer):
    response, data = answer
    assert response.status == 200, (response.status, data[:300])
    found = json.loads(data)
    assert found["valid"], found
    return found


def until(what, holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def streams():
    metrics = urllib.request.urlopen(f"http://127.0.0.1:{SERVER}/metrics").read().decode()
    found = re.search(r"^be8_feed_streams (\d+)", metrics, re.M)
    return int(found[1]) if found else 0


def sign_up(nickname):
    response, data = ask("POST", "/newacc", {"nickname": nickname, "password": secrets.token_hex()})
    account = ok((response, data))
    line = response.getheader("set-cookie")
    assert "secure" in line.lower(), line
    return str(account["accID"]), line.split(";")[0]


def remaining(**headers):
    response, data = ask("GET", "/insights", **headers)
    assert response.status == 200, data
    return int(re.search(r"r=(\d+)", response.getheader("ratelimit"))[1])


def events(connection, cookie):
    connection.request("GET", "/events", headers={"cookie": cookie, "accept": "text/event-stream"})
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("content-type").startswith("text/event-stream")
    return answer


def next_change(stream):
    """The next change."""
    while True:
        line = stream.readline()
        assert line, "the stream ended"
        if line.startswith(b"data:"):
            return json.loads(line[5:])


def heartbeats(stream, number):
    """Waits until so many have come."""
    while number > 0:
        line = stream.readline()
        assert line, "the stream ended"
        if line.startswith(b":"):
            number -= 1


def up():
    os.kill(PROCESS, 0)
    try:
        return ask("GET", "/readyz")[0].status == 200
    except OSError:
        return False


until("the proxy answers", up)
before = streams()
anna, anna_cookie = sign_up("Anna")
ben, ben_cookie = sign_up("Ben")
print("The session cookie is Secure.")

# Invented addresses do not make new clients: all of these count for the same one.
spoofed = [remaining(X_Forwarded_For=f"192.0.2.{nth}", Forwarded=f"for=192.0.2.{nth}") for nth in range(20)]
assert remaining() <= max(spoofed) and spoofed[-1] < spoofed[0], spoofed
print("Addresses that clients invent are ignored.")

for path in ["/metrics", "/METRICS", "/metrics/", "/operator/accounts/10001/sessions"]:
    assert ask("GET", path)[0].status in (403, 404), path
print("Measurements and the operator's routes are not published.")

thread = ok(ask("POST", "/startconversation", {"receiverID": ben}, anna_cookie))["threadID"]
message = {"threadID": thread, "sender": anna, "receiver": ben, "messageType": "text", "text": "aGVsbG8=", "iv": "x"}
line = connect()
stream = events(line, ben_cookie)
# What was missed comes first, and no heartbeat before it.
heartbeats(stream, 1)
ok(ask("POST", "/writemessage", message, anna_cookie))
assert next_change(stream)["action"] == "newMessage"
print("A message is on the stream at once.")

# Longer than the proxy's idle times, which are 6 s here: a heartbeat comes every 2 s.
heartbeats(stream, 5)
ok(ask("POST", "/writemessage", message, anna_cookie))
assert next_change(stream)["action"] == "newMessage"
print("A silent stream lives on by its heartbeats.")

assert streams() == before + 1, streams()
line.sock.close()
stream.close()
line.close()
until("a client that is gone ends its stream at the server", lambda: streams() == before)
print("The stream of a client that is gone ends at the server.")

content = base64.b64encode(secrets.token_bytes(2_900_000)).decode()
image = {**message, "messageType": "image", "content": content, "contentID": secrets.token_hex(16), "contentType": "image/png"}
del image["text"]
ok(ask("POST", "/imageupload", image, anna_cookie))
found = ok(ask("POST", "/imageget", {"contentID": image["contentID"], "sender": anna, "threadID": thread}, ben_cookie))
assert found["content"] == content
print(f"An image of {len(content)} characters goes through and comes back.")

curl = ["curl", "-sS", "--cacert", CERTIFICATE, "--resolve", f"{NAME}:{PORT}:127.0.0.1", "--http2"]
version = subprocess.run([*curl, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", f"{ORIGIN}/readyz"], capture_output=True, text=True)
assert version.stdout == "2 200", version
print("Clients are spoken to in HTTP/2.")

away = ask("POST", "/destroyacc", {}, anna_cookie, Origin="https://elsewhere.example.org", Sec_Fetch_Site="cross-site")
assert away[0].status == 403, away[0].status
away = ask("POST", "/destroyacc", {}, anna_cookie, Origin="https://elsewhere.example.org")
assert away[0].status == 403, away[0].status
ok(ask("POST", "/destroyacc", {}, anna_cookie, Origin=ORIGIN, Host=f"{NAME}:{PORT}"))
ok(ask("POST", "/destroyacc", {}, ben_cookie, Origin=ORIGIN, Host=f"{NAME}:{PORT}", Sec_Fetch_Site="same-origin"))
print("An account can be removed from the own page only.")
