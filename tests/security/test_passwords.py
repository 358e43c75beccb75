"""Password rules and hashing."""

import asyncio
import threading
import time
import tracemalloc
import unicodedata
from collections.abc import Iterator

import pytest

from shop_api.security.passwords import MIN_LENGTH, Passwords, _common, normalised, weakness
from shop_api.security.turns import LOCAL, MAX_PER_CLIENT, Turns
from support.factories import PASSWORD, password_hash


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    with Passwords() as passwords:
        yield passwords


class TestWeakness:
    @pytest.mark.parametrize(
        "password", ["password", "PASSWORD", "12345678", "qwertyuiop", "iloveyou", "Password1", "ｐａｓｓｗｏｒｄ"]
    )
    def test_a_common_password_is_weak(self, password):
        assert weakness(password, "ada") == "is among the most common passwords"

    @pytest.mark.parametrize("password", ["ada-lovelace", "ADA-Lovelace", "ａｄａ-lovelace"])
    def test_the_username_is_weak(self, password):
        assert weakness(password, "ada-lovelace") == "must not be the username"

    @pytest.mark.parametrize("password", [PASSWORD, "ada-lovelace-1", "päßwörd-für-tee", "😀😀😀😀😀😀😀😀"])
    def test_anything_else_will_do(self, password):
        assert weakness(password, "ada-lovelace") is None


class TestCommonPasswords:
    @pytest.mark.parametrize("word", ["football", "1q2w3e4r", "trustno1", "sunshine", "princess", "11111111"])
    def test_a_sample_is_refused(self, word):
        assert weakness(word.upper(), "ada") == weakness(word, "ada") == "is among the most common passwords"

    def test_the_list_holds_passwords_as_they_are_compared_and_nothing_else(self):
        assert len(_common()) == 11_611
        assert [word for word in _common() if len(word) < MIN_LENGTH or normalised(word).casefold() != word] == []
        assert [word for word in _common() if word.startswith("#") or word != word.strip()] == []

    def test_loading_it_takes_little_time_and_memory(self):
        started = time.process_time()
        _common.__wrapped__()
        seconds = time.process_time() - started
        tracemalloc.start()
        try:
            kept = _common.__wrapped__()
            held, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept == _common()
        assert seconds < 0.1  # about 5 ms on one quiet core
        assert held < 2 * 2**20
        assert peak < 4 * 2**20


class TestHash:
    @pytest.mark.parametrize(
        "password",
        ["Crème brûlée", "한국어 비밀번호", "ﬁsh and chips", "Ⅳ quarters", "１２３４ABCD", "Ångström", "é" * 64],
    )
    async def test_a_password_typed_on_another_keyboard_is_the_same(self, passwords, password):
        stored = await passwords.hash(password)
        twins = {unicodedata.normalize(form, password) for form in ("NFC", "NFD", "NFKC", "NFKD")}
        assert len(twins) > 1
        assert [twin for twin in twins if not await passwords.verify(twin, stored)] == []

    @pytest.mark.parametrize(
        "other", ["correct horse batter", "Correct horse battery", " " + PASSWORD, PASSWORD + "\0", ""]
    )
    async def test_another_password_is_not_the_same(self, passwords, other):
        assert not await passwords.verify(other, password_hash())

    async def test_every_character_counts(self, passwords):
        stored = await passwords.hash("x" * 127 + "y")
        assert await passwords.verify("x" * 127 + "y", stored)
        assert not await passwords.verify("x" * 127 + "z", stored)

    async def test_nul_does_not_end_a_password(self, passwords):
        stored = await passwords.hash("nul\0here")
        assert await passwords.verify("nul\0here", stored)
        assert not await passwords.verify("nul\0there", stored)

    async def test_hashes_of_one_password_differ(self, passwords):
        assert await passwords.hash(PASSWORD) != await passwords.hash(PASSWORD)

    async def test_the_parameters_are_those_of_owasp(self, passwords):
        assert (await passwords.hash(PASSWORD)).startswith("$argon2id$v=19$m=47104,t=1,p=1$")

    def test_normalised_is_nfkc(self):
        assert normalised("ﬁ①Å") == "fi1Å"


