"""The OpenAPI document: what generated clients and Swagger UI need of it."""

import json
import re

import pytest

from shop_api.app import create_app
from shop_api.settings import Settings


@pytest.fixture(scope="module")
def document():
    return create_app(Settings()).openapi()


@pytest.fixture(scope="module")
def operations(document):
    return [(path, method, op) for path, item in document["paths"].items() for method, op in item.items()]


def test_the_committed_document_is_current(document, repository_root):
    assert json.loads((repository_root / "openapi.json").read_text()) == document, "run: make openapi"


def test_operation_ids_are_bare_and_unique(operations):
    names = [operation["operationId"] for _, _, operation in operations]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)


def test_every_operation_has_one_tag_and_says_who_may_call_it(operations):
    for path, method, operation in operations:
        assert len(operation["tags"]) == 1, (method, path)
        assert "security" in operation, (method, path)


def test_every_error_is_documented_as_a_problem_with_an_example(operations):
    for path, method, operation in operations:
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        assert {"422", "500", "503"} <= set(errors), (method, path)
        for answer in errors.values():
            assert list(answer["content"]) == ["application/problem+json"]
            problem = answer["content"]["application/problem+json"]
            assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert problem["examples"]


def test_models_in_and_out_are_not_twins(document):
    names = list(document["components"]["schemas"])
    assert not [name for name in names if re.search(r"[-_](Input|Output)|__", name)]
    assert "HTTPValidationError" not in names
    assert {"ProductIn", "ProductOut", "ProductPatch", "UserOut", "Problem"} <= set(names)


def test_no_answer_has_a_password(document):
    schemas = document["components"]["schemas"]
    assert "password_hash" not in json.dumps(document)
    assert "password" not in schemas["UserOut"]["properties"]
    assert schemas["Registration"]["properties"]["password"]["writeOnly"] is True


def test_amounts_are_integers(document):
    assert document["components"]["schemas"]["Money"]["properties"]["amount"]["type"] == "integer"


def test_servers_and_sign_in_are_relative(document):
    assert [server["url"] for server in document["servers"]] == ["/"]
    [scheme] = document["components"]["securitySchemes"].values()
    assert scheme["flows"]["password"]["tokenUrl"] == "auth"


def _parts(part):
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for below in part:
            yield from _parts(below)


def test_integers_have_integers_as_bounds_and_say_when_32_bits_are_too_few(app):
    integers = [part for part in _parts(app.openapi()) if part.get("type") == "integer"]
    assert len(integers) > 20
    for part in integers:
        bounds = [
            part[name] for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if name in part
        ]
        assert all(type(bound) is int for bound in bounds), part
        small = "maximum" in part and part["maximum"] < 2**31
        assert small or part.get("format") == "int64", part


def test_what_is_answered_may_have_more_fields_one_day_and_what_is_sent_may_not(app):
    document = app.openapi()
    schemas = document["components"]["schemas"]

    def closed(parts) -> set[str]:
        """The schemas below `parts` that allow no other fields."""
        waiting, seen = list(parts), set()
        while waiting:
            for part in _parts(waiting.pop()):
                name = str(part.get("$ref", "")).rpartition("/")[2]
                if name and name not in seen:
                    seen.add(name)
                    waiting.append(schemas[name])
        return {name for name in seen if schemas[name].get("additionalProperties") is False}

    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert closed(operation["responses"] for operation in operations) == set()
    sent = closed(operation["requestBody"] for operation in operations if "requestBody" in operation)
    assert {"ProductIn", "MoneyIn", "Registration", "UserPatch"} <= sent
