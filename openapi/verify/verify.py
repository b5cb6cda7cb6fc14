#!/usr/bin/env python3
"""Checks a bundle of a group's history, without be8 and without a server.

    verify.py FILE [KEY]

Written from docs/audit.md and docs/log-format.md alone, with Python's standard library and the package
`cryptography`, so that nobody has to trust the program that made the bundle. Prints what is proved and the
group's events; with KEY, that key must have signed. Exit code 0: all of it holds; 1: refused; 2: wrong usage.
"""

import base64
import datetime
import hashlib
import json
import struct
import sys
import unicodedata

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    """The bundle does not hold."""


def need(holds, what):
    if not holds:
        raise Refused(what)


def unbase64(text):
    """Base64 that is written in the one way that it has."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused("malformed base64") from None
    need(base64.b64encode(data).decode() == text, "malformed base64")
    return data


def number(text):
    need(text.isascii() and text.isdigit() and str(int(text)) == text, "malformed number")
    return int(text)


def sha256(data):
    return hashlib.sha256(data).digest()


class Key:
    """A public key as `name+id+base64` (C2SP signed-note); kind 1 signs for a log, kind 4 cosigns."""

    def __init__(self, text, kind):
        parts = text.split("+", 2)
        need(len(parts) == 3, "malformed key")
        self.text, self.name, data = text, parts[0], unbase64(parts[2])
        need(len(data) == 33 and data[0] == kind, "not a key of this kind")
        self.kind, self.id = kind, sha256(self.name.encode() + b"\n" + data)[:4]
        # Control characters would change what a terminal shows.
        bad = any(c.isspace() or unicodedata.category(c) == "Cc" for c in self.name)
        need(self.name and not bad and parts[1] == self.id.hex(), "malformed key")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])

    def check(self, text, line):
        """Checks the signature line under a text; answers the time of a cosignature."""
        prefix = f"— {self.name} "
        need(line.startswith(prefix), f"not signed by {self.name}")
        data, time = unbase64(line[len(prefix):]), None
        need(data[:4] == self.id, f"signed by another key than {self.text}")
        signature, message = data[4:], text
        if self.kind == 4:
            need(len(signature) == 72, "malformed cosignature")
            time, signature = struct.unpack(">Q", signature[:8])[0], signature[8:]
            message = f"cosignature/v1\ntime {time}\n{text}"
        try:
            self.key.verify(signature, message.encode())
        except InvalidSignature:
            raise Refused(f"the signature of {self.name} is false") from None
        return time


def root_of(leaf, index, size, proof):
    """The root to which an inclusion proof leads (RFC 9162, section 2.1.3.2)."""
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        need(last > 0, "a proof is too long")
        if node & 1 or node == last:
            value = sha256(b"\x01" + sibling + value)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = sha256(b"\x01" + value + sibling)
        node, last = node >> 1, last >> 1
    need(last == 0, "a proof is too short")
    return value


def fields(data):
    """The fields of canonical bytes: a version byte, then each with its length in 4 bytes."""
    need(data[:1] == b"\x01", "canonical bytes of another version")
    at, out = 1, []
    while at < len(data):
        need(at + 4 <= len(data), "canonical bytes are cut off")
        end = at + 4 + struct.unpack(">I", data[at:at + 4])[0]
        need(end <= len(data), "canonical bytes are cut off")
        out.append(data[at + 4:end])
        at = end
    need(len(out) == 10, "not the canonical bytes of an event")
    need(all(len(out[i]) == 8 for i in (0, 2, 4, 5)) and len(out[6]) in (0, 8), "a number of another length")
    return out


def integer(field):
    return struct.unpack(">q", field)[0]


def lines_of(head):
    """The head as pairs of name and value, in their order."""
    need(head and head[0] == "be8.live/audit-bundle@v1", "not a bundle of a form that this program knows")
    return [tuple(line.split(" ", 1)) if " " in line else (line, "") for line in head[1:]]


def verify(data, expected):
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not text") from None
    sections = text.split("\n\n", 2)
    need(len(sections) == 3, "cut off, or no bundle")
    head, signature, body = sections
    pairs = lines_of(head.split("\n"))
    need(pairs and pairs[0][0] == "key", "the head names no key")
    key = Key(pairs[0][1], 1)
    need(expected in (None, key.text), f"signed by another key: {key.text}")
    key.check(head + "\n", signature)
    # From here on the head is what the server signed.
    witnesses = [Key(value, 4) for name, value in pairs if name == "witness"]
    rest = [(name, value) for name, value in pairs[1:] if name != "witness"]
    names = ["group", "reader", "tree", "stream", "stream", "events", "body"]
    need([name for name, _ in rest] == names, "the head has other lines than it should")
    group, reader, tree, life, chat, events, digest = (value for _, value in rest)
    need(group[:1] == "g" and number(group[1:]) > 0, "names no group")
    need(reader == "operator" or number(reader) > 0, "names no reader")
    need(digest == base64.b64encode(sha256(body.encode())).decode(), "changed: the body has another hash")
    need(life.startswith(f"group-{group} ") and chat.startswith(f"chat-{group} "), "the streams of another group")
    life, chat = number(life.split(" ")[1]), number(chat.split(" ")[1])

    need(body.endswith("\n"), "cut off")
    checkpoint, signatures, *blocks = body[:-1].split("\n\n")
    origin, size, root = (checkpoint.split("\n") + ["", "", ""])[:3]
    need(origin == key.name, "the checkpoint of another log")
    size, root = number(size), unbase64(root)
    need(size == number(tree), "a checkpoint of another size")
    lines, signers = signatures.split("\n"), [key, *witnesses]
    need(len(lines) == len(signers), "the checkpoint is signed by others than the head names")
    times = [signer.check(checkpoint + "\n", line) for signer, line in zip(signers, lines)]

    told, last, versions, said = [], (0, 0), 0, 0
    for block in blocks:
        first, *proof = block.split("\n")
        need(first.startswith("event "), "not an event")
        canonical = unbase64(first[6:])
        position, stream, version, kind, _, time, actor, _, payload, _ = fields(canonical)
        position, version, time = integer(position), integer(version), integer(time)
        leaf = sha256(b"\x00" + sha256(canonical))
        need(1 <= position <= size, "an event that the checkpoint does not cover")
        need(root_of(leaf, position - 1, size, [unbase64(line) for line in proof]) == root,
             f"the event at position {position} is not in the log that was signed")
        need(position > last[0] and time >= last[1], "events out of order")
        last = (position, time)
        if stream == f"group-{group}".encode():
            versions += 1
            need(version == versions, f"the group's event number {versions} is missing")
        else:
            need(stream == f"chat-{group}".encode() and said < version <= chat, "an event that is not the group's")
            said = version
        who = integer(actor) if actor else "-"
        told.append((position, time, who, kind.decode(), json.loads(payload)))
    need(versions == life and len(told) == number(events), "events are missing")
    print(f"The bundle of {group} for {reader} is whole and in the log.")
    print(f"  signed by   {key.text}")
    for witness, time in zip(witnesses, times[1:]):
        print(f"  witnessed   {datetime.datetime.fromtimestamp(time, datetime.timezone.utc):%FT%TZ} by {witness.text}")
    print(f"  checkpoint  {size} events of the server, root {root.hex()}\n")
    for position, time, who, kind, payload in told:
        when = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time)
        print(f"{position:>9}  {when:%FT%T.%fZ}  {who:>6}  {kind}  {json.dumps(payload)}")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        with open(sys.argv[1], "rb") as file:
            verify(file.read(), sys.argv[2] if len(sys.argv) == 3 else None)
    except (Refused, ValueError, OverflowError, OSError) as error:
        print(f"{sys.argv[1]} is refused: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
