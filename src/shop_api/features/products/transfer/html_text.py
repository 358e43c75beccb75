"""The text of HTML fragments, as other systems store descriptions, and back."""

import re
from html import escape
from html.parser import HTMLParser

_BLOCK_TAGS = """
    address article aside blockquote br caption center dd details dialog div dl dt fieldset figcaption figure footer
    form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol p pre search section summary table tbody tfoot
    thead tr ul
"""


class _Text(HTMLParser):
    """Extracts the text of an HTML fragment, one line for each block, with the cells of a table row in one line."""

    _BLOCKS = frozenset(_BLOCK_TAGS.split())
    _CELLS = frozenset({"td", "th"})
    _HIDDEN = frozenset({"script", "style"})
    _ITEM = "\n- "

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self._hidden = False
        self._preformatted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in self._HIDDEN
        self._preformatted = self._preformatted or tag == "pre"
        if tag in self._CELLS:
            self.text += " "
        if tag in self._BLOCKS and not self.text.endswith(self._ITEM):  # a block within an item begins no line
            self.text += self._ITEM if tag == "li" else "\n"

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False
        self._preformatted = self._preformatted and tag != "pre"
        if tag in self._BLOCKS:
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        if self._preformatted:
            self.text += _KEPT.sub(lambda found: _KEPT_AS[found[0]], data)
        elif not self._hidden:
            self.text += _SPACE.sub(" ", data)


# White space of HTML. A no-break space is a character like others.
_SPACES = " \t\n\r\f"
_SPACE = re.compile(f"[{_SPACES}]+")
# White space of preformatted text, which survives the removal of other white space as private characters.
_KEPT_AS = {" ": "\ue000", "\t": "\ue001", "\n": "\n\ue002", "\r": "\ue003"}
_KEPT = re.compile("[ \t\n\r]")
_FROM_KEPT = {ord("\ue000"): " ", ord("\ue001"): "\t", ord("\ue002"): None, ord("\ue003"): "\r"}


def text_of(html: str) -> str:
    """Return the text of an HTML fragment: one line for each block, `- ` before items of lists."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    lines = (line.strip(_SPACES) for line in parser.text.split("\n"))
    return "\n".join(line for line in lines if line).translate(_FROM_KEPT).strip()


def html_of(text: str) -> str:
    """Return HTML from which `text_of` returns `text`: paragraphs with line breaks, or else preformatted text."""
    html = "".join(f"<p>{escape(line, quote=False)}</p>" for line in text.split("\n"))
    if not text or text_of(html) == text:
        return html if text else ""
    return f"<pre>{escape(text, quote=False)}</pre>"
