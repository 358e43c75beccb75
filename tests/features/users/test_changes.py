"""Changes to accounts: with all that belongs to them, or not at all."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from shop_api.audit.models import AuditContext, AuditEvent
from shop_api.audit.repository import AuditLog
from shop_api.container import Services
from shop_api.features.auth.repository import SessionRepository
from shop_api.features.users import audit_events
from shop_api.features.users.authority import Authority
from shop_api.features.users.changes import AccountChanges
from shop_api.features.users.models import User
from shop_api.features.users.permissions import USERS_WRITE
from shop_api.features.users.repository import UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.kernel.permissions import permissions_of_roles
from shop_api.storage.mongo.attempts import OnlyAttempt
from shop_api.storage.mongo.client import Database
from shop_api.storage.mongo.collections import CollectionSpec
from shop_api.storage.mongo.transactions import Session, Transactions
from support.factories import a_user

ROOT = AuditContext("root", "127.0.0.1", "request")


class Broken(Exception):
    """What fails on purpose."""


class BrokenLog(AuditLog):
    """Fails after it has written."""

    async def record(self, events: Iterable[AuditEvent], context: AuditContext, session: Session | None) -> None:
        await super().record(events, context, session)
        raise Broken


async def broken_forgetting(user_id: str, kept: Collection[str], session: Session) -> None:
    raise Broken


def changes_of(shop: Services, audit: AuditLog | None = None, forget: Any = None) -> AccountChanges:
    specs = [CollectionSpec("sessions", owner="user_id", erasure="delete")]
    users = UserRepository(shop.database, specs)
    return AccountChanges(
        users,
        Authority(users, permissions_of_roles([USERS_WRITE])),
        Transactions(shop.database),
        audit or AuditLog(shop.database, utc_now),
        forget or SessionRepository(shop.database).remove_others,
        utc_now,
    )


async def stored(database: Database) -> dict[str, list[Any]]:
    return {name: [one async for one in database[name].find().sort("_id")] for name in ("users", "sessions", "audit")}


@pytest.fixture
async def ada(shop: Services) -> User:
    user = a_user("ada", sessions=["s-1", "s-2"])
    await UserRepository(shop.database).add(user)
    for session_id in user.sessions:
        document = {"_id": session_id, "user_id": user.id, "family_hash": "", "secret_hash": ""}
        times = dict.fromkeys(("created_at", "last_used_at", "expires_at"), utc_now())
        await shop.database["sessions"].insert_one(document | times)
    return user


async def disable(changes: AccountChanges, user: User) -> object:
    body = {"disabled": True, "sessions": []}
    return await changes.apply(user, body, audit_events.changed(user, {"disabled": True}), ROOT)


WRITES = {
    "add": lambda changes, user: changes.add(a_user("bob"), ROOT, OnlyAttempt()),
    "apply": disable,
    "remove": lambda changes, user: changes.remove(user, ROOT),
}


class TestBothOrNeither:
    @pytest.mark.parametrize("write", WRITES)
    async def test_without_its_entry_nothing_is_changed(self, shop, ada, write):
        before = await stored(shop.database)
        with pytest.raises(Broken):
            await WRITES[write](changes_of(shop, BrokenLog(shop.database, utc_now)), ada)
        assert await stored(shop.database) == before

    async def test_without_the_end_of_its_sessions_nothing_is_changed(self, shop, ada):
        before = await stored(shop.database)
        with pytest.raises(Broken):
            await disable(changes_of(shop, forget=broken_forgetting), ada)
        assert await stored(shop.database) == before

    async def test_without_its_change_there_is_no_entry(self, shop, ada):
        changed = await UserRepository(shop.database).change(ada, {"full_name": "Ada"}, utc_now())
        before = await stored(shop.database)
        assert await disable(changes_of(shop), ada) is None
        assert not await changes_of(shop).remove(ada, ROOT)
        assert await stored(shop.database) == before
        assert changed is not None
        assert await disable(changes_of(shop), changed)

    @pytest.mark.parametrize(("write", "left"), [("apply", 1), ("remove", 0)])
    async def test_all_of_it_happens(self, shop, ada, write, left):
        assert await WRITES[write](changes_of(shop), ada)
        after = await stored(shop.database)
        assert [len(after[name]) for name in ("users", "sessions", "audit")] == [left, 0, 1]


async def test_a_session_that_is_kept_keeps_its_document(shop, ada):
    event = audit_events.new_password("password_changed", ada)
    await changes_of(shop).apply(ada, {"password_hash": "other", "sessions": ["s-2"]}, [event], ROOT)
    assert [session["_id"] for session in (await stored(shop.database))["sessions"]] == ["s-2"]
