"""What a line of the log holds, and what nobody can make it hold."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from conftest import Client, client_of, running_app
from shop_api.observability.logging import configure_logging
from shop_api.settings import Settings
from support.factories import PASSWORD

HOSTILE = "ada\r\n2026-01-31 09:30:00 [info     ] request method=GET\x1b[2J\x1b]0;owned\x07\u2028\x85\u202e"


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging is the process's own: it is as before when the test is over."""
    root, configuration = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    yield
    structlog.configure(**configuration)
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture(params=["json", "console"])
def both(request: pytest.FixtureRequest, restored: None, engines: Settings) -> tuple[str, io.StringIO]:
    """Each form, and where it is written."""
    stream = io.StringIO()
    configure_logging(engines.model_copy(update={"log_format": request.param, "log_level": "info"}), stream)
    return request.param, stream


@pytest.fixture
def lines(restored: None, engines: Settings):
    """A function that gives the lines so far, as JSON."""
    stream = io.StringIO()
    configure_logging(engines.model_copy(update={"log_format": "json", "log_level": "info"}), stream)

    def lines(event: str = "request") -> list[dict]:
        handler = logging.getLogger().handlers[0]
        assert isinstance(handler, logging.StreamHandler)
        handler.stream._write_out()
        return [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event]

    return lines


def written(stream: io.StringIO) -> list[str]:
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    output = handler.stream
    if output is not stream:
        output._write_out()
    return stream.getvalue().splitlines()


class TestRequests:
    async def test_one_line_each_with_all_that_is_asked_for(self, lines, anyone: Client, user: Client):
        me = await user.get("/users/me", headers={"X-Request-ID": "mine"})
        seen = await anyone.get("/products/none?canary=1", headers={"X-Request-ID": "theirs"})
        by_id = {line["request_id"]: line for line in lines()}
        mine, theirs = by_id["mine"], by_id["theirs"]
        assert set(mine) == {
            *("event", "level", "timestamp", "request_id"),
            *("method", "route", "status", "ms", "bytes", "cache", "user_id"),
        }
        assert (mine["method"], mine["route"], mine["status"]) == ("GET", "/users/{username}", 200)
        assert mine["user_id"] == me.json()["id"]
        assert mine["bytes"] == len(me.content)
        assert 0 < mine["ms"] < 5000
        assert (theirs["route"], theirs["user_id"]) == ("/products/{product_id}", None)
        assert theirs["bytes"] == len(seen.content)

    async def test_the_cache_says_where_the_answer_came_from(self, lines, anyone: Client):
        for _ in range(3):
            await anyone.get("/products/none")
        await anyone.get("/")
        assert [line["cache"] for line in lines()] == ["miss", "hit", "hit", None]

    async def test_of_hits_and_good_health_checks_some_are_enough(self, lines, engines: Settings):
        settings = engines.model_copy(update={"log_hits_every": 10})
        async with running_app(settings) as app, client_of(app) as client:
            for _ in range(25):
                await client.get("/health/live")
            for _ in range(30):
                await client.get("/metrics")
            for _ in range(4):
                await client.get("/health/live?wrong=1")
            for _ in range(21):
                await client.get("/products")
        logged = [(line["route"], line["status"]) for line in lines()]
        assert len([1 for route, status in logged if status == 200 and route != "/products"]) == 5
        assert logged.count(("/health/live", 422)) == 4
        assert logged.count(("/products", 200)) in (
            3,
            4,
        )  # misses, and two of twenty hits: an answer lives for a second

    async def test_of_refusals_under_overload_some_are_enough(self, lines, engines: Settings):
        settings = engines.model_copy(update={"log_hits_every": 10, "max_requests": 1})
        async with running_app(settings) as app, client_of(app) as client:
            inside, may_end = asyncio.Event(), asyncio.Event()

            @app.get("/slow")
            async def slow() -> None:
                inside.set()
                await may_end.wait()

            first = asyncio.create_task(client.get("/slow"))
            await inside.wait()
            assert {(await client.get("/audit")).status_code for _ in range(21)} == {503}
            may_end.set()
            await first
        assert [line["status"] for line in lines()].count(503) == 3  # the first, and every tenth after it

    async def test_an_error_has_its_cause(self, lines, engines: Settings):
        async with running_app(engines) as app, client_of(app) as client:

            @app.get("/broken")
            async def broken() -> None:
                try:
                    dict[str, str]()["missing"]
                except KeyError as cause:
                    raise RuntimeError("it broke") from cause

            await client.get("/broken", headers={"X-Request-ID": "broken"})
        (line,) = lines("unexpected error")
        assert line["level"] == "error"
        assert line["request_id"] == "broken"
        assert "RuntimeError: it broke" in line["exception"]
        assert "KeyError: 'missing'" in line["exception"]
        assert [line["status"] for line in lines()] == [500]


