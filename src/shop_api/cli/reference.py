"""Generates docs/errors.md (`make docs`)."""

import sys

import shop_api.app  # noqa: F401  # imports all features, and so all error classes
from shop_api.kernel.errors import ShopError


def reference() -> str:
    """Return the page as Markdown."""
    rows = [
        f"| {kind.status} | `{kind.code}` | {kind.title} | {kind.description()} |"
        for kind in sorted(ShopError.kinds(), key=lambda kind: (kind.status, kind.code))
    ]
    return "\n".join(
        [
            "# Errors",
            "",
            "Every response that is not 2xx or 3xx is `application/problem+json` (RFC 9457). Generated from the"
            " error classes by `make docs`.",
            "",
            "Programs should use `code`, which is stable. `type` is `/problems/<code>`, a page served with the"
            " text below. `request_id` identifies the request in the log. `invalid_request` lists each invalid"
            " value in `errors`; `version_conflict` gives the current version in `current_version`.",
            "",
            "| status | code | title | what it means |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
