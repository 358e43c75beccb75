"""Generates docs/configuration.md (`make docs`)."""

import sys

from shop_api.settings.model import PREFIX, Settings
from shop_api.settings.secret_files import secret_names


def reference() -> str:
    """Return the page as Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = "" if default in (None, []) else f"`{default}`"
        example = f"`{field.examples[0]}`" if field.examples else ""
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{PREFIX}{name.upper()}` | {meaning} | {shown} | {example} |")
    secrets = ", ".join(f"`{PREFIX}{name.upper()}`" for name in secret_names(Settings))
    return "\n".join(
        [
            "# Configuration",
            "",
            "The service is configured by environment variables. Generated from model.py by `make docs`.",
            "",
            "| variable | meaning | default | example |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Secrets from files",
            "",
            f"Each secret ({secrets})",
            "can be read from a file, named by the same variable with the suffix `_FILE`:",
            f"`{PREFIX}JWT_SECRET_FILE=/run/secrets/jwt_secret`. A trailing newline is ignored.",
            "It is an error to set both variables, or to name a file that is empty or unreadable.",
            "",
            "## Mistakes",
            "",
            "An unknown variable with the prefix `SHOP_` causes a warning at start, with the most similar name.",
            "An invalid value prevents the start; the message names the setting, the problem and an example.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
