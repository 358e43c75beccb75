"""`shop-api doctor`: checks the configuration, the connections and the data folder, and suggests remedies.

Read-only: starts no engine, creates no folder, and shows no secret.
"""

import asyncio
import fcntl
import json
import os
import platform
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table

from shop_api import __version__, embedded
from shop_api.embedded import mongo as embedded_mongo
from shop_api.embedded import redis as embedded_redis
from shop_api.kernel.clock import Clock, utc_now
from shop_api.security.signing_keys.files import BadKey, read_all
from shop_api.settings import PREFIX, Settings, unknown_variables
from shop_api.storage.mongo import client as mongo
from shop_api.storage.mongo import clock_offset
from shop_api.storage.redis.client import RedisError, connect

Verdict = Literal["ok", "warning", "broken"]
_COLOURS = {"ok": "green", "warning": "yellow", "broken": "bold red"}

_LITTLE_DISK = 1 << 30
_NO_DISK = 100 << 20
_REDIS_PATIENCE = 5
_GUARDS = "Redis of the guards"
_HOSTS = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?(,([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?)*", re.ASCII)


class Finding(NamedTuple):
    """The result of one check."""

    verdict: Verdict
    subject: str
    fact: str
    remedy: str = ""


async def examine(clock: Clock = utc_now) -> list[Finding]:
    """Run all checks, in the order in which a person would. `clock` is the clock of this machine."""
    settings, configured = _configured()
    folder, in_use, data = _data_folder(settings)
    running = _running_engines(folder) if in_use else {}
    mongodb, *redis = await asyncio.gather(
        _mongodb(settings, running, clock), _redis(settings, running), _guards(settings, running)
    )
    program = Finding("ok", "shop-api", f"{__version__} on Python {platform.python_version()}, {platform.platform()}")
    return [program, *configured, _secret(settings, folder), *data, *mongodb, *redis]


def show(findings: list[Finding]) -> None:
    """Print the findings as a table on standard output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # do not wrap in files
    table = Table("", "what", "how it is", "what to do")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict}[/]", *map(_plain, finding[1:]))
    console.print(table)


def _plain(text: str) -> str:
    return text.replace("[", r"\[")


def _configured() -> tuple[Settings, list[Finding]]:
    """Return the settings, with invalid ones replaced by their defaults, and a finding for each."""
    findings = []
    try:
        settings, wrong = Settings(), {}
    except ValidationError as error:
        wrong = {str(e["loc"][0]): e["msg"].removeprefix("Value error, ") for e in error.errors()}
        settings = Settings(**{name: Settings.model_fields[name].get_default() for name in wrong})
    wrong |= _bad_signing_keys(settings.jwt_keys_dir)
    for name, field in Settings.model_fields.items():
        if name in wrong:
            example = f"for example: {(field.examples or [''])[0]}"
            findings.append(Finding("broken", _variable(name), wrong[name], example))
        else:
            origin = "" if name in settings.model_fields_set else " (default)"
            findings.append(Finding("ok", _variable(name), _masked(getattr(settings, name)) + origin))
    for warning in unknown_variables():
        variable, _, fact = warning.partition(" ")
        fact, _, near = fact.partition("; ")
        findings.append(Finding("warning", variable, fact, near or "remove it: it does nothing"))
    return settings, findings


def _bad_signing_keys(folder: Path | None) -> dict[str, str]:
    try:
        if folder is not None:
            read_all(folder)
    except BadKey as error:
        return {"jwt_keys_dir": str(error)}
    return {}


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _masked(value: object) -> str:
    """Return `value` as text; of a secret URL only the scheme and hosts, of other secrets nothing."""
    if value is None or value == []:
        return "not set"
    if isinstance(value, list):
        return ", ".join(map(str, value))  # SecretStr prints as asterisks
    if not isinstance(value, SecretStr):
        return str(value)
    scheme, _, rest = value.get_secret_value().partition("://")
    place = rest.partition("/")[0].partition("?")[0]
    user, _, hosts = place.rpartition("@")
    # A later @ means that the apparent hosts are part of the password.
    if "@" in rest[len(place) :] or not _HOSTS.fullmatch(hosts):
        return "set, not shown"
    return f"{scheme}://{'…@' if user else ''}{hosts}/…"


def _secret(settings: Settings, folder: Path) -> Finding:
    if settings.jwt_secret is not None:
        return Finding("ok", "secret", f"from {_variable('jwt_secret')}")
    if settings.mongo_url is not None:
        remedy = f"set {_variable('jwt_secret')} to the output of: openssl rand -hex 32 (the same on every instance)"
        return Finding("broken", "secret", f"there is none, and with {_variable('mongo_url')} none is made", remedy)
    kept = folder / "jwt-secret"
    return Finding("ok", "secret", f"kept in {kept}" if kept.exists() else "will be made at the first start")


def _data_folder(settings: Settings) -> tuple[Path, bool, list[Finding]]:
    """Return the data folder, whether a process uses it, and the findings about it."""
    folder = settings.data_dir.absolute()
    if settings.mongo_url and settings.redis_url:
        return folder, False, [Finding("ok", "data folder", "not needed: both engines run elsewhere")]
    in_use = _locked(folder / "lock")
    parent = next(place for place in (folder, *folder.parents) if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        remedy = "make it writable for this user, or set SHOP_DATA_DIR to another folder"
        return folder, in_use, [Finding("broken", "data folder", f"{parent} is no folder to write to", remedy)]
    state = (
        "in use by a running shop-api" if in_use else "free" if folder.exists() else "will be made at the first start"
    )
    return folder, in_use, [Finding("ok", "data folder", f"{folder}: {state}"), _disk(parent)]


def _locked(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    verdict: Verdict = "ok" if free > _LITTLE_DISK else "warning" if free > _NO_DISK else "broken"
    remedy = "" if verdict == "ok" else "make room, or set SHOP_DATA_DIR to a folder on another disk"
    return Finding(verdict, "disk", f"{free / (1 << 30):,.1f} GiB free", remedy)


def _running_engines(folder: Path) -> dict[str, str]:
    try:
        urls: dict[str, str] = json.loads((folder / "engines.json").read_text())
    except (OSError, ValueError):
        return {}
    return urls


def _embedded(name: str, variable: str, binary: Callable[[], Path]) -> Finding:
    """Return the finding for an embedded engine that is not running."""
    try:
        binary()
    except embedded.EngineError as error:
        fact, _, remedy = str(error).partition(": ")
        return Finding("broken", name, fact, remedy)
    return Finding("ok", name, f"embedded, not running: shop-api serve starts it, as long as {variable} is not set")


async def _mongodb(settings: Settings, running: dict[str, str], clock: Clock) -> list[Finding]:
    """Return the finding about MongoDB and, if it answers, one about the clock of this machine."""
    variable = _variable("mongo_url")
    url = settings.mongo_url.get_secret_value() if settings.mongo_url else running.get("mongo_url")
    if url is None:
        return [_embedded("MongoDB", variable, embedded_mongo.binary)]
    try:
        async with mongo.open_database(url, settings.mongo_db, settings.mongo_driver) as database:
            hello = await database.command("hello")
            version = (await database.command("buildInfo"))["version"]
            await database.list_collection_names()  # unlike the others, needs authentication
            clocks = await clock_offset.compare(database, clock)
    except (mongo.PyMongoError, ValueError) as error:
        return [Finding("broken", "MongoDB", *_mongodb_problem(error, variable))]
    return [_server(settings, hello, version), _clock(clocks)]


def _server(settings: Settings, hello: dict[str, Any], version: str) -> Finding:
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        remedy = "start it with --replSet rs0 and run rs.initiate() once: transactions need a replica set"
        return Finding("broken", "MongoDB", f"answers, version {version}, but is no replica set", remedy)
    kind = f"replica set {hello['setName']}" if "setName" in hello else "sharded cluster"
    origin = "" if settings.mongo_url else "embedded, "
    return Finding("ok", "MongoDB", f"{origin}answers, version {version}, {kind}, database {settings.mongo_db}")


def _clock(clocks: clock_offset.Comparison) -> Finding:
    if not clocks.is_wrong:
        return Finding("ok", "clock", "agrees with MongoDB's")
    remedy = "synchronise both machines with NTP, for example: timedatectl set-ntp true"
    return Finding("warning", "clock", f"is {clocks.in_words}", remedy)


def _mongodb_problem(error: Exception, variable: str) -> tuple[str, str]:
    if isinstance(error, mongo.PyMongoError) and mongo.unavailable(error):
        remedy = f"start it, or correct {variable}; without that the embedded one is used"
        return f"does not answer: {mongo.brief_message(error)}", remedy
    if isinstance(error, mongo.PyMongoError) and getattr(error, "code", None) is not None:
        return f"refuses: {mongo.brief_message(error)}", f"check user and password in {variable}"
    # The driver's message may quote the URL, and so the password.
    return f"the driver cannot read its address ({type(error).__name__})", f"correct {variable}; escape the password"


async def _redis(settings: Settings, running: dict[str, str]) -> Finding:
    url = settings.redis_url.get_secret_value() if settings.redis_url else running.get("redis_url")
    if url is None:
        return _embedded("Redis", _variable("redis_url"), embedded_redis.binary)
    return await _redis_server("Redis", "redis_url", url, "" if settings.redis_url else "embedded, ")


async def _guards(settings: Settings, running: dict[str, str]) -> Finding:
    """Return the finding about the Redis that counts failed attempts, which should evict nothing."""
    name = "redis_guards_url" if settings.redis_guards_url else "redis_url"
    url = settings.guards_url.get_secret_value() if settings.guards_url else running.get("redis_guards_url")
    if url is None:
        return Finding("ok", _GUARDS, "embedded, not running")
    return await _redis_server(_GUARDS, name, url, "" if settings.guards_url else "embedded, ", evicts=False)


async def _redis_server(subject: str, name: str, url: str, origin: str, *, evicts: bool = True) -> Finding:
    variable = _variable(name)
    try:
        client = connect(url)
    except ValueError:
        return Finding("broken", subject, "the driver cannot read its address", f"correct {variable}")
    try:
        async with asyncio.timeout(_REDIS_PATIENCE), client:
            server = await client.info()
    except (RedisError, OSError) as error:
        remedy = f"start it, or correct {variable}; without that the embedded one is used"
        return Finding("broken", subject, f"does not answer: {error}", remedy)
    product = f"Valkey {server['valkey_version']}" if "valkey_version" in server else server["redis_version"]
    policy = server.get("maxmemory_policy", "unknown")
    if not evicts and server.get("maxmemory") and policy != "noeviction":
        fact = f"evicts keys when it is full ({policy}), so traffic can reset the delays of sign-ins"
        remedy = f"set {_variable('redis_guards_url')} to a Redis with maxmemory-policy noeviction"
        return Finding("warning", subject, fact, remedy)
    return Finding("ok", subject, f"{origin}answers, version {product}")
