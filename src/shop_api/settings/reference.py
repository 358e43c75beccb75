"""docs/configuration.md, written by `make docs`."""

import sys

from shop_api.settings.model import PREFIX, Settings
from shop_api.settings.secret_files import secret_names


def reference() -> str:
    """The page, in Markdown."""
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
            "Everything is set by environment variables. Made from settings.py by `make docs`.",
            "",
            "| variable | meaning | default | example |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Secrets from files",
            "",
            f"Each secret ({secrets})",
            "may stand in a file, which the same variable with `_FILE` at its end names:",
            f"`{PREFIX}JWT_SECRET_FILE=/run/secrets/jwt_secret`. A newline at the end of the file does not count.",
            "Setting both variables is an error, and so is a file that is empty or cannot be read.",
            "",
            "## Mistakes",
            "",
            "A variable that begins with `SHOP_` and is no setting is a warning at the start, with the nearest name.",
            "A wrong value stops the start, and the message names the setting, what is wrong and an example.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
