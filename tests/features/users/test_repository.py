"""The `users` collection, through both drivers."""

import asyncio
import random
from datetime import timedelta

import pytest

from shop_api.features.users.errors import DuplicateUsername, LastAdmin
from shop_api.features.users.models import User, UserQuery
from shop_api.features.users.repository import GUARDS, USERS, UserRepository
from shop_api.kernel.clock import utc_now
from shop_api.storage.mongo.client import Database, PyMongoError
from shop_api.storage.mongo.collections import ensure_collection
from shop_api.storage.mongo.transactions import Transactions
from support.factories import a_user


class Users(UserRepository):
    """The repository, and what a service does in a transaction of its own."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._transactions = Transactions(database)

    async def taken_away(self, user: User) -> bool:
        return await self._transactions.run(lambda session: self.remove(user, session))

    async def changed(self, user: User, changes: dict[str, object]) -> User | None:
        return await self._transactions.run(lambda session: self.change(user, changes, utc_now(), session))


@pytest.fixture
async def users(database) -> Users:
    for spec in (USERS, GUARDS):
        await ensure_collection(database, spec)
    return Users(database)


async def added(users: UserRepository, *given: User) -> list[User]:
    for user in given:
        await users.add(user)
    return list(given)


async def everyone(users: UserRepository, **query: object) -> list[str]:
    """All usernames, page by page."""
    names, after, wanted = [], None, UserQuery(**query)
    while True:
        page, after = await users.list_page(wanted, after)
        names += [user.username for user in page]
        if after is None:
            return names
        assert len(page) == wanted.limit
        assert len(names) <= 1000  # it ends


class TestAdd:
    async def test_what_was_added_is_found_unchanged(self, users):
        [ada] = await added(users, a_user("ada", email="ada@shop.example", full_name="Ada Lovelace"))
        assert await users.get(ada.id) == ada
        assert await users.find("ada") == ada

    async def test_nobody_is_found_before(self, users):
        assert await users.get("ada") is None
        assert await users.find("ada") is None

    async def test_a_taken_name_is_refused(self, users):
        [ada] = await added(users, a_user("ada"))
        with pytest.raises(DuplicateUsername):
            await users.add(a_user("ada", full_name="Somebody else"))
        assert await users.find("ada") == ada

    async def test_of_many_who_want_a_name_at_once_one_gets_it(self, users):
        wanting = [a_user("ada") for _ in range(30)]
        outcomes = await asyncio.gather(*map(users.add, wanting), return_exceptions=True)
        assert outcomes.count(None) == 1
        assert sum(isinstance(outcome, DuplicateUsername) for outcome in outcomes) == 29
        assert await users.find("ada") == wanting[outcomes.index(None)]
        assert await users.count(UserQuery()) == 1

    @pytest.mark.parametrize("wrong", [{"role": "owner"}, {"version": 0}, {"username": "x"}, {"password_hash": None}])
    async def test_the_database_itself_refuses_what_is_no_user(self, users, wrong):
        with pytest.raises(PyMongoError):
            await users.add(a_user("ada").model_copy(update=wrong))


class TestChange:
    async def test_changes_what_is_named_and_counts_the_version(self, users):
        [ada] = await added(users, a_user("ada", full_name="Ada"))
        later = utc_now() + timedelta(seconds=1)
        changed = await users.change(ada, {"full_name": None, "email": "ada@shop.example"}, later)
        expected = {"full_name": None, "email": "ada@shop.example", "version": 2, "updated_at": later}
        assert changed == ada.model_copy(update=expected)
        assert await users.get(ada.id) == changed

    async def test_another_version_is_not_changed(self, users):
        [ada] = await added(users, a_user("ada"))
        changed = await users.change(ada, {"full_name": "First"}, utc_now())
        assert await users.change(ada, {"full_name": "Second"}, utc_now()) is None
        assert await users.get(ada.id) == changed

    async def test_nobody_is_not_changed(self, users):
        assert await users.change(a_user("ada"), {"full_name": "Ghost"}, utc_now()) is None
        assert await users.find("ada") is None

    async def test_of_many_changes_of_one_version_one_happens(self, users):
        [ada] = await added(users, a_user("ada"))
        outcomes = await asyncio.gather(*(users.change(ada, {"full_name": str(n)}, utc_now()) for n in range(50)))
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert (await users.get(ada.id)).version == 2


class TestRemove:
    async def test_what_was_removed_is_gone_and_the_name_is_free(self, users):
        [ada] = await added(users, a_user("ada"))
        assert await users.taken_away(ada)
        assert await users.find("ada") is None
        await users.add(a_user("ada"))

    async def test_another_version_is_not_removed(self, users):
        [ada] = await added(users, a_user("ada"))
        await users.change(ada, {"full_name": "Ada"}, utc_now())
        assert not await users.taken_away(ada)
        assert await users.find("ada") is not None

    async def test_a_second_time_removes_nothing(self, users):
        [ada] = await added(users, a_user("ada"))
        assert [await users.taken_away(ada), await users.taken_away(ada)] == [True, False]

    async def test_a_change_and_a_removal_at_once_do_not_both_happen(self, users):
        for n in range(10):
            [user] = await added(users, a_user(f"user{n}"))
            changed, removed = await asyncio.gather(
                users.change(user, {"full_name": "x"}, utc_now()), users.taken_away(user)
            )
            assert (changed is not None) != removed
            assert (await users.get(user.id) is None) == removed


TAKE_AWAY = {
    "removed": lambda users, user: users.taken_away(user),
    "demoted": lambda users, user: users.changed(user, {"role": "user"}),
    "disabled": lambda users, user: users.changed(user, {"disabled": True}),
}


class TestLastAdmin:
    @pytest.mark.parametrize("how", TAKE_AWAY)
    async def test_cannot_be_taken_away(self, users, how):
        [root, *_] = await added(users, a_user("root", "admin"), a_user("off", "admin", disabled=True), a_user("ada"))
        with pytest.raises(LastAdmin):
            await TAKE_AWAY[how](users, root)
        assert await users.get(root.id) == root

    @pytest.mark.parametrize("how", TAKE_AWAY)
    async def test_one_of_two_can_be_taken_away(self, users, how):
        [root, owner] = await added(users, a_user("root", "admin"), a_user("owner", "admin"))
        assert await TAKE_AWAY[how](users, root)
        assert await users.has_admin()
        with pytest.raises(LastAdmin):
            await TAKE_AWAY[how](users, owner)

    @pytest.mark.parametrize("how", TAKE_AWAY)
    async def test_of_many_who_are_all_taken_away_at_once_exactly_one_stays(self, users, how):
        admins = await added(users, *(a_user(f"admin{n}", "admin") for n in range(12)))
        outcomes = await asyncio.gather(*(TAKE_AWAY[how](users, a) for a in admins), return_exceptions=True)
        assert sum(isinstance(outcome, LastAdmin) for outcome in outcomes) == 1, outcomes
        assert sum(bool(outcome) for outcome in outcomes if not isinstance(outcome, LastAdmin)) == 11
        assert await users.count(UserQuery(role="admin", disabled=False)) == 1

    async def test_of_many_who_are_taken_away_in_every_way_at_once_exactly_one_stays(self, users):
        admins = await added(users, *(a_user(f"admin{n}", "admin") for n in range(8)))
        attempts = [(how, admin) for how in TAKE_AWAY for admin in admins]
        random.Random(1).shuffle(attempts)
        outcomes = await asyncio.gather(*(TAKE_AWAY[how](users, a) for how, a in attempts), return_exceptions=True)
        unexpected = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, LastAdmin)]
        assert unexpected == []
        assert sum(bool(o) for o in outcomes if not isinstance(o, LastAdmin)) == 7
        assert await users.count(UserQuery(role="admin", disabled=False)) == 1

    async def test_two_who_take_each_other_away_do_not_both_succeed(self, users):
        [survivor] = await added(users, a_user("first", "admin"))
        for n in range(5):
            [other] = await added(users, a_user(f"other{n}", "admin"))
            taking = (TAKE_AWAY["disabled"](users, survivor), TAKE_AWAY["removed"](users, other))
            outcomes = await asyncio.gather(*taking, return_exceptions=True)
            refused = [isinstance(outcome, LastAdmin) for outcome in outcomes]
            assert sorted(refused) == [False, True], outcomes
            survivor = survivor if refused[0] else other

    async def test_cannot_be_taken_away_outside_a_transaction(self, users):
        [root, _] = await added(users, a_user("root", "admin"), a_user("owner", "admin"))
        with pytest.raises(ValueError, match="transaction"):
            await users.change(root, {"disabled": True}, utc_now())
        assert await users.get(root.id) == root

    async def test_a_change_that_takes_no_admin_away_needs_no_other(self, users):
        [root] = await added(users, a_user("root", "admin"))
        assert (await users.change(root, {"full_name": "Root"}, utc_now())).full_name == "Root"

    async def test_a_disabled_admin_and_a_user_can_always_go(self, users):
        [_, off, ada] = await added(
            users, a_user("root", "admin"), a_user("off", "admin", disabled=True), a_user("ada")
        )
        assert await users.taken_away(off)
        assert await users.taken_away(ada)

    async def test_a_stale_version_is_none_rather_than_the_last_admin(self, users):
        root, _ = await added(users, a_user("root", "admin"), a_user("owner", "admin"))
        await users.change(root, {"full_name": "Root"}, utc_now())
        assert await users.changed(root, {"role": "user"}) is None
        assert not await users.taken_away(root)


class TestList:
    @pytest.fixture
    async def many(self, users) -> list[User]:
        """Of which several were added in the same millisecond."""
        start = utc_now()
        return await added(
            users,
            *(
                a_user(
                    f"{'abc'[n % 3]}{n:02}",
                    "admin" if n % 4 == 0 else "user",
                    disabled=n % 5 == 0,
                    created_at=start + timedelta(milliseconds=n // 6),
                )
                for n in random.Random(1).sample(range(30), 30)
            ),
        )

    @pytest.mark.parametrize(
        ("query", "matches"),
        [
            ({}, lambda user: True),
            ({"role": "admin"}, lambda user: user.role == "admin"),
            ({"disabled": False}, lambda user: not user.disabled),
            ({"role": "user", "disabled": True}, lambda user: user.role == "user" and user.disabled),
            ({"q": "b"}, lambda user: user.username.startswith("b")),
            ({"q": "B1"}, lambda user: user.username.startswith("b1")),
            ({"q": "nobody"}, lambda user: False),
            ({"q": ".*"}, lambda user: False),
        ],
        ids=lambda value: str(value) if isinstance(value, dict) else "",
    )
    async def test_every_sort_and_page_size_walks_each_match_once_in_order(self, users, many, query, matches):
        matching = [user for user in many if matches(user)]
        orders = {
            "newest": [u.username for u in sorted(matching, key=lambda u: (u.created_at, u.id), reverse=True)],
            "username": sorted(u.username for u in matching),
            "-username": sorted((u.username for u in matching), reverse=True),
        }
        for sort, expected in orders.items():
            for limit in (1, 4, 30, 100):
                assert await everyone(users, **query, sort=sort, limit=limit) == expected
        assert await users.count(UserQuery(**query)) == len(matching)

    async def test_prepare_again_keeps_everyone(self, database, users, many):
        await asyncio.gather(*(ensure_collection(database, spec) for spec in (USERS, USERS, GUARDS, GUARDS)))
        assert await users.count(UserQuery()) == 30
