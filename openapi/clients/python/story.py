"""One story of two people with the generated Python client: accounts, an encrypted conversation, a live change, a group
whose key changes, its history and the proof of it. The server is where BE8_URL says."""

import base64
import hashlib
import json
import os
import pathlib
import secrets
import time
import uuid

import httpx
from be8_client import Client, models
from be8_client.api.accounts import create_account
from be8_client.api.audit import get_group_history, get_group_proof, get_log_checkpoint, get_log_key, get_log_tile_part
from be8_client.api.conversations import start_conversation
from be8_client.api.group_keys import get_group_version, increase_group_version, list_group_keys, store_group_key
from be8_client.api.groups import add_group_member, create_group, join_group, list_group_members
from be8_client.api.keys import get_key, get_keys, set_key
from be8_client.api.messages import list_messages, write_message
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

URL = os.environ.get("BE8_URL", "http://127.0.0.1:3000")


# --- Answers ------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """A refusal of either kind: with a status from 400, or with status 200."""


def yes(answer):
    """What was accepted."""
    if isinstance(answer, (models.ErrorBody, models.Problem)):
        raise Refused(answer.error.value)
    if isinstance(answer, models.Refused):
        raise Refused(answer.reason.value)
    assert answer.valid, answer
    return answer


# --- Encryption: ECDH on P-384, AES-256-GCM; the vector is a UUID as text -----------------------------------------


def to_text(number):
    return base64.urlsafe_b64encode(number.to_bytes(48)).rstrip(b"=").decode()


def to_number(text):
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def new_key():
    return ec.generate_private_key(ec.SECP384R1())


def public_jwk(key):
    point = key.public_key().public_numbers()
    return {"crv": "P-384", "ext": True, "key_ops": [], "kty": "EC", "x": to_text(point.x), "y": to_text(point.y)}


def private_jwk(key):
    return {**public_jwk(key), "key_ops": ["deriveKey"], "d": to_text(key.private_numbers().private_value)}


def cipher(mine, theirs):
    """The cipher that both ends derive from one's secret and the other's public key."""
    point = ec.EllipticCurvePublicNumbers(to_number(theirs["x"]), to_number(theirs["y"]), ec.SECP384R1())
    return AESGCM(mine.exchange(ec.ECDH(), point.public_key())[:32])


def encrypt(mine, theirs, text):
    iv = str(uuid.uuid4())
    return base64.b64encode(cipher(mine, theirs).encrypt(iv.encode(), text.encode(), None)).decode(), iv


def decrypt(mine, theirs, text, iv):
    return cipher(mine, theirs).decrypt(iv.encode(), base64.b64decode(text), None).decode()


# --- A person -----------------------------------------------------------------------------------------------------


class Person:
    """Somebody with an account. The client underneath keeps the session cookie."""

    def __init__(self, nickname):
        self.client = Client(base_url=URL, raise_on_unexpected_status=True)
        account = models.AccountInput(nickname=nickname, password=secrets.token_hex())
        self.id = str(yes(create_account.sync(client=self.client, body=account)).acc_id)
        self.key = new_key()
        self.group_keys = {}
        jwk = models.PublicKeyInput.from_dict(public_jwk(self.key))
        yes(set_key.sync(client=self.client, body=models.KeyInput(public_key=jwk)))

    def public_key_of(self, account):
        return yes(get_key.sync(client=self.client, body=models.KeyOwnerInput(acc_id=account))).public_key.to_dict()

    def write(self, thread, receiver, text, iv, **more):
        """Writes to a thread; a repetition under the same key would not be a second message."""
        letter = models.MessageInput(
            thread_id=thread, receiver=receiver, sender=self.id, message_type=models.SentType.TEXT, text=text, iv=iv, **more
        )
        return yes(write_message.sync(client=self.client, body=letter, idempotency_key=str(uuid.uuid4())))

    def read(self, thread):
        return yes(list_messages.sync(client=self.client, body=models.MessagesInput(thread_id=thread))).messages

    def rekey(self, group):
        """Takes a new version of the group's key and hands it, wrapped, to each member."""
        which = models.GroupInput(group_id=group)
        version = yes(increase_group_version.sync(client=self.client, body=which)).group_version
        members = yes(list_group_members.sync(client=self.client, body=which)).members
        wanted = models.KeyOwnersInput(acc_i_ds=[member.id for member in members])
        secret = json.dumps(private_jwk(new_key()))
        for member in yes(get_keys.sync(client=self.client, body=wanted)).public_keys:
            wrapped, iv = encrypt(self.key, member.public_key.to_dict(), secret)
            key = models.GroupKeyInput(
                group_id=group, acc_id=member.acc_id, keyholder=self.id, group_key=wrapped, iv=iv
            )
            assert yes(store_group_key.sync(client=self.client, body=key)).group_version == str(version)
        return version

    def fetch_group_keys(self, group):
        """Fetches and unwraps the keys of the group that are stored for oneself; answers them as they were stored."""
        wanted = models.GroupKeysInput(group_id=group, acc_id=self.id)
        stored = yes(list_group_keys.sync(client=self.client, body=wanted)).group_keys
        for key in stored:
            jwk = json.loads(decrypt(self.key, self.public_key_of(key.keyholder), key.group_key, key.iv))
            private = ec.derive_private_key(to_number(jwk["d"]), ec.SECP384R1())
            self.group_keys[f"{group}:{key.group_version}"] = private
        return stored

    def write_to_group(self, group, text):
        current = yes(get_group_version.sync(client=self.client, body=models.GroupInput(group_id=group)))
        name = f"{group}:{current.group_version}"
        key = self.group_keys[name]
        return self.write(group, group, *encrypt(key, public_jwk(key), text), group_version_key=name)

    def read_from_group(self, group):
        texts = [message for message in self.read(group) if message.message_type == models.MessageType.TEXT]
        keys = [self.group_keys[message.group_version_key] for message in texts]
        return [decrypt(key, public_jwk(key), message.text, message.iv) for key, message in zip(keys, texts)]


