"""A shop as its callers see it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, Self, TypeVar, Unpack
from uuid import uuid4

from shop_client.generated.api.account import sign_out
from shop_client.generated.api.auth import register
from shop_client.generated.api.products import add_product, delete_product, get_product, list_products, patch_product
from shop_client.generated.api.users import delete_user, get_user, list_users, patch_user
from shop_client.generated.client import AuthenticatedClient
from shop_client.generated.models import ProductIn, ProductOut, ProductPatch, Registration, Tokens, UserOut, UserPatch
from shop_client.generated.types import UNSET, Unset
from shop_client.keywords import ProductChanges, ProductFilters, UserChanges, UserFilters
from shop_client.problems import InvalidRefreshToken
from shop_client.session import Session

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Shop:
    """A shop at `base_url`; for `tokens`, with those of an earlier sign-in.

    What the shop asks to repeat later, and what may be repeated after a lost connection, is sent up to `attempts`
    times, unless the shop asks to wait longer than `longest_wait` seconds.
    """

    def __init__(
        self, base_url: str, *, tokens: Tokens | None = None, attempts: int = 4, longest_wait: float = 30
    ) -> None:
        self._session = Session(base_url, tokens, attempts, longest_wait)
        self.client = AuthenticatedClient(base_url, token="", raise_on_unexpected_status=True)
        """For all functions below `shop_client.generated.api`."""
        self.client.set_httpx_client(self._session)
        self.products = Products(self.client)
        self.users = Users(self.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def tokens(self) -> Tokens | None:
        """Whose the requests are, to go on with later; None when nobody is signed in."""
        return self._session.tokens

    def register(self, registration: Registration) -> UserOut:
        return _held(register.sync(client=self.client, body=registration, idempotency_key=_new_key()))

    def sign_in(self, username: str, password: str) -> None:
        """From here on the requests are this user's; the access token is refreshed when it has expired."""
        self._session.tokens = self._session.grant("/auth", username=username, password=password)

    def sign_out(self) -> None:
        with suppress(InvalidRefreshToken):  # it has ended already
            sign_out.sync_detailed(client=self.client)
        self._session.tokens = None


class Products:
    def __init__(self, client: AuthenticatedClient) -> None:
        self._client = client

    def all(self, **filters: Unpack[ProductFilters]) -> Iterator[ProductOut]:
        """Every product that fits, read page by page while you go on."""
        return _items(lambda cursor: list_products.sync(client=self._client, limit=100, cursor=cursor, **filters))

    def variants(self, group: str) -> Iterator[ProductOut]:
        """The variants of a group, in their order."""
        return self.all(group=group)

    def get(self, product_id: str) -> ProductOut:
        return _held(get_product.sync(product_id, client=self._client))

    def add(self, product: ProductIn) -> ProductOut:
        return _held(add_product.sync(client=self._client, body=product, idempotency_key=_new_key()))

    def update(self, product: ProductOut, **changes: Unpack[ProductChanges]) -> ProductOut:
        """The next version; VersionConflict if `product` is not the current one any more."""
        patch = ProductPatch.from_dict(changes)
        tag = _etag(product)
        return _held(patch_product.sync(product.product_id, client=self._client, body=patch, if_match=tag))

    def remove(self, product: ProductOut) -> None:
        """VersionConflict if `product` is not the current version any more."""
        delete_product.sync_detailed(product.product_id, client=self._client, if_match=_etag(product))


class Users:
    def __init__(self, client: AuthenticatedClient) -> None:
        self._client = client

    def all(self, **filters: Unpack[UserFilters]) -> Iterator[UserOut]:
        return _items(lambda cursor: list_users.sync(client=self._client, limit=100, cursor=cursor, **filters))

    def get(self, username: str = "me") -> UserOut:
        return _held(get_user.sync(username, client=self._client))

    def update(self, user: UserOut, **changes: Unpack[UserChanges]) -> UserOut:
        """The next version; VersionConflict if `user` is not the current one any more."""
        patch = UserPatch.from_dict(changes)
        return _held(patch_user.sync(user.username, client=self._client, body=patch, if_match=_etag(user)))

    def remove(self, user: UserOut) -> None:
        """VersionConflict if `user` is not the current version any more."""
        delete_user.sync_detailed(user.username, client=self._client, if_match=_etag(user))


class Page(Protocol[T_co]):
    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


def _items(page_at: Callable[[str | Unset], Page[T] | None]) -> Iterator[T]:
    cursor: str | Unset | None = UNSET
    while cursor is not None:
        page = _held(page_at(cursor))
        yield from page.items
        cursor = page.next_cursor


def _held(answer: T | None) -> T:
    assert answer is not None  # anything but a success has raised
    return answer


def _etag(resource: ProductOut | UserOut) -> str:
    return f'"{resource.version}"'


def _new_key() -> str:
    return str(uuid4())
