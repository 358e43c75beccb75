"""HTML pages: self-contained templates, with a Content-Security-Policy that forbids loading anything else."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

from fastapi import Request
from fastapi.responses import HTMLResponse


def accepts_html(request: Request) -> bool:
    """Return whether the client accepts HTML, as browsers do."""
    return "text/html" in ",".join(request.headers.getlist("accept"))


def hashes(html: str, element: str) -> str:
    """Return the Content-Security-Policy hash sources of the inline `script`s or `style`s (CSP 3 §2.3.1)."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def headers(policy: str, caching: str) -> dict[str, str]:
    """Return the headers of a page. Links on the page send no `Referer`."""
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": caching}


class Page:
    """A template in this package. Its `style` must contain no placeholders, or its hash would not match."""

    def __init__(self, name: str) -> None:
        html = files(__package__).joinpath(name).read_text("utf-8")
        self._template = Template(html)
        self._policy = (
            f"default-src 'none'; style-src {hashes(html, 'style')};"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def filled(self, values: Mapping[str, object]) -> HTMLResponse:
        """Render the page with `values`, HTML-escaped."""
        html = self._template.substitute({name: escape(str(value)) for name, value in values.items()})
        return HTMLResponse(html, headers={**headers(self._policy, "no-store"), "Vary": "Accept"})