class TestNobody:
    @pytest.mark.parametrize("password", [PASSWORD, "nobody", ""])
    async def test_nobody_has_no_password(self, passwords, password):
        assert not await passwords.verify(password, None)

    async def test_nobody_is_refused_as_slowly_as_somebody(self, passwords):
        async def seconds(stored: str | None) -> float:
            started = time.process_time()
            await passwords.verify("a wrong password", stored)
            return time.process_time() - started

        somebody = min([await seconds(password_hash()) for _ in range(5)])
        nobody = min([await seconds(None) for _ in range(5)])
        assert somebody / 3 < nobody < somebody * 3


class TestPool:
    async def test_hashing_is_bounded_and_does_not_hold_up_the_event_loop(self, passwords, monkeypatch):
        turns, at_once, most = 0, 0, 0
        real, counting = passwords._context.hash, threading.Lock()

        def counted(password: str) -> str:
            nonlocal at_once, most
            with counting:
                at_once += 1
                most = max(most, at_once)
            try:
                return real(password)
            finally:
                with counting:
                    at_once -= 1

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        monkeypatch.setattr(passwords._context, "hash", counted)
        turning = asyncio.create_task(turn())
        try:
            await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(10)))
        finally:
            turning.cancel()
        assert 1 <= most <= passwords._pool._max_workers < 10  # not ten at a time
        assert turns > 100  # in the loop, one between each two of them

    async def test_many_at_once_are_all_right(self, passwords):
        stored = await asyncio.gather(*(passwords.hash(f"password {n}") for n in range(6)))
        right = await asyncio.gather(*(passwords.verify(f"password {n}", h) for n, h in enumerate(stored)))
        wrong = await asyncio.gather(*(passwords.verify(f"password {n + 1}", h) for n, h in enumerate(stored)))
        assert right == [True] * 6
        assert wrong == [False] * 6

    async def test_one_who_gives_up_does_not_disturb_the_others(self, passwords):
        waiting = [asyncio.create_task(passwords.verify(PASSWORD, password_hash())) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert answers[1::2] == [True] * 5
        assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])


class TestTurns:
    """A queue in which no client can take the places of others."""

    @pytest.fixture
    def turns(self):
        return Turns(clients=3)

    async def held(self, turns, client, until):
        async with turns.of(client):
            await until.wait()

    async def begun(self, turns, clients):
        """Whether each, in this order, was let in; all of them stay until the end."""
        until, outcomes = asyncio.Event(), []
        tasks = [asyncio.create_task(self.held(turns, client, until)) for client in clients]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        until.set()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            outcomes.append(outcome is None)
        return outcomes

    async def test_has_one_place_for_a_client_and_only_so_many_clients(self, turns):
        assert await self.begun(turns, ["a", "b", "c", "d"]) == [True, True, True, False]
        assert await self.begun(turns, ["a"] * 3 + ["b", "c", "d"]) == [True] * 5 + [False]

    async def test_of_one_client_only_so_many_wait(self, turns):
        assert await self.begun(turns, ["a"] * (MAX_PER_CLIENT + 2)) == [True] * MAX_PER_CLIENT + [False] * 2

    async def test_of_one_client_one_at_a_time_is_at_work(self, turns):
        at_work, most = 0, 0

        async def work():
            nonlocal at_work, most
            async with turns.of("a"):
                at_work += 1
                most = max(most, at_work)
                await asyncio.sleep(0)
                at_work -= 1

        await asyncio.gather(*(work() for _ in range(MAX_PER_CLIENT)))
        assert most == 1

    async def test_is_empty_again_after_those_who_fail_or_give_up(self, turns):
        until = asyncio.Event()
        for client in ("a", "a", "b", "c"):
            task = asyncio.create_task(self.held(turns, client, until))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(KeyError):
            async with turns.of("a"):
                raise KeyError
        assert turns._lines == {}

    async def test_those_of_the_process_itself_are_not_counted(self, turns):
        assert await self.begun(turns, [LOCAL] * 50) == [True] * 50
