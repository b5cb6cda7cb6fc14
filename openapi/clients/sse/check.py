"""Tries libraries for server-sent events on the stream of changes, each as a client in a process of its own.

    check.py WORK [LIBRARY...]

WORK has what run.sh installs. The server is where BE8_URL says; it is restarted when the file BE8_RESTART is made. Each
client speaks to the server through a path of its own, which cuts the connection in the middle of an event, and sees which last
id a client comes back with. Of each message the nickname of its sender is counted, which is another for each, with characters
that end a line in some languages."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import sys
import time
from urllib.parse import parse_qs, urlsplit

SERVER = urlsplit(os.environ["BE8_URL"])
# What a client has for each step; the longest pauses of libraries that double them are within it.
PATIENCE = 40
# How long it is counted how often a refused client comes back.
REFUSED = 20
# The libraries, by what they are tried with.
LIBRARIES = {
    "node libraries.mjs": [
        "@microsoft/fetch-event-source",
        "@microsoft/fetch-event-source without onclose",
        "@fortaine/fetch-event-source",
        "@ai-zen/node-fetch-event-source",
        "@ardatan/fetch-event-source",
        "@waylaidwanderer/fetch-event-source",
        "@sentool/fetch-event-source",
        "@rangermauve/fetch-event-source",
        "extended-eventsource",
        "eventsource",
        "eventsource as it is",
        "eventsource-client",
        "launchdarkly-eventsource",
    ],
    "node browser.mjs": ["EventSource", "event-source-polyfill", "reconnecting-eventsource", "sse.js"],
    "{work}/requirements-sse/bin/python libraries.py": [
        "sseclient-py",
        "httpx-sse",
        "aiohttp-sse-client",
        "aiohttp-sse-client2",
        "requests-sse",
        "aiosseclient",
    ],
    "{work}/requirements-sseclient/bin/python libraries.py": ["sseclient"],
    "{work}/../debug/be8-sse-clients": ["reqwest-eventsource", "eventsource-client (Rust)", "sse-stream"],
}


def post(path, body, cookie=""):
    """The cookie, and the answer."""
    connection = http.client.HTTPConnection(SERVER.hostname, SERVER.port, timeout=30)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "Cookie": cookie})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    assert found.get("valid"), (path, found)
    set_cookie = answer.headers["Set-Cookie"]
    connection.close()
    return set_cookie.split(";")[0] if set_cookie else cookie, found


class Account:
    def __init__(self, nickname):
        self.cookie, made = post("/newacc", {"nickname": nickname, "password": "a long secret"})
        self.id = str(made["accID"])

    def start(self, other):
        return post("/startconversation", {"receiverID": other.id}, self.cookie)[1]["threadID"]

    def rename(self, nickname):
        post("/changenickname", {"newNickname": nickname}, self.cookie)

    def write(self, thread, receiver):
        letter = {"threadID": thread, "sender": self.id, "receiver": receiver, "messageType": "text", "text": "dGV4dA=="}
        post("/writemessage", letter, self.cookie)

    def hold(self):
        """A stream that stays open."""
        connection = http.client.HTTPConnection(SERVER.hostname, SERVER.port, timeout=60)
        connection.request("GET", "/events", headers={"Cookie": self.cookie})
        connection.getresponse()
        return connection


def nickname(step):
    """Latin-1 takes the second byte of Å for the end of a line, Python the three that follow it."""
    return f"{step} \u00c5\u0085\u2028\u2029 \U0001f600"


class Path:
    """The way of one client to the server."""

    def __init__(self):
        self.asked, self.cut, self.cuts = [], False, 0

    async def open(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def accept(self, reader, writer):
        far = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                query = parse_qs(urlsplit(first.split(" ")[1]).query)
                self.asked.append(fields.get("last-event-id") or query.get("lastEventId", [None])[0])
                if far is None:
                    back, far = await asyncio.open_connection(SERVER.hostname, SERVER.port)
                    copying = asyncio.ensure_future(self.copy(back, writer, far))
                far.write(head)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            if far is None:
                writer.transport.abort()
            else:
                far.close()
                await copying

    async def copy(self, back, writer, far):
        try:
            while piece := await back.read(65536):
                at = piece.find(b"data: ")
                if self.cut and at >= 0:
                    self.cut, self.cuts = False, self.cuts + 1
                    writer.write(piece[: at + 30])
                    await asyncio.sleep(0.2)
                    writer.transport.abort()
                    far.transport.abort()
                    return
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.CancelledError):
            pass
        writer.close()


class Client:
    """A library, reading an account's stream."""

    def __init__(self, name, command):
        self.name, self.command, self.lines, self.exit = name, command, [], None

    async def start(self, account):
        self.account = account
        self.path = await Path().open()
        environment = {**os.environ, "BE8_URL": f"http://127.0.0.1:{self.path.port}", "BE8_COOKIE": account.cookie}
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            # A group of its own: node from PyPI is started by a program in Python, a browser is many processes.
            start_new_session=True,
        )
        self.said = asyncio.ensure_future(self.process.stderr.read())
        self.reading = asyncio.ensure_future(self.read())

    async def read(self):
        while line := await self.process.stdout.readline():
            # Some libraries print of their own.
            if line.startswith(b"{"):
                self.lines.append(json.loads(line))
        self.exit = await self.process.wait()

    async def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.reading
        self.path.server.close()
        return (await self.said).decode(errors="replace")

    def changes(self):
        """What `JSON.parse` or its like makes of each message; a text where it fails."""
        for line in self.lines:
            try:
                yield json.loads(line.get("data"))
            except (TypeError, ValueError):
                yield line.get("data")

    def steps(self):
        """The steps of which a message came, in their order; a wrong nickname with a question mark."""
        names = [change["nickname"] for change in self.changes() if isinstance(change, dict) and "nickname" in change]
        return [name.split(" ")[0] + ("" if name == nickname(name.split(" ")[0]) else "?") for name in names if name[:1] == "S"]