# --- Live changes -------------------------------------------------------------------------------------------------


class Changes:
    """Somebody's live changes, for as long as one asks. The generated client leaves them out, so its HTTP client reads
    them. Whether the connection breaks or the server ends the stream in good order, as it does to restart: one comes back
    after the pause that the server asked for, with the last id."""

    def __init__(self, client):
        self.http = client.get_httpx_client()
        self.last, self.pause, self.ends = None, 2.5, 0
        self.seen = []
        self.changes = self.read()
        # Opens the stream.
        next(self.changes)

    def read(self):
        while True:
            headers = {} if self.last is None else {"Last-Event-ID": self.last}
            try:
                # A silent stream sends a comment line every 15 seconds.
                with self.http.stream("GET", "/events", headers=headers, timeout=45) as answer:
                    if answer.status_code < 500:
                        answer.raise_for_status()
                        yield None
                        yield from self.events(answer)
                        self.ends += 1
            except httpx.TransportError:
                pass
            time.sleep(self.pause)

    def events(self, answer):
        rest, data, id = b"", None, None
        for piece in answer.iter_bytes():
            # `iter_lines` would end lines at characters that JSON has in its strings, too.
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                field, _, value = line.decode().partition(": ")
                if field == "data":
                    data = value
                elif field == "id":
                    id = value
                elif field == "retry":
                    self.pause = int(value) / 1000
                elif line == b"" and data is not None:
                    # The id counts from here on only: what was cut off in between comes again.
                    self.last = id
                    yield json.loads(data)
                    data = None

    def next(self, action):
        """The next change of a kind."""
        for change in self.changes:
            if change is not None:
                self.seen.append(change)
                if change["action"] == action:
                    return change

    def close(self):
        self.changes.close()


def check_proof(canonical, proof):
    """Follows a proof from an event's bytes to the root that the checkpoint signs (C2SP tlog-proof, RFC 6962)."""
    head, checkpoint = proof.split("\n\n")[:2]
    form, index, *hashes = head.split("\n")
    _, size, root = checkpoint.split("\n")[:3]
    assert form == "c2sp.org/tlog-proof@v1"
    at, last = int(index.removeprefix("index ")), int(size) - 1
    found = hashlib.sha256(b"\0" + hashlib.sha256(canonical).digest()).digest()
    for sibling in map(base64.b64decode, hashes):
        assert last > 0, "the proof is too long"
        if at & 1 or at == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        at, last = at >> 1, last >> 1
    assert last == 0, "the proof is too short"
    assert base64.b64encode(found).decode() == root


# --- The story ----------------------------------------------------------------------------------------------------


def refusal(asked):
    try:
        yes(asked)
    except Refused as refused:
        return str(refused)
    return None


