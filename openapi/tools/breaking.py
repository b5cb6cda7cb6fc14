#!/usr/bin/env python3
"""Finds what breaks clients between two versions of the OpenAPI document.

    breaking.py OLD NEW

A client is what was generated from OLD: with closed types, which refuse what they do not know. So an answer breaks it
that has a member, an enum's value or a part of a union more, and so does a request that it may no longer send. What only
describes (summaries, descriptions, examples) is not compared. Prints one line for each break. Exit code 0: there are none,
or the version says that there may be some (another major one; before 1.0 another minor one); 1: there are; 2: wrong usage.
"""

import json
import sys

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# What bounds a value, and whether a larger number allows more.
BOUNDS = {
    "maxLength": True, "maxItems": True, "maximum": True, "maxProperties": True,
    "minLength": False, "minItems": False, "minimum": False, "minProperties": False,
}


class Comparison:
    """The breaks between two documents."""

    def __init__(self, old, new):
        self.old, self.new, self.breaks, self.seen = old, new, [], set()

    def say(self, where, what):
        line = f"{where}: {what}"
        if line not in self.breaks:
            self.breaks.append(line)

    def run(self):
        paths = self.new.get("paths", {})
        for path, item in self.old.get("paths", {}).items():
            for method in METHODS:
                if method in item:
                    where = f"{method.upper()} {path}"
                    operation = paths.get(path, {}).get(method)
                    if operation is None:
                        self.say(where, "the operation is gone")
                    else:
                        shared = [document["paths"][path].get("parameters", []) for document in (self.old, self.new)]
                        self.operation(where, item[method], operation, *shared)
        return self.breaks

    def operation(self, where, old, new, old_shared, new_shared):
        if old.get("operationId") != new.get("operationId"):
            self.say(where, f"its method is called {new.get('operationId')} instead of {old.get('operationId')}")
        self.security(where, old, new)
        self.parameters(where, old_shared + old.get("parameters", []), new_shared + new.get("parameters", []))
        self.body(where, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if status not in new["responses"]:
                self.say(where, f"status {status} is gone")
            else:
                other = new["responses"][status]
                self.answer(f"{where} {status}", resolved(self.old, answer), resolved(self.new, other))
        for status in new["responses"]:
            # An unknown refusal is a refusal; an unknown success is not understood.
            if status not in old["responses"] and status[0] in "123":
                self.say(where, f"status {status} is new")

    def security(self, where, old, new):
        """Every client that could call it still can: each way to show who one is, is still one."""
        ways = [operation.get("security", document.get("security")) or [{}]
                for operation, document in ((old, self.old), (new, self.new))]
        for way in ways[0]:
            if not any(set(other) <= set(way) for other in ways[1]):
                self.say(where, f"it no longer accepts {' and '.join(way) or 'being called without credentials'}")

    def parameters(self, where, old, new):
        old, new = ({(p["in"], p["name"]): p for p in (resolved(document, p) for p in parameters)}
                    for document, parameters in ((self.old, old), (self.new, new)))
        for key, parameter in old.items():
            if key not in new:
                self.say(where, f"the parameter {key[1]} is gone")
                continue
            self.becomes_required(where, f"the parameter {key[1]}", parameter, new[key])
            self.sent(f"{where} {key[1]}", parameter.get("schema", {}), new[key].get("schema", {}))
        for key, parameter in new.items():
            if key not in old and parameter.get("required"):
                self.say(where, f"the new parameter {key[1]} is required")

    def becomes_required(self, where, what, old, new):
        if new.get("required") and not old.get("required"):
            self.say(where, f"{what} is now required")

    def body(self, where, old, new):
        old, new = resolved(self.old, old or {}), resolved(self.new, new or {})
        self.becomes_required(where, "the body", old, new)
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                self.say(where, f"it no longer takes {media}")
            else:
                self.sent(f"{where} body", content.get("schema", {}), new["content"][media].get("schema", {}))

    def answer(self, where, old, new):
        for name in old.get("headers", {}):
            if name.lower() not in map(str.lower, new.get("headers", {})):
                self.say(where, f"the header {name} is gone")
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                self.say(where, f"it no longer answers {media}")
            else:
                self.read(where, content.get("schema", {}), new["content"][media].get("schema", {}))

    def sent(self, where, old, new):
        """What an old client sends must be allowed still."""
        self.schema(where, old, new, True)

    def read(self, where, old, new):
        """What is answered must be what an old client knows."""
        self.schema(where, old, new, False)

    def schema(self, where, old, new, sent):
        key = (json.dumps(old, sort_keys=True), json.dumps(new, sort_keys=True), sent)
        # What is used in many places is compared once, where it comes first; so recursion ends, too.
        if key in self.seen:
            return
        self.seen.add(key)
        old, new = flat(self.old, old), flat(self.new, new)
        if {"oneOf", "anyOf"} & (old.keys() | new.keys()):
            return self.union(where, old, new, sent)
        if old.get("type") != new.get("type") or old.get("format") != new.get("format"):
            kinds = [" ".join(filter(None, (s.get("type", "anything"), s.get("format")))) for s in (old, new)]
            # Taking anything where a certain type was taken is no break, nor the other way round in answers.
            if (new if sent else old).get("type") is not None or (old if sent else new).get("type") is None:
                self.say(where, f"{kinds[0]} became {kinds[1]}")
            return None
        narrow, wide = (new, old) if sent else (old, new)
        verb = "no longer allowed" if sent else "new"
        if wide.get("nullable") and not narrow.get("nullable"):
            self.say(where, f"null is {verb}")
        self.values(where, narrow, wide, verb)
        self.bounds(where, narrow, wide, sent)
        self.members(where, old, new, sent)
        if "items" in old or "items" in new:
            self.schema(f"{where}[]", old.get("items", {}), new.get("items", {}), sent)
        return None

    def values(self, where, narrow, wide, verb):
        if "enum" in narrow:
            if "enum" not in wide:
                self.say(where, f"any value but {', '.join(map(str, narrow['enum']))} is {verb}")
            for value in wide.get("enum", []):
                if value not in narrow["enum"]:
                    self.say(where, f"the value {value} is {verb}")

    def bounds(self, where, narrow, wide, sent):
        # Clients check what they send; that a text they read is longer is not refused by any of them.
        if not sent:
            return
        for bound, more in BOUNDS.items():
            if bound in narrow:
                limit = narrow[bound]
                if bound not in wide or (wide[bound] > limit if more else wide[bound] < limit):
                    self.say(where, f"{bound} is now {limit}")
        if "pattern" in narrow and narrow["pattern"] != wide.get("pattern"):
            self.say(where, f"the pattern is now {narrow['pattern']}")

    def members(self, where, old, new, sent):
        before, after = old.get("properties", {}), new.get("properties", {})
        required = set(old.get("required", [])), set(new.get("required", []))
        for name, schema in before.items():
            if name not in after:
                self.say(f"{where}.{name}", "the member is gone")
            else:
                self.schema(f"{where}.{name}", schema, after[name], sent)
        if sent:
            for name in sorted(required[1] - required[0]):
                self.say(f"{where}.{name}", "the member is now required")
            if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
                self.say(where, "unknown members are no longer allowed")
        else:
            for name in sorted(required[0] - required[1]):
                if name in after:
                    self.say(f"{where}.{name}", "the member may now be missing")
            if old.get("additionalProperties") is False:
                for name in after:
                    if name not in before:
                        self.say(f"{where}.{name}", "the member is new in a closed object")
                if new.get("additionalProperties") is not False:
                    self.say(where, "the object was closed and now is open")

    def union(self, where, old, new, sent):
        before, after = parts(old), parts(new)
        narrow, wide = (after, before) if sent else (before, after)
        for name in wide:
            if name not in narrow:
                self.say(where, f"{name} is {'no longer a part' if sent else 'a new part'} of the union")
        for name in before.keys() & after.keys():
            self.schema(where, before[name], after[name], sent)


def resolved(document, node):
    """The node, or what it refers to."""
    while "$ref" in node:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def flat(document, schema):
    """A schema as one object: references followed, all parts of an `allOf` put together."""
    schema = resolved(document, schema)
    if "allOf" not in schema:
        return schema
    whole = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        for name, value in flat(document, part).items():
            if name == "properties":
                whole[name] = {**value, **whole.get(name, {})}
            elif name == "required":
                whole[name] = sorted({*value, *whole.get(name, [])})
            else:
                whole.setdefault(name, value)
    return whole


def parts(schema):
    """The parts of a union by name; what is no union is its only part."""
    union = schema.get("oneOf") or schema.get("anyOf")
    if union is None:
        return {schema.get("title", "the plain schema"): schema}
    return {part.get("$ref", "").rsplit("/", 1)[-1] or part.get("title") or f"part {number}": part
            for number, part in enumerate(union, 1)}


def may_break(old, new):
    """Whether the new version says that it may break clients of the old one (Semantic Versioning)."""
    old, new = ([int(number) for number in document["info"]["version"].split("-")[0].split(".")] for document in (old, new))
    return new[0] > old[0] or (new[0] == old[0] == 0 and new[1] > old[1])


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    documents = []
    for name in arguments:
        with open(name, encoding="utf-8") as file:
            documents.append(json.load(file))
    old, new = documents
    breaks = Comparison(old, new).run()
    for line in breaks:
        print(line)
    versions = f"{old['info']['version']} to {new['info']['version']}"
    allowed = may_break(old, new)
    verdict = f"{len(breaks)}, which the version {'allows' if allowed else 'does not allow'}" if breaks else "none"
    print(f"Breaking changes, {versions}: {verdict}")
    return 1 if breaks and not allowed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
