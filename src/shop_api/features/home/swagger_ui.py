"""Swagger UI, served from assets in an installed package instead of a CDN."""

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from shop_api.features.home.pages import hashes, headers

_PARAMETERS = {"persistAuthorization": False, "displayRequestDuration": True}


def _page() -> tuple[str, str]:
    """Return the page and its Content-Security-Policy. Its URLs are relative, so it works under any proxy path."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="shop_api",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon-32x32.png",
        swagger_ui_parameters=_PARAMETERS,
    )
    html = bytes(page.body).decode().strip().replace("<html>", '<html lang="en">', 1)
    policy = (
        f"default-src 'none'; script-src 'self' {hashes(html, 'script')}; style-src 'self';"
        " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html, policy


_HTML, _POLICY = _page()
router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def swagger_ui() -> HTMLResponse:
    """Serve Swagger UI."""
    return HTMLResponse(_HTML, headers=headers(_POLICY, "no-cache"))


router.mount("/docs/assets", StaticFiles(packages=[("fastapi_swagger", "resources")]), name="swagger_ui_assets")
