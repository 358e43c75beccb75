"""Secrets stay where they belong: no password or token is logged, repeated, counted, cached or stored.

A service of its own is told them in all right ways and in many that clients choose by mistake.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pymongo
import pytest
from redis import BlockingConnectionPool, Redis

from support.processes import FIRST_ADMIN, environment, started

FIRST, SECOND, WRONG, ELSEWHERE = (f"canary-{word}-horse-5d1f" for word in ("first", "second", "wrong", "elsewhere"))
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@dataclass
class Traces:
    """What the service left behind."""

    passwords: set[str] = field(default_factory=lambda: {FIRST, SECOND, WRONG, ELSEWHERE})
    tokens: set[str] = field(default_factory=set)
    answers: list[httpx.Response] = field(default_factory=list)
    """All but those that are meant to tell a token."""
    log: str = ""
    redis: list[str] = field(default_factory=list)
    """Keys and values."""
    documents: list[dict[str, Any]] = field(default_factory=list)

    @property
    def secrets(self) -> set[str]:
        """Each, and of tokens the part that makes them valid: the signature, the random end."""
        return self.passwords | self.tokens | {token.rpartition(".")[2] for token in self.tokens}

    def found_in(self, *texts: str) -> set[str]:
        return {secret for secret in self.secrets for text in texts if secret in text}


class Clumsy:
    """Somebody who uses the service and lets secrets slip in every way."""

    def __init__(self, client: httpx.Client, traces: Traces) -> None:
        self.client = client
        self.traces = traces

    def send(self, method: str, path: str, **given: Any) -> int:
        answer = self.client.request(method, path, **given)
        self.traces.answers.append(answer)
        return answer.status_code

    def granted(self, path: str, **body: str) -> dict[str, str]:
        """The tokens that `path` gives for `body`."""
        answer = self.client.post(path, json=body).raise_for_status().json()
        tokens = {name: value for name, value in answer.items() if name.endswith("_token")}
        self.traces.tokens |= set(tokens.values())
        return tokens

    def live(self) -> None:
        """An account from its beginning: signs up and in, changes the password, spends refresh tokens."""
        account = {"username": "canary", "password": FIRST}
        assert self.send("POST", "/register", json=account, headers={"Idempotency-Key": "k"}) == 201
        assert self.send("POST", "/register", json=account, headers={"Idempotency-Key": "k"}) == 201
        for kind in ("json", "data"):
            assert self.send("POST", "/auth", **{kind: account | {"password": WRONG}}) == 401
        tokens = self.granted("/auth", **account)
        self.client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        for current in (WRONG, FIRST):
            self.send("PUT", "/users/me/password", json={"current_password": current, "new_password": SECOND})
        if "refresh_token" in tokens:
            self.granted("/auth/refresh", refresh_token=tokens["refresh_token"])
            thief = {"User-Agent": "thief"}
            for secret in (tokens["refresh_token"], ELSEWHERE):
                assert self.send("POST", "/auth/refresh", json={"refresh_token": secret}, headers=thief) == 401
        self.client.headers.pop("Authorization")

    def slip(self, secret: str) -> None:
        """Puts `secret` where it does not belong."""
        for path in ("/auth", "/register", "/auth/refresh"):
            for body in ("%s", '"%s"', '["%s"]', '{"password": %s}', '{"password": "%s"', '{"username": "%s", "a"}'):
                self.send("POST", path, content=body % secret, headers={"Content-Type": JSON})
            for body in ("%s", "password=%s", "password=%s&password=%s", "username=%s", "refresh_token=%s"):
                content = body.replace("%s", secret)
                self.send("POST", path, content=content, headers={"Content-Type": FORM})
        for name in ("username", "password", "email", "full_name", "role"):
            said = {"username": "other", "password": "too short", name: [secret]}
            assert self.send("POST", "/register", json=said) == 422
            assert self.send("POST", "/register", json=said | {name: f" {secret}\n" * 9}) == 422
        for value in (secret, f"Basic {secret}", f"Bearer {secret}x", f"Token {secret}", f"Bearer {secret} {secret}"):
            assert self.send("GET", "/users/me", headers={"Authorization": value}) == 401
            self.send("POST", "/register", headers={"Authorization": value, "Idempotency-Key": "k"}, json={})
        for name in ("access_token", "password", "q", "cursor", "limit"):
            self.send("GET", "/products", params={name: secret})
        headers = {"X-Request-ID": f"{secret} {secret}", "If-None-Match": secret, "User-Agent": "x"}
        self.send("GET", "/users", headers={**headers, "Cookie": f"token={secret}", "X-Api-Key": secret})

    def look_around(self) -> None:
        for path in ("/", "/products", "/metrics", "/health/ready", "/openapi.json", "/problems/invalid_token"):
            self.send("GET", path)


def told_by(server: Redis) -> Iterator[str]:
    for key in server.scan_iter(count=1000):
        readers: dict[object, Callable[[Any], object]] = {
            b"string": server.get,
            b"hash": server.hgetall,
            b"set": server.smembers,
            b"zset": lambda key: server.zrange(key, 0, -1),
            b"list": lambda key: server.lrange(key, 0, -1),
        }
        yield repr((key, readers[server.type(key)](key)))


@pytest.fixture(scope="module", params=["json", "console"])
def traces(request, engines, tmp_path_factory) -> Traces:
    traces, log = Traces(), tmp_path_factory.mktemp("secrets") / "serve.log"
    settings = engines.model_copy(update={"mongo_db": f"{engines.mongo_db}-secrets", "rate_limits": "on"})
    env = environment(settings, SHOP_LOG_LEVEL="debug", SHOP_LOG_FORMAT=request.param, SHOP_LOG_HITS_EVERY="1")
    redis = Redis.from_pool(BlockingConnectionPool.from_url(settings.redis_url.get_secret_value()))
    with redis, pymongo.MongoClient[dict](settings.mongo_url.get_secret_value()) as mongo:
        redis.flushdb()  # others have been counted as coming from this address too
        database = mongo[settings.mongo_db]
        with started(env, log) as (_, url), httpx.Client(base_url=url) as client:
            somebody = Clumsy(client, traces)
            somebody.live()
            for secret in (ELSEWHERE, *traces.tokens):
                somebody.slip(secret)
            somebody.look_around()
            traces.documents = [
                document for name in database.list_collection_names() for document in database[name].find()
            ]
            # What the service does not expect, in the middle of a sign-in.
            damage = {"$set": {"version": "damaged"}, "$unset": {"role": ""}}
            database["users"].update_many({}, damage, bypass_document_validation=True)
            assert somebody.send("POST", "/auth", json={"username": "canary", "password": SECOND}) == 500
            traces.redis = list(told_by(redis))
        traces.log = log.read_text()
        mongo.drop_database(settings.mongo_db)
    return traces


class TestSecrets:
    def test_no_line_of_the_log_has_one(self, traces):
        assert "unexpected error" in traces.log
        assert traces.log.count("/auth") > 50
        assert traces.found_in(traces.log) == set()

    def test_nor_does_it_have_the_hash_of_one(self, traces):
        assert "$argon2" not in traces.log

    def test_no_answer_repeats_one(self, traces):
        problems = [answer for answer in traces.answers if answer.is_error]
        assert len(problems) > 150
        assert {answer.headers["content-type"] for answer in problems} == {"application/problem+json"}
        assert traces.found_in(*(f"{answer.headers} {answer.text}" for answer in traces.answers)) == set()

    def test_redis_has_none(self, traces):
        assert traces.redis != []
        assert traces.found_in(*traces.redis) == set()

    def test_the_database_has_none_but_hashes(self, traces):
        assert traces.found_in(*map(repr, traces.documents)) == set()
        users = [document for document in traces.documents if "password_hash" in document]
        [hashed] = [user["password_hash"] for user in users if user["username"] != FIRST_ADMIN["SHOP_ADMIN_USERNAME"]]
        assert hashed.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
