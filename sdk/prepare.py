"""Makes from openapi.json what the generators of clients do not.

`sdk/openapi.json` is the document as the clients need it: without the errors, which they raise, so that no function
returns them; and without forms where JSON does the same. `problems.py` and `problems.ts` have an exception for each
error's code; `keywords.py` has the filters and the changes that functions take by name.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SDK = Path(__file__).parent
JSON = "application/json"
MADE = "Made by sdk/prepare.py from openapi.json."
FILTERS = {"ProductFilters": "/products", "UserFilters": "/users"}
CHANGES = {"MoneyChanges": "MoneyPatch", "ProductChanges": "ProductPatch", "UserChanges": "UserPatch"}
SAME = {"MoneyIn": "Money"}
"""What differs from another schema only in that unknown members are refused: one class serves both."""
GIVEN = {"limit", "cursor", "include_total", "product_id"}
"""What the client gives itself, not its caller."""


class Kind(NamedTuple):
    """One kind of problem, as the examples in the document have it."""

    code: str
    status: int
    title: str

    @property
    def name(self) -> str:
        return self.code.title().replace("_", "")


def main() -> None:
    document = _with_one_class_for_both((SDK.parent / "openapi.json").read_text())
    kinds = sorted({kind for operation in _operations(document) for kind in _kinds(operation["responses"])})
    (SDK / "python/src/shop_client/problems.py").write_text(_in_python(kinds))
    (SDK / "python/src/shop_client/keywords.py").write_text(_keywords(document))
    (SDK / "typescript/src/problems.ts").write_text(_in_typescript(kinds))
    for operation in _operations(document):
        operation["responses"] = {status: it for status, it in operation["responses"].items() if status[0] == "2"}
        if JSON in (content := operation.get("requestBody", {}).get("content", {})):
            operation["requestBody"]["content"] = {JSON: content[JSON]}
    (SDK / "openapi.json").write_text(json.dumps(document, indent=2))


def _with_one_class_for_both(text: str) -> dict[str, Any]:
    for closed, both in SAME.items():
        text = text.replace(f'"#/components/schemas/{closed}"', f'"#/components/schemas/{both}"')
    document: dict[str, Any] = json.loads(text)
    for closed in SAME:
        del document["components"]["schemas"][closed]
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _kinds(answers: dict[str, Any]) -> Iterator[Kind]:
    for answer in answers.values():
        problem = answer.get("content", {}).get("application/problem+json", {})
        for code, example in problem.get("examples", {}).items():
            yield Kind(code, example["value"]["status"], example["summary"])


def _in_python(kinds: list[Kind]) -> str:
    classes = [
        f'class {kind.name}(ShopError, code="{kind.code}"):\n    """{kind.status}: {kind.title}."""\n\n\n'
        for kind in kinds
    ]
    return f'"""{MADE}"""\n\nfrom shop_client.errors import ShopError\n\n\n' + "".join(classes).rstrip() + "\n"


def _in_typescript(kinds: list[Kind]) -> str:
    classes = [f"/** {it.status}: {it.title}. */\nexport class {it.name} extends ShopError {{}}" for it in kinds]
    known = [f"  {kind.code}: {kind.name}," for kind in kinds]
    head = f'// {MADE}\nimport {{ ShopError }} from "./errors.js";\n'
    return "\n".join([head, *classes, "", "export const KINDS = {", *known, "} as const;", ""])


def _keywords(document: dict[str, Any]) -> str:
    """What typing.Unpack takes: the parameters of a list and the fields of a patch."""
    imports = "from collections.abc import Mapping, Sequence\nfrom typing import Literal, TypedDict\n"
    blocks = [f'"""{MADE}"""\n\n{imports}']
    for name, path in FILTERS.items():
        parameters = {it["name"]: it["schema"] for it in document["paths"][path]["get"]["parameters"]}
        blocks.append(_typed_dict(name, "Which to list, and in what order.", parameters))
    for name, schema in CHANGES.items():
        fields = document["components"]["schemas"][schema]["properties"]
        blocks.append(_typed_dict(name, "What is absent stays, None removes.", fields))
    return "\n\n".join(blocks)


def _typed_dict(name: str, doc: str, fields: dict[str, Any]) -> str:
    lines = [f"    {field}: {_annotation(schema)}\n" for field, schema in fields.items() if field not in GIVEN]
    return f'class {name}(TypedDict, total=False):\n    """{doc}"""\n\n' + "".join(lines)


def _annotation(schema: dict[str, Any]) -> str:
    match schema:
        case {"$ref": reference}:
            changes = (name for name, patch in CHANGES.items() if reference.endswith(f"/{patch}"))
            return next(changes, "Mapping[str, object]")
        case {"anyOf": either}:
            return " | ".join(map(_annotation, either))
        case {"enum": values}:
            return f"Literal{values}"
        case {"type": "array", "items": item}:
            return f"Sequence[{_annotation(item)}]"
        case {"type": "object", "patternProperties": values}:
            return f"Mapping[str, {' | '.join(map(_annotation, values.values()))}]"
    return {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}[schema["type"]]


if __name__ == "__main__":
    main()
