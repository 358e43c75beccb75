"""Embedded engines, used if SHOP_MONGO_URL or SHOP_REDIS_URL is not set: child processes on free loopback ports, with
their data in one folder. For development and tests: any local process can connect without a password."""

import fcntl
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from shop_api.embedded import mongo, redis
from shop_api.embedded.errors import EngineError, FolderInUse
from shop_api.embedded.folder import SECRET, make_private
from shop_api.embedded.processes import MONGODB, REDIS, REDIS_GUARDS, EngineProcesses
from shop_api.kernel.files import write_private
from shop_api.settings import MIN_SECRET_BYTES, Settings

__all__ = ["EngineError", "EngineProcesses", "FolderInUse", "running"]

Say = Callable[[str], None]
Check = Callable[[], None]


@contextmanager
def running(
    settings: Settings,
    say: Say,
    *,
    join: bool = False,
    check: Check | None = None,
    processes: EngineProcesses | None = None,
) -> Iterator[Settings]:
    """Run the missing engines during the block, and yield `settings` completed with their URLs.

    If another process already runs them, raises FolderInUse, or uses its engines if `join`. `check` is called
    repeatedly during the start; an exception from it aborts the start and stops the engines started so far. The
    engines that are started are added to `processes`.
    """
    if settings.mongo_url and settings.redis_url:
        yield settings
        return
    folder = settings.data_dir.absolute()
    with ExitStack() as stack:
        try:
            found = _start(stack, settings, folder, say, check or (lambda: None), processes or EngineProcesses())
        except FolderInUse:
            if not join:
                raise
            found = _running_already(folder)
        except OSError as error:
            message = f"cannot use {folder}: {error.strerror}; set SHOP_DATA_DIR to another folder"
            raise EngineError(message) from error
        update: dict[str, object] = {}
        if "mongo_url" in found:  # development: log email, migrate without a command
            found = {**found, "smtp_url": "log:"}
            update["auto_migrate"] = "on"
        update |= {name: SecretStr(value) for name, value in found.items() if getattr(settings, name) is None}
        yield settings.model_copy(update=update)


def _start(
    stack: ExitStack, settings: Settings, folder: Path, say: Say, check: Check, processes: EngineProcesses
) -> dict[str, str]:
    make_private(folder, say)
    stack.enter_context(_locked(folder))
    published = folder / "engines.json"
    published.unlink(missing_ok=True)  # left by a killed instance
    secret = {} if settings.mongo_url else {"jwt_secret": _secret(folder, say)}
    urls = {}
    if settings.mongo_url is None:
        say(f"starting the embedded MongoDB on {folder}")
        urls["mongo_url"] = stack.enter_context(mongo.running(folder, check, partial(processes.add, MONGODB)))
    if settings.redis_url is None:
        say(f"starting the embedded Redis on {folder}")
        urls["redis_url"] = stack.enter_context(redis.running(folder, check, partial(processes.add, REDIS)))
        if settings.redis_guards_url is None:
            added = partial(processes.add, REDIS_GUARDS)
            urls["redis_guards_url"] = stack.enter_context(redis.running(folder, check, added, redis.GUARDS))
    check()
    write_private(published, json.dumps(urls | secret).encode())
    stack.callback(published.unlink, missing_ok=True)
    return urls | secret


def _running_already(folder: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((folder / "engines.json").read_text())
    except (OSError, ValueError):
        raise FolderInUse(f"{folder} is in use, and its engines are not ready: try again in a moment") from None
    return found


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderInUse(
                f"another instance is using {folder}: stop that one, or set SHOP_DATA_DIR to another folder"
            ) from None
        yield


def _secret(folder: Path, say: Say) -> str:
    path = folder / SECRET
    if not path.exists():
        say(f"making a secret for tokens in {path}")
        write_private(path, secrets.token_hex(32).encode())
    secret = path.read_text().strip()
    if len(secret) < MIN_SECRET_BYTES:
        raise EngineError(f"{path} is damaged: remove it, and the next start makes another (everyone signs in again)")
    return secret
