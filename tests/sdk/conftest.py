"""A running service for the clients."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from shop_api.kernel.clock import utc_now
from shop_api.security.tokens import AccessTokens
from shop_api.settings import Settings
from support.factories import PASSWORD, TEST_SECRET, a_product
from support.processes import SHOP_API, environment, serving

VARIANTS = {n: {"group": "tea set", "position": 3 - n} for n in range(3)}
"""By number, what makes three of the products variants of one group, in the reverse order."""


@pytest.fixture(scope="module")
def service(engines: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with an admin, `root`, and products p0000 to p0999, of which 100 are `beauty`."""
    settings = engines.model_copy(update={"mongo_db": f"sdk-{uuid.uuid4().hex[:12]}"})
    folder = tmp_path_factory.mktemp("service")
    file = folder / "products.json"
    categories = ["beauty", *["tea"] * 9]
    file.write_text(
        json.dumps(
            [
                a_product(product_id=f"p{n:04}", category=categories[n % 10], stock=n, **VARIANTS.get(n, {}))
                for n in range(1000)
            ]
        )
    )
    command = [str(SHOP_API), "products", "import", str(file)]
    subprocess.run(command, env=environment(settings), cwd=folder, capture_output=True, check=True)
    with serving(settings, folder, admin=("root", PASSWORD)) as url:
        yield url


@pytest.fixture
def expired(service: str) -> dict[str, str | int]:
    """Tokens of a new session of root's; the access token, signed with the service's own secret, has expired."""
    with httpx.Client(base_url=service) as client:
        tokens = client.post("/auth", json={"username": "root", "password": PASSWORD}).raise_for_status().json()
        root = client.get("/users/me", headers={"Authorization": f"Bearer {tokens['access_token']}"}).json()
    long_ago = AccessTokens(TEST_SECRET.encode(), lambda: utc_now() - timedelta(hours=2))
    session_id = tokens["refresh_token"].split(".")[0]
    return {**tokens, "access_token": long_ago.issue(root["id"], session_id)}