async def until(holds, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return holds()


async def in_turn(what, *more):
    return await asyncio.get_running_loop().run_in_executor(None, what, *more)


class Trial:
    def __init__(self, clients):
        self.clients = clients
        self.anna = Account(nickname("S0"))
        self.threads = {}

    async def write(self, step, clients):
        def send():
            self.anna.rename(nickname(step))
            for client in clients:
                self.anna.write(self.threads[client], client.account.id)

        await in_turn(send)

    async def all_saw(self, step, clients):
        def missing():
            return [client.name for client in clients if client.exit is None and step not in client.steps()]

        await until(lambda: not missing())
        print(step, "was missed by", ", ".join(missing()) or "none", file=sys.stderr, flush=True)

    async def streams(self):
        """An open connection, a cut, and an end in good order."""
        for client in self.clients:
            account = Account("Ben")
            self.threads[client] = self.anna.start(account)
            await client.start(account)
        await until(lambda: all(client.path.asked or client.exit is not None for client in self.clients))
        # Time for heartbeats.
        await asyncio.sleep(3)
        await self.write("S1", self.clients)
        await self.all_saw("S1", self.clients)
        for client in self.clients:
            client.path.cut = True
        await self.write("S2", self.clients)
        await until(lambda: all(client.path.cuts or client.exit is not None for client in self.clients))
        await self.write("S3", self.clients)
        await self.all_saw("S3", self.clients)
        asked = {client: len(client.path.asked) for client in self.clients}
        restart = os.environ["BE8_RESTART"]
        open(restart, "w").close()
        await until(lambda: not os.path.exists(restart), 120)
        await self.write("S4", self.clients)
        await self.all_saw("S4", self.clients)
        # What comes twice comes by now.
        await asyncio.sleep(3)
        for client in self.clients:
            client.back = client.path.asked[asked[client] :]
            client.error = await client.stop()

    async def refusals(self, clients):
        """An account that has as many streams as it may."""
        held = []
        for client in clients:
            account = Account("Ben")
            self.threads[client] = self.anna.start(account)
            held += [account.hold(), account.hold()]
            await client.start(account)
        await until(lambda: all(client.path.asked or client.exit is not None for client in clients))
        await asyncio.sleep(REFUSED)
        for client in clients:
            client.times = len(client.path.asked)
        for connection in held:
            connection.sock and connection.sock.close()
            connection.close()
        await asyncio.sleep(1)
        await self.write("S5", clients)
        await self.all_saw("S5", clients)
        for client in clients:
            client.recovered = "S5" in client.steps()
            client.empty = sum(not line.get("data") for line in client.lines)
            client.error = await client.stop()


async def main():
    work, *wanted = sys.argv[1:]
    commands = {
        name: [*command.format(work=work).split(" "), name]
        for command, names in LIBRARIES.items()
        for name in names
        if not wanted or name in wanted
    }
    clients = [Client(*pair) for pair in commands.items()]
    trial = Trial(clients)
    await trial.streams()
    refused = [Client(*pair) for pair in commands.items()]
    await trial.refusals(refused)
    rows = []
    for client, other in zip(clients, refused):
        steps = client.steps()
        wrong = [change for change in client.changes() if not isinstance(change, dict)]
        rows.append({
            "library": client.name,
            "empty": sum(not line.get("data") for line in client.lines),
            "not JSON": len([change for change in wrong if change]),
            "ids": all(line.get("id") for line in client.lines if line.get("data")),
            "steps": " ".join(steps),
            "cut": steps.count("S2") == 1 and steps.count("S3") == 1,
            "end": steps.count("S4") == 1 and steps == sorted(set(steps)),
            "came back with": ["an id" if last else "none" for last in client.back],
            "refused": f"{other.times} requests in {REFUSED} s, {other.empty} empty",
            "recovered": other.recovered,
            "exit": client.exit,
            "said": [line for line in client.error.splitlines() if line.strip()][-1:],
        })
    for row in rows:
        print(json.dumps(row))


asyncio.run(main())
