"""Pages for browsers: templates with everything in them, under a policy that lets them load nothing else."""

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

from fastapi import Request
from fastapi.responses import HTMLResponse


def wanted(request: Request) -> bool:
    """Whether this is a browser that shows a page."""
    return "text/html" in ",".join(request.headers.getlist("accept"))


def hashes(html: str, element: str) -> str:
    """What a Content-Security-Policy calls the inline `script`s or `style`s of `html` (CSP 3 §2.3.1)."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() for content in contents)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


def headers(policy: str, caching: str) -> dict[str, str]:
    """Of a page. Nobody learns from it which page a link was on."""
    return {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": caching}


class Page:
    """A template of this package. Its style has to be free of placeholders."""

    def __init__(self, name: str) -> None:
        html = files(__package__).joinpath(name).read_text("utf-8")
        self._template = Template(html)
        self._policy = (
            f"default-src 'none'; style-src {hashes(html, 'style')};"
            " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )

    def filled(self, values: Mapping[str, object]) -> HTMLResponse:
        """The page with `values` in it, escaped."""
        html = self._template.substitute({name: escape(str(value)) for name, value in values.items()})
        return HTMLResponse(html, headers={**headers(self._policy, "no-store"), "Vary": "Accept"})
