"""What ends a sign-in ends it on every instance: the next request is refused, whichever instance takes it."""

import itertools
from collections.abc import Callable

import httpx
import pytest

from e2e.stack import Shop

pytestmark = pytest.mark.e2e
PASSWORD = "a password of this user"
_names = (f"revoked-{n}" for n in itertools.count())


class SignedIn:
    """A user with a sign-in through nginx, and what each instance makes of the token, asked by itself."""

    def __init__(self, shop: Shop, anyone: httpx.Client, admin: httpx.Client) -> None:
        self.name = next(_names)
        self.admin, self._anyone, self._shop = admin, anyone, shop
        body = {"username": self.name, "password": PASSWORD}
        anyone.post("/register", json=body).raise_for_status()
        self.tokens = anyone.post("/auth", json=body).raise_for_status().json()

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        return self._anyone.request(method, path, headers=headers, **options)  # type: ignore[arg-type]

    def statuses(self) -> set[int]:
        """Of a request to each instance, and of some through nginx."""
        headers = {"Authorization": f"Bearer {self.tokens['access_token']}"}
        urls = [f"http://127.0.0.1:{instance.port}" for instance in self._shop.instances]
        direct = {httpx.get(f"{url}/users/me", headers=headers).status_code for url in urls}
        return direct | {self.send("GET", "/users/me").status_code for _ in range(6)}

    def refreshes(self, **headers: str) -> bool:
        body = {"refresh_token": self.tokens["refresh_token"]}
        return self._anyone.post("/auth/refresh", json=body, headers=headers).status_code == 200


@pytest.fixture
def signed_in(shop: Shop, anyone: httpx.Client, admin: httpx.Client) -> SignedIn:
    return SignedIn(shop, anyone, admin)


def password_changed_elsewhere(user: SignedIn) -> httpx.Response:
    body = {"username": user.name, "password": PASSWORD}
    elsewhere = user._anyone.post("/auth", json=body).raise_for_status().json()["access_token"]
    change = {"current_password": PASSWORD, "new_password": "another one than before"}
    return user._anyone.put("/users/me/password", json=change, headers={"Authorization": f"Bearer {elsewhere}"})


def demoted(user: SignedIn) -> httpx.Response:
    user.admin.patch(f"/users/{user.name}", json={"role": "admin"}).raise_for_status()
    assert user.statuses() == {200}
    return user.admin.patch(f"/users/{user.name}", json={"role": "user"})


ENDINGS: dict[str, Callable[[SignedIn], httpx.Response]] = {
    "logout": lambda user: user.send("POST", "/auth/logout"),
    "all sessions ended": lambda user: user.send("DELETE", "/users/me/sessions"),
    "disabled": lambda user: user.admin.patch(f"/users/{user.name}", json={"disabled": True}),
    "demoted": demoted,
    "deleted by an admin": lambda user: user.admin.delete(f"/users/{user.name}"),
    "deleted by themselves": lambda user: user.send("DELETE", "/users/me"),
    "password changed elsewhere": password_changed_elsewhere,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_next_request_is_refused_by_every_instance(signed_in: SignedIn, ending: str) -> None:
    assert signed_in.statuses() == {200}
    assert ENDINGS[ending](signed_in).is_success
    assert signed_in.statuses() == {401}
    assert not signed_in.refreshes()


def test_reuse_of_a_refresh_token_on_another_instance_ends_the_session(signed_in: SignedIn) -> None:
    first = signed_in.tokens
    assert signed_in.refreshes()
    assert not signed_in.refreshes(**{"User-Agent": "thief"})
    assert signed_in.statuses() == {401}
    assert first == signed_in.tokens
