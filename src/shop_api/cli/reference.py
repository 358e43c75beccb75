"""docs/errors.md, written by `make docs`."""

import sys

import shop_api.app  # noqa: F401  # with it all features, and so all classes of errors
from shop_api.kernel.errors import ShopError


def reference() -> str:
    """The page, in Markdown."""
    rows = [
        f"| {kind.status} | `{kind.code}` | {kind.title} | {kind.description()} |"
        for kind in sorted(ShopError.kinds(), key=lambda kind: (kind.status, kind.code))
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "Every answer that is not 2xx or 3xx is `application/problem+json` (RFC 9457). Made from errors.py by"
            " `make docs`.",
            "",
            "Programs go by `code`, which is stable; `type` is `/problems/<code>`, where the service itself says what"
            " stands here. `request_id` finds the request in the log. With `invalid_request`, `errors` lists each"
            " thing that is wrong; with `version_conflict`, `current_version` is the one to start from.",
            "",
            "| status | code | title | what it means |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
