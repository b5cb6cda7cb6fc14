"""What schemathesis must know of this server: how to sign in, which check does not apply where, and two checks of its own.

It knows the server from the document alone; BE8_URL and BE8_OPERATOR_TOKEN say where the server is and whom it believes.
"""

import os
import random
import threading

import requests
import schemathesis
from schemathesis.core.failures import Failure, ServerError
from schemathesis.openapi.checks import UnsupportedMethodResponse, UseAfterFree

URL = os.environ["BE8_URL"]
OPERATOR = {"Authorization": f"Bearer {os.environ['BE8_OPERATOR_TOKEN']}"}
COOKIE = "be8"
# What ends the session or the account that asks for it.
ENDS = {"endSession", "endSessionByName", "removeAccount", "removeAccountByGet"}


class Session:
    """The session of an account that was made for this run, and of another one when that one has ended."""

    def __init__(self):
        self.lock = threading.Lock()
        self.cookie = self.account = None

    def get(self):
        with self.lock:
            if self.cookie is None:
                self.cookie, self.account = new_account()
            return self.cookie

    def forget(self, cookie):
        with self.lock:
            if self.cookie == cookie:
                self.cookie = None


def new_account():
    body = {"nickname": "Fuzz", "password": "a long secret"}
    answer = requests.post(f"{URL}/newacc", json=body, timeout=30)
    if answer.status_code == 403:
        # The run has closed the registration.
        requests.post(f"{URL}/operator/registration", json={"open": True}, headers=OPERATOR, timeout=30).raise_for_status()
        answer = requests.post(f"{URL}/newacc", json=body, timeout=30)
    answer.raise_for_status()
    return answer.cookies[COOKIE], str(answer.json()["accID"])


# What goes on with what another operation answered: where the value is, the member or parameter that takes it, and of which
# operations. As links in the document they would be read by nobody else, and the Java generator takes none with a body.
GROUP = (
    "joinGroup addGroupMember listGroupMembers increaseGroupVersion getGroupVersion storeGroupKey listGroupKeys "
    "signalGroupUpdate leaveGroup destroyGroup getGroupHistory getGroupFindings getGroupProof getGroupBundle"
)
OPERATOR_S = "listSessionsAsOperator endSessionsAsOperator removeAccountAsOperator"
LINKS = [
    ("createAccount", "accID", "receiverID", "startConversation"),
    ("createAccount", "accID", "accID", OPERATOR_S),
    ("getMe", "accID", "accID", f"getKey openSession {OPERATOR_S}"),
    ("startConversation", "threadID", "threadID", "writeMessage listMessages"),
    ("listThreads", "threads/0/threadID", "threadID", "listMessages"),
    ("listGroupMembers", "members/0/id", "accID", "getKey"),
    ("createGroup", "groupID", "groupID", GROUP),
]

SESSION = Session()
RANDOM = random.Random(8)


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Adds the links to the document."""
    operations = {operation["operationId"]: operation for item in raw_schema["paths"].values() for operation in item.values()}
    for source, value, name, targets in LINKS:
        for target in targets.split():
            in_path = any(parameter["name"] == name for parameter in operations[target].get("parameters", []))
            place = "parameters" if in_path else "requestBody"
            link = {"operationId": target, place: {name: f"$response.body#/{value}"}}
            operations[source]["responses"]["200"].setdefault("links", {})[target] = link


def ways(operation):
    """The names of the security schemes that the operation accepts."""
    return {name for way in operation.definition.raw.get("security", []) for name in way}


@schemathesis.auth(refresh_interval=None)
class Auth:
    """Who asks: the account where an account may, the operator where only the operator may."""

    def get(self, case, _context):
        accepted = ways(case.operation)
        return "session" if "session" in accepted else "operator" if "operator" in accepted else None

    def set(self, case, data, _context):
        if data == "session":
            case.cookies = {**(case.cookies or {}), COOKIE: SESSION.get()}
        elif data == "operator":
            case.headers.update(OPERATOR)


def cookie_of(response):
    """The session that the request showed."""
    cookies = response.request.headers.get("Cookie", "")
    return dict(pair.strip().partition("=")[::2] for pair in cookies.split(";")).get(COOKIE)


def session_answers(cookie):
    """What a session learns about itself."""
    return requests.get(f"{URL}/me", cookies={COOKIE: cookie}, timeout=30)


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Who writes or wraps a key is oneself; no other value gets past the first checks. Half of the requests keep theirs."""
    if isinstance(case.body, dict) and SESSION.account and RANDOM.random() < 0.5:
        case.body.update({name: SESSION.account for name in ("sender", "keyholder") if name in case.body})


@schemathesis.hook
def after_call(_context, case, response):
    cookie = cookie_of(response)
    # A new account ends the session that asked for it; whatever else did, is seen by the next answer.
    if cookie and (response.status_code == 401 or "set-cookie" in response.headers):
        SESSION.forget(cookie)


@schemathesis.hook
def filter_failure(_context, failure, case, response):
    """What is no failure here."""
    operation = case.operation.definition.raw
    if isinstance(failure, UnsupportedMethodResponse):
        # docs/protocol.md, "Paths and methods": on a path of the older server a wrong method is answered as an unknown path.
        # Those are the paths whose operations document no 405.
        return "405" in operation["responses"]
    if isinstance(failure, ServerError):
        # No fault, and documented: the next checkpoint, some seconds later, covers what was asked for.
        return response.status_code != 503 or response.json().get("error") != "NOTCOVEREDYET"
    if isinstance(failure, UseAfterFree):
        # A list is not deleted with what was in it: "An account that is gone has none."
        return operation["operationId"] != "listSessionsAsOperator"
    return True


class UndocumentedCode(Failure):
    """The status is documented, and the shape, but not this code at this operation."""


@schemathesis.check
def code_conformance(_context, response, case):
    """A refusal names a code that the operation shows among the examples of that status."""
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    content = documented.get("content", {}).get(response.headers.get("content-type", [""])[0].split(";")[0], {})
    if "examples" not in content:
        return
    body = response.json()
    code = body.get("error") or body.get("reason") or body.get("warning")
    codes = {example["value"].get(name) for example in content["examples"].values() for name in ("error", "reason", "warning")}
    if code is not None and code not in codes:
        raise UndocumentedCode(
            operation=case.operation.label,
            title="Undocumented code",
            message=f"{response.status_code} {code} is not among {', '.join(sorted(filter(None, codes)))}",
        )


class UsedAfterRemoval(Failure):
    """A session outlived its end."""


@schemathesis.check
def no_use_after_removal(_context, response, case):
    """Who ended the own session or account is nobody from then on."""
    cookie = cookie_of(response)
    if not cookie or response.status_code != 200:
        return
    ended = case.operation.definition.raw["operationId"] in ENDS or "set-cookie" in response.headers
    if not ended and case.operation.definition.raw["operationId"] == "enterCode":
        ended = "isDestroyCode" in response.json()
    if ended:
        SESSION.forget(cookie)
        answer = session_answers(cookie)
        if answer.status_code != 401:
            raise UsedAfterRemoval(
                operation=case.operation.label,
                title="Use after removal",
                message=f"The session is ended, but /me answers {answer.status_code} to it",
            )