def story():
    anna, ben = Person("Anna"), Person("Ben")
    print(f"Anna is {anna.id}, Ben is {ben.id}.")

    changes = Changes(ben.client)
    receiver = models.ConversationInput(receiver_id=ben.id)
    thread = yes(start_conversation.sync(client=anna.client, body=receiver)).thread_id
    anna.write(thread, ben.id, *encrypt(anna.key, anna.public_key_of(ben.id), "Shall we found a group?"))

    arrived = models.MessageArrived.from_dict(changes.next("newMessage"))
    assert (arrived.thread_id, arrived.sender, arrived.nickname) == (thread, anna.id, "Anna")
    letter = next(message for message in ben.read(thread) if message.message_type == models.MessageType.TEXT)
    assert letter.text != "Shall we found a group?"
    assert decrypt(ben.key, ben.public_key_of(letter.sender), letter.text, letter.iv) == "Shall we found a group?"
    assert anna.read(thread)[-1].status == [ben.id], "Anna sees that Ben has read it"
    print("A message reached Ben at once, and only he can read it.")

    # The server restarts, and so ends the stream in good order.
    restart = os.environ.get("BE8_RESTART")
    if restart:
        pathlib.Path(restart).touch()
        while os.path.exists(restart):
            time.sleep(0.1)
    anna.write(thread, ben.id, *encrypt(anna.key, anna.public_key_of(ben.id), "Are you still there?"))

    nobody, nowhere = models.ConversationInput(receiver_id="9"), models.GroupInput(group_id="g9")
    assert refusal(start_conversation.sync(client=anna.client, body=nobody)) == "ACCNOTEXISTS"
    assert refusal(join_group.sync(client=ben.client, body=nowhere)) == "GROUPNOTEXISTING"

    friends = models.GroupCreateInput(nickname="Friends", group_type=models.GroupType.PRIVATE)
    group = yes(create_group.sync(client=anna.client, body=friends)).group_id
    yes(join_group.sync(client=anna.client, body=models.GroupInput(group_id=group)))
    yes(add_group_member.sync(client=anna.client, body=models.GroupAddInput(group_id=group, member_id=ben.id)))
    assert models.GroupJoin.from_dict(changes.next("groupJoin")).group_id == group
    # The conversation itself and the two messages, each once.
    assert len([change for change in changes.seen if change["action"] == "newMessage" and change["threadID"] == thread]) == 3
    if restart:
        assert changes.ends == 1
        print("The server was restarted; Ben came back with the last id, and nothing was missed or came twice.")
    assert anna.rekey(group) == 1
    anna.fetch_group_keys(group)
    ben.fetch_group_keys(group)
    anna.write_to_group(group, "Welcome!")
    assert models.MessageArrived.from_dict(changes.next("newMessage")).thread_id == group
    changes.close()

    assert ben.rekey(group) == 2
    anna.fetch_group_keys(group)
    stored = ben.fetch_group_keys(group)
    ben.write_to_group(group, "A new key, and thank you.")
    assert anna.read_from_group(group) == ["Welcome!", "A new key, and thank you."]
    print(f"The group {group} has changed its key; all that was written under both can be read.")

    # Who had which key when, for everybody in the group to check: a fingerprint is the SHA-256 of a wrapped key.
    entries = yes(get_group_history.sync(group, client=ben.client)).entries
    acts = [entry.act.value for entry in entries if entry.act.value != "message"]
    assert acts == ["created", "joined", "added"] + 2 * ["versionAllocated", "keyStored", "keyStored"]
    for_ben = [entry for entry in entries if entry.act.value == "keyStored" and entry.account == ben.id]
    fingerprints = [hashlib.sha256(key.group_key.encode()).hexdigest() for key in stored]
    assert [entry.fingerprint for entry in for_ben] == fingerprints

    while True:
        proof = get_group_proof.sync(group, client=ben.client, position=for_ben[-1].position)
        if not isinstance(proof, models.Problem) or proof.code.value != "NOTCOVEREDYET":
            break
        # The next checkpoint will cover it.
        time.sleep(0.5)
    check_proof(base64.b64decode(yes(proof).canonical), proof.proof)

    # What anybody may read: whose log it is, and the first of its hashes.
    origin = get_log_checkpoint.sync(client=ben.client).split("\n")[0]
    assert origin == get_log_key.sync(client=ben.client).split("+")[0]
    assert len(get_log_tile_part.sync(0, "000", 1, client=ben.client).payload.read()) == 32
    print("The history says who had which key, and the event that gave Ben his is proved to be in the log.")


story()