class TestPersonalData:
    async def test_no_line_has_what_people_have_sent(self, both, anyone: Client, user: Client):
        account = {"username": "canary-name", "password": "canary password"}
        await anyone.post("/register", json=account | {"email": "canary@example.com"})
        await anyone.post("/auth", json=account)
        await anyone.post("/auth", json={"username": "canary-name", "password": "canary wrong"})
        await user.get("/users/canary-name")
        await anyone.get("/canary?canary=1")
        await anyone.get("/products?q=canary", headers={"User-Agent": "canary", "X-Forwarded-For": "canary"})
        text = "\n".join(written(both[1]))
        assert text.count("request") >= 6
        assert "canary" not in text

    async def test_a_traceback_does_not_show_the_values_of_variables(self, both, engines: Settings):
        async with running_app(engines) as app, client_of(app) as client:

            @app.get("/broken")
            async def broken() -> None:
                password = "".join(["hunter", "2"])
                raise RuntimeError(str(len(password)))

            await client.get("/broken")
        text = "\n".join(written(both[1]))
        assert "RuntimeError" in text
        assert "hunter2" not in text


class TestForgery:
    """Whatever somebody sends: one event is one line, and a terminal takes no orders from it."""

    def check(self, both: tuple[str, io.StringIO], events: int) -> None:
        form, stream = both
        lines = written(stream)
        text = stream.getvalue()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text)
        own = [line for line in lines if not line.startswith(" ")]
        assert len(own) == events, own
        if form == "json":
            assert all(isinstance(json.loads(line), dict) for line in own)

    def test_a_value_is_part_of_its_line(self, both):
        structlog.get_logger().info("somebody came", username=HOSTILE, path=[HOSTILE])
        self.check(both, 1)

    def test_so_is_a_name_and_the_event_itself(self, both):
        structlog.get_logger().warning(HOSTILE, **{HOSTILE: 1})
        self.check(both, 1)

    def test_and_what_comes_from_other_libraries(self, both):
        logging.getLogger("uvicorn.error").warning("Invalid request from %s", HOSTILE)
        self.check(both, 1)

    def test_and_the_message_of_an_error(self, both):
        try:
            raise RuntimeError(HOSTILE)
        except RuntimeError:
            structlog.get_logger().exception("unexpected error")
            logging.getLogger("elsewhere").exception("too")
        self.check(both, 2)

    async def test_through_the_service(self, anyone: Client, both):
        quoted = "%0d%0a2026-01-31%1b%5b2J%e2%80%a8"
        await anyone.get(f"/users/{quoted}")
        await anyone.get(f"/products/{quoted}?q={quoted}")
        await anyone.post("/auth", json={"username": HOSTILE, "password": PASSWORD})
        await anyone.post("/register", json={"username": HOSTILE, "password": HOSTILE})
        headers = {
            b"X-Request-ID": b"a\x1b[2J\xc2\x85",
            b"User-Agent": b"\x1b[2J",
            b"Authorization": b"Bearer \x1b[2J",
        }
        await anyone.get("/users/me", headers=headers)
        self.check(both, 5)


def test_lines_of_a_loop_that_has_ended_do_not_hold_back_those_of_the_next(restored: None, engines: Settings):
    stream = io.StringIO()
    configure_logging(engines.model_copy(update={"log_format": "json", "log_level": "info"}), stream)

    async def logged(event: str, seconds: float) -> None:
        logging.getLogger("shop_api").info(event)
        await asyncio.sleep(seconds)

    asyncio.run(logged("first", 0))
    asyncio.run(logged("second", 1))
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["first", "second"]
