"""That `breaking.py` finds each kind of break in the real document, in the right place, and nothing where there is none."""

import copy
import json
import pathlib
import unittest

import breaking

DOCUMENT = json.loads((pathlib.Path(__file__).parents[1] / "be8.openapi.json").read_text(encoding="utf-8"))


def operation(document, path, method="post"):
    return document["paths"][path][method]


def schema(document, name):
    return document["components"]["schemas"][name]


def remove_operation(document):
    del document["paths"]["/me"]


def rename_operation(document):
    operation(document, "/me", "get")["operationId"] = "whoAmI"


def remove_status(document):
    del operation(document, "/writemessage")["responses"]["400"]


def new_success(document):
    answers = operation(document, "/writemessage")["responses"]
    answers["202"] = answers["200"]


def ask_for_a_session(document):
    operation(document, "/insights", "get")["security"] = [{"session": []}]


def take_no_operator(document):
    operation(document, "/audit/groups/{groupID}/history", "get")["security"] = [{"session": []}]


def require_parameter(document):
    operation(document, "/setkey")["parameters"][0]["required"] = True


def new_required_parameter(document):
    parameter = {"in": "query", "name": "page", "required": True, "schema": {"type": "integer"}}
    operation(document, "/me", "get").setdefault("parameters", []).append(parameter)


def remove_parameter(document):
    operation(document, "/setkey")["parameters"] = []


def require_member(document):
    schema(document, "MessageInput").setdefault("required", []).append("iv")


def remove_request_member(document):
    del schema(document, "MessageInput")["properties"]["iv"]


def shorten(document):
    schema(document, "AccountInput")["properties"]["nickname"]["maxLength"] = 3


def allow_few_values(document):
    schema(document, "GroupCreateInput")["properties"]["nickname"]["enum"] = ["public"]


def take_a_value(document):
    schema(document, "GroupUpdateType")["enum"].remove("leavegroup")


def other_media_type(document):
    answer = operation(document, "/me", "get")["responses"]["401"]
    answer["content"] = {"application/problem+json": next(iter(answer["content"].values()))}


def remove_answer_member(document):
    del schema(document, "AccountMade")["properties"]["accID"]


def new_member_in_closed_object(document):
    schema(document, "AccountMade")["properties"]["more"] = {"type": "string"}


def member_may_be_missing(document):
    schema(document, "AccountMade")["required"].remove("accID")


def other_type(document):
    schema(document, "AccountMade")["properties"]["accID"] = {"type": "string"}


def new_code(document):
    schema(document, "Code")["enum"].append("SOMETHINGNEW")


def nothing_for_null(document):
    schema(document, "AccountMade")["properties"]["accID"]["nullable"] = True


def new_kind_of_change(document):
    schema(document, "Change")["oneOf"].append({"$ref": "#/components/schemas/ErrorBody"})


# What is changed, and where and how it must be found.
BREAKS = [
    (remove_operation, "GET /me", "gone"),
    (rename_operation, "GET /me", "whoAmI"),
    (remove_status, "POST /writemessage", "400"),
    (new_success, "POST /writemessage", "202"),
    (ask_for_a_session, "GET /insights", "without credentials"),
    (take_no_operator, "GET /audit/groups/{groupID}/history", "operator"),
    (require_parameter, "POST /setkey", "required"),
    (new_required_parameter, "GET /me", "page"),
    (remove_parameter, "POST /setkey", "Idempotency-Key"),
    (require_member, "POST /writemessage body.iv", "required"),
    (remove_request_member, "POST /writemessage body.iv", "gone"),
    (shorten, "POST /newacc body.nickname", "maxLength"),
    (allow_few_values, "POST /groupcreate body.nickname", "any value but public"),
    (take_a_value, "POST /grouptriggersseupdate body.update", "leavegroup is no longer allowed"),
    (other_media_type, "GET /me 401", "application/json"),
    (remove_answer_member, "POST /newacc 200.accID", "gone"),
    (new_member_in_closed_object, "POST /newacc 200.more", "new"),
    (member_may_be_missing, "POST /newacc 200.accID", "missing"),
    (other_type, "POST /newacc 200.accID", "became string"),
    (new_code, "", "SOMETHINGNEW"),
    (nothing_for_null, "POST /newacc 200.accID", "null"),
    (new_kind_of_change, "GET /events 200", "ErrorBody is a new part"),
]


class Breaking(unittest.TestCase):
    def test_each_kind_of_break_is_found_where_it_is(self):
        for change, where, what in BREAKS:
            with self.subTest(change.__name__):
                changed = copy.deepcopy(DOCUMENT)
                change(changed)
                found = breaking.Comparison(DOCUMENT, changed).run()
                self.assertTrue(any(line.startswith(where) and what in line for line in found), found)

    def test_what_is_no_break_is_none(self):
        changed = copy.deepcopy(DOCUMENT)
        changed["info"]["description"] = "Another."
        changed["paths"]["/more"] = changed["paths"]["/me"]
        operation(changed, "/me", "get")["summary"] = "Another."
        operation(changed, "/me", "get")["responses"]["418"] = operation(changed, "/me", "get")["responses"]["401"]
        operation(changed, "/me", "get")["parameters"] = [{"in": "query", "name": "page", "schema": {"type": "string"}}]
        operation(changed, "/me", "get")["security"] = [{"session": []}, {"operator": []}]
        schema(changed, "MessageInput")["properties"]["more"] = {"type": "string"}
        schema(changed, "AccountInput")["properties"]["nickname"]["maxLength"] = 31
        self.assertEqual(breaking.Comparison(DOCUMENT, changed).run(), [])
        self.assertEqual(breaking.Comparison(DOCUMENT, DOCUMENT).run(), [])

    def test_the_version_says_whether_clients_may_break(self):
        for old, new, may in [
            ("0.1.0", "0.1.1", False), ("0.1.9", "0.2.0", True), ("0.9.0", "1.0.0", True), ("1.2.0", "1.3.0", False),
            ("1.9.9", "2.0.0", True), ("2.0.0", "1.9.0", False), ("0.1.0", "0.1.0", False),
        ]:
            documents = ({"info": {"version": version}} for version in (old, new))
            self.assertEqual(breaking.may_break(*documents), may, (old, new))


if __name__ == "__main__":
    unittest.main()
