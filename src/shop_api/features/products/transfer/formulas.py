"""Escaping of CSV cells that a spreadsheet would run as a formula (OWASP, "CSV Injection").

A text that begins with one of the characters below gets an apostrophe in front, which spreadsheets take as "this is
text". A text that begins with apostrophes and then such a character gets one more, so that removing exactly one
returns every text: `unescaped(escaped(text)) == text`.
"""

import re

# The list is OWASP's: with line feed, and the full-width forms that some locales read as the operators.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")


def escaped(cell: str) -> str:
    """Return `cell` as text for spreadsheets, with an apostrophe in front if it could be read as a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    """Return the text that `escaped` was given. A cell that `escaped` does not return comes back unchanged."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
