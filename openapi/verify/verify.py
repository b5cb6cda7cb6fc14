#!/usr/bin/env python3
"""Checks a bundle of a group's history, without be8 and without a server.

    verify.py FILE [KEY [KNOWN]]

Written from docs/audit.md and docs/log-format.md alone, with Python's standard library and the package
`cryptography`, so that nobody has to trust the program that made the bundle. Prints what is proved and the
group's events; with KEY, that key must have signed; with KNOWN, another bundle of the group, such as an older one
or another member's, nothing may be left out that it shows. Exit code 0: all of it holds; 1: refused; 2: wrong usage.
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
    need(head and head[0] in FORMS, "not a bundle of a form that this program knows")
    return [tuple(line.split(" ", 1)) if " " in line else (line, "") for line in head[1:]]


FORMS = {"be8.live/audit-bundle@v1": False, "be8.live/audit-bundle@v2": True}  # whether it has a map of histories
MOST_MESSAGES = 10_000


def of_map(purpose, *parts):
    return sha256(f"be8/map/{purpose}/1".encode() + b"".join(parts))


def map_root(index, found, siblings):
    """The root of the map that has `found`, an index and a commitment or nothing, where the path of `index` ends."""
    def bit(of, at):
        return of[at // 8] >> (7 - at % 8) & 1
    depth = len(siblings)
    need(depth <= 256, "a path is too long")
    need(not found or all(bit(found[0], at) == bit(index, at) for at in range(depth)), "an entry beside its path")
    value = of_map("leaf", *found) if found else bytes(32)
    for at, sibling in zip(reversed(range(depth)), siblings):
        value = of_map("node", sibling, value) if bit(index, at) else of_map("node", value, sibling)
    return value


def of_map_section(blocks, what):
    """What a section says: whether it is there, the hashes after that word, and those beside the path."""
    need(blocks, f"no section {what}")
    first, *siblings = blocks.pop(0).split("\n")
    name, said, *hashes = first.split(" ")
    need(name == what and said in ("present", "absent"), f"no section {what}")
    hashes, siblings = [[unbase64(text) for text in texts] for texts in (hashes, siblings)]
    need(all(len(one) == 32 for one in hashes + siblings), "a hash of another length")
    return said == "present", hashes, siblings


def is_absent(section, index, root):
    there, hashes, siblings = section
    need(len(hashes) in (0, 2) and (not hashes or hashes[0] != index), "not a proof of absence")
    return not there and map_root(index, hashes, siblings) == root


def is_present(section, index, commitment, root):
    return section[0] and map_root(index, [index, commitment], section[2]) == root


def complete(blocks, root, group, life, chat, reader, events):
    """Whether the map with this root says that these are all events of the group. The events are (canonical bytes,
    fields), ascending and checked."""
    name, talk = f"group-{group}".encode(), f"chat-{group}".encode()
    at_name = of_map_section(blocks, "name")
    if not events:
        need(life == chat == 0 and not blocks and is_absent(at_name, of_map("name", name), root),
             "it is not proved that there is no such group")
        return
    of_life = [event for event in events if event[1][1] == name]
    messages = [event for event in events if event[1][1] == talk]
    need(of_life, "the life of the group is left out")
    salt = of_map("salt", of_life[0][1][7])
    need(not at_name[1] and is_present(at_name, of_map("name", name), of_map("salted", salt), root),
         "the map of histories has not this group")

    def commitment(count, newest):
        return of_map("events", struct.pack(">q", count), newest)

    at_life = of_map_section(blocks, "group")
    need(not at_life[1] and is_present(at_life, of_map("history", salt, name),
                                       commitment(life, of_map("newest", of_life[-1][0])), root),
         "the map of histories says something else of where the group's life ends: events are left out")
    at_chat = of_map_section(blocks, "chat")
    if chat == 0:
        shown = is_absent(at_chat, of_map("history", salt, talk), root)
    else:
        need(len(at_chat[1]) == 1, "the newest message is not named")
        newest = at_chat[1][0]
        shown = is_present(at_chat, of_map("history", salt, talk), commitment(chat, newest), root)
        if messages and integer(messages[-1][1][2]) == chat:
            shown = shown and newest == of_map("newest", messages[-1][0])
    need(shown and not blocks, "the map of histories says something else of the group's messages")
    # While the reader is in the group, the numbers of messages have no gap.
    before = 0 if reader == "operator" and len(messages) < MOST_MESSAGES else None
    for _, (_, stream, version, kind, _, _, _, _, payload, _) in events:
        if stream == talk:
            need(before in (None, integer(version) - 1), "messages are left out")
            before = integer(version)
        elif reader != "operator" and (kind == b"GroupDestroyed" or kind in (b"MemberLeft", b"MemberKicked")
                                       and str(json.loads(payload)["account"]) == reader):
            before = None
    need(before in (None, chat), "the newest messages are left out")


def agree(one, other):
    """Whether two bundles of one group can both be true: they have the same events as far as both are complete."""
    need(one["group"] == other["group"] and one["key"] == other["key"], "the known bundle is of another group or log")
    need(one["size"] != other["size"] or one["root"] == other["root"], "the server has signed two checkpoints of one size")
    until = min(one["until"], other["until"])

    def life(bundle):
        return [event for event, fields_of in bundle["events"]
                if fields_of[1] == f"group-{one['group']}".encode() and integer(fields_of[0]) <= until]

    need(life(one) == life(other), "the server has signed a contradiction: one bundle leaves out what the other one shows")
    earlier, later = (one, other) if one["until"] <= other["until"] else (other, one)
    known = [integer(fields_of[2]) for _, fields_of in later["events"]
             if fields_of[1] == f"chat-{one['group']}".encode() and integer(fields_of[0]) <= until]
    need(max([0, *known]) <= earlier["chat"] <= later["chat"],
         "the server has signed a contradiction: one bundle counts fewer messages than the other one knows")


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
    has_map = FORMS[head.split("\n")[0]]
    names = ["group", "reader", "tree", *["until"] * has_map, "stream", "stream", "events", "body"]
    need([name for name, _ in rest] == names, "the head has other lines than it should")
    values = [value for _, value in rest]
    until = number(values.pop(3)) if has_map else number(values[2])
    group, reader, tree, life, chat, events, digest = values
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

    def proved(what, block):
        """The canonical bytes of an event and their fields, if the checkpoint covers it."""
        first, *proof = block.split("\n")
        need(first.startswith(f"{what} "), f"not a section {what}")
        canonical = unbase64(first[len(what) + 1:])
        position = integer(fields(canonical)[0])
        leaf = sha256(b"\x00" + sha256(canonical))
        need(1 <= position <= size, "an event that the checkpoint does not cover")
        need(root_of(leaf, position - 1, size, [unbase64(line) for line in proof]) == root,
             f"the event at position {position} is not in the log that was signed")
        return canonical, fields(canonical)

    of_events = next((at for at, block in enumerate(blocks) if block.startswith("event ")), len(blocks))
    map_blocks, blocks = blocks[:of_events], blocks[of_events:]
    need(bool(map_blocks) == has_map, "the proof of completeness is missing, or is in a bundle of an older form")
    if has_map:
        position, stream, _, kind, _, _, _, _, payload, _ = proved("commitment", map_blocks.pop(0))[1]
        need(integer(position) == size and (stream, kind) == (b"histories", b"HistoriesCommitted"),
             "the checkpoint does not end with a commitment to the map of histories")
        committed = json.loads(payload)
        need(committed["until"] == until < size, "the map of histories goes to another position than the head says")

    told, last, versions, said, whole = [], (0, 0), 0, 0, []
    for block in blocks:
        canonical, of_event = proved("event", block)
        whole.append((canonical, of_event))
        position, stream, version, kind, _, time, actor, _, payload, _ = of_event
        position, version, time = integer(position), integer(version), integer(time)
        need(position <= until, "an event after the point up to which the bundle is complete")
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
    if has_map:
        complete(map_blocks, bytes.fromhex(committed["root"]), group, life, chat, reader, whole)
    if whole:
        print(f"The bundle of {group} for {reader} is whole and in the log.")
    else:
        print(f"There is no group {group}: that is proved to {reader}.")
    print(f"  signed by   {key.text}")
    for witness, time in zip(witnesses, times[1:]):
        print(f"  witnessed   {datetime.datetime.fromtimestamp(time, datetime.timezone.utc):%FT%TZ} by {witness.text}")
    print(f"  checkpoint  {size} events of the server, root {root.hex()}")
    print(f"  complete    up to position {until}" + (", by the map of histories in the checkpoint\n" if has_map else
          ", as the server says: a bundle of this form does not prove it\n"))
    for position, time, who, kind, payload in told:
        when = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=time)
        print(f"{position:>9}  {when:%FT%T.%fZ}  {who:>6}  {kind}  {json.dumps(payload)}")
    return {"group": group, "key": key.text, "size": size, "root": root, "until": until, "chat": chat, "events": whole}


def main():
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    try:
        key, bundles = sys.argv[2] if len(sys.argv) > 2 else None, []
        for name in [sys.argv[1], *sys.argv[3:]]:
            with open(name, "rb") as file:
                bundles.append(verify(file.read(), key))
        if len(bundles) == 2:
            agree(*bundles)
            print("\nBoth bundles agree.")
    except (Refused, ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        print(f"{sys.argv[1]} is refused: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
