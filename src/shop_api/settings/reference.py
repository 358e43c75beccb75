"""docs/configuration.md, written by `make docs`."""

import sys

from shop_api.settings.model import PREFIX, Settings


def reference() -> str:
    """The page, in Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = "" if default in (None, []) else f"`{default}`"
        example = f"`{field.examples[0]}`" if field.examples else ""
        meaning = " ".join((field.description or "").split())
        rows.append(f"| `{PREFIX}{name.upper()}` | {meaning} | {shown} | {example} |")
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
            "A variable that begins with `SHOP_` and is no setting is a warning at the start, with the nearest name.",
            "A wrong value stops the start, and the message names the setting, what is wrong and an example.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(reference())
